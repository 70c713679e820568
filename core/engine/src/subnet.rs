//! Addresses for more networks than the engine's own pools hold.
//!
//! As it comes, the engine has subnets for about 30 bridge networks, and zarpar
//! makes one per app. When they are used up, subnets are taken from
//! 198.18.0.0/15: reserved (RFC 2544), so neither the internet nor a provider's
//! private network is there, and room for [`COUNT`] networks of 61 containers.
//! Nothing is kept: what is taken is read from the engine each time.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use crate::{Engine, EngineError};

const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const PREFIX: u32 = 26;
const SIZE: u32 = 1 << (32 - PREFIX);
/// Subnets of [`PREFIX`] bits in a /15.
const COUNT: u32 = 1 << (PREFIX - 15);

/// Whether the engine refused a network because its own pools are used up.
pub(crate) fn is_exhausted(error: &EngineError) -> bool {
    let message = error.message();
    // 20.10 to 26, then 27 and up.
    message.contains("non-overlapping IPv4 address pool")
        || message.contains("predefined address pools have been fully subnetted")
}

impl Engine {
    /// Makes this network in the first subnet of our range that no network has.
    pub(crate) async fn create_in_own_range(
        &self,
        what: &str,
        request: &NetworkCreateRequest,
    ) -> Result<String, EngineError> {
        let networks = self.ask(what, self.docker.list_networks(None)).await?;
        let taken: HashSet<String> = networks
            .into_iter()
            .filter_map(|network| network.ipam?.config)
            .flatten()
            .filter_map(|config| config.subnet)
            .collect();
        for subnet in subnets().filter(|subnet| !taken.contains(subnet)) {
            let mut request = request.clone();
            request.ipam = Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet),
                    ..Default::default()
                }]),
                ..Default::default()
            });
            match self.ask(what, self.docker.create_network(request)).await {
                Ok(made) => return Ok(made.id),
                // Somebody's larger network lies over it, or took it meanwhile.
                Err(error) if error.message().contains("overlaps") => {}
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::broken(
            what,
            "every subnet of 198.18.0.0/15 is taken",
        ))
    }
}

fn subnets() -> impl Iterator<Item = String> {
    (0..COUNT).map(|index| {
        let address = Ipv4Addr::from(u32::from(FIRST) + index * SIZE);
        format!("{address}/{PREFIX}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_range_ends_where_its_reservation_does() {
        assert_eq!(subnets().next().unwrap(), "198.18.0.0/26");
        assert_eq!(subnets().last().unwrap(), "198.19.255.192/26");
    }

    /// Against the real engine, without using up its pools for everybody else.
    #[tokio::test]
    async fn each_network_gets_a_subnet_of_its_own() {
        let engine = Engine::connect().await.unwrap();
        let mut made = Vec::new();
        for number in 0..2 {
            let name = format!("zarpar-test-subnet-{}-{number}", std::process::id());
            let request = NetworkCreateRequest {
                labels: Some([("zarpar.test".to_owned(), name.clone())].into()),
                name,
                ..Default::default()
            };
            made.push(engine.create_in_own_range("test", &request).await);
        }
        let mut found = HashSet::new();
        for id in made.iter().flatten() {
            let network = engine.docker.inspect_network(id, None).await.unwrap();
            found.insert(network.ipam.unwrap().config.unwrap()[0].subnet.clone());
            assert!(engine.remove_network(id).await.unwrap());
        }
        assert_eq!(found.len(), 2, "{made:?}");
        assert!(
            found
                .iter()
                .flatten()
                .all(|subnet| subnets().any(|ours| ours == *subnet)),
            "{found:?}"
        );
    }
}
