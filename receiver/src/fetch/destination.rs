//! A host becomes addresses once, and every one of them is judged. What connects afterwards is
//! given these addresses, so a name that means something else a moment later changes nothing.

use std::net::IpAddr;

use super::network::special;
use super::{FetchError, FetchRules};

/// Answers of the resolver that are looked at and passed on; more than a forge has.
const ANSWERS: usize = 16;

/// The addresses of `host` that may be connected to, best first; at least one.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    rules: &FetchRules,
) -> Result<Vec<IpAddr>, FetchError> {
    if !rules.ports().contains(&port) {
        return Err(closed(port, rules));
    }
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => look_up(host, port).await?,
    };
    let own = own_addresses().map_err(|source| FetchError::Files { source })?;
    found
        .into_iter()
        .map(|address| judge(host, address, &own, rules))
        .collect()
}

fn closed(port: u16, rules: &FetchRules) -> FetchError {
    let list = |ports: &[u16]| {
        let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
        texts.join(", ")
    };
    FetchError::Port {
        port,
        allowed: list(&rules.ports()),
        wanted: list(&[&rules.ports[..], &[port]].concat()),
    }
}

async fn look_up(host: &str, port: u16) -> Result<Vec<IpAddr>, FetchError> {
    let unknown = |source| FetchError::UnknownHost {
        host: host.to_owned(),
        source,
    };
    let answers = tokio::net::lookup_host((host, port))
        .await
        .map_err(unknown)?;
    let mut found: Vec<IpAddr> = Vec::new();
    for answer in answers {
        if !found.contains(&answer.ip()) {
            found.push(answer.ip());
        }
    }
    // One forbidden answer forbids the host, so none may be left unseen.
    if found.is_empty() || found.len() > ANSWERS {
        return Err(unknown(std::io::Error::other(format!(
            "it has {} addresses",
            found.len()
        ))));
    }
    Ok(found)
}

fn judge(
    host: &str,
    address: IpAddr,
    own: &[IpAddr],
    rules: &FetchRules,
) -> Result<IpAddr, FetchError> {
    let address = address.to_canonical();
    let kind = special(address).or_else(|| {
        own.contains(&address)
            .then_some("an address of this machine")
    });
    match kind {
        Some(kind) if !rules.allow.iter().any(|network| network.contains(address)) => {
            Err(FetchError::Address {
                host: host.to_owned(),
                address,
                kind,
            })
        }
        _ => Ok(address),
    }
}

fn own_addresses() -> std::io::Result<Vec<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?
        .into_iter()
        .map(|interface| interface.ip().to_canonical())
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(allow: &[&str]) -> FetchRules {
        FetchRules {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            ..FetchRules::default()
        }
    }

    #[test]
    fn an_address_of_this_machine_is_refused_though_it_is_public() {
        let own = ["140.82.121.4".parse().unwrap()];
        let judged = |address: &str, rules: &FetchRules| {
            judge("forge.example", address.parse().unwrap(), &own, rules)
        };
        let error = judged("140.82.121.4", &rules(&[])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`140.82.121.4`, an address of this machine"),
            "{text}"
        );
        assert!(text.contains("allow = [\"140.82.121.4\"]"), "{text}");
        assert!(judged("::ffff:140.82.121.4", &rules(&[])).is_err());
        judged("140.82.121.4", &rules(&["140.82.121.4"])).unwrap();
        judged("140.82.121.5", &rules(&[])).unwrap();
    }

    #[tokio::test]
    async fn names_and_literals_of_this_machine_are_refused() {
        for host in [
            "localhost",
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
        ] {
            let error = resolve(host, 443, &rules(&[])).await.unwrap_err();
            assert!(
                matches!(error, FetchError::Address { .. }),
                "{host}: {error}"
            );
        }
        let allowed = rules(&["127.0.0.0/8", "::1"]);
        let found = resolve("::ffff:127.0.0.1", 443, &allowed).await.unwrap();
        assert_eq!(found, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(
            !resolve("localhost", 443, &allowed)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn other_ports_than_those_of_git_need_the_configuration() {
        let error = resolve("127.0.0.1", 6379, &rules(&["127.0.0.1"])).await;
        assert!(error.unwrap_err().to_string().contains("ports = [6379]"));
        let mut opened = rules(&["127.0.0.1"]);
        opened.ports = vec![8443];
        let text = resolve("127.0.0.1", 6379, &opened).await.unwrap_err();
        let text = text.to_string();
        assert!(text.contains("the ports 22, 443, 8443, not"), "{text}");
        assert!(text.contains("`ports = [8443, 6379]`"), "{text}");
        for port in [22, 443, 8443] {
            resolve("127.0.0.1", port, &opened).await.unwrap();
        }
    }
}
