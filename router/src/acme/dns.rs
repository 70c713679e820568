//! Whether a name points at this server, asked before the authority is.
//!
//! An order for a name that leads elsewhere fails, and five failures an hour are all that Let's
//! Encrypt allows. A name points here when one of the addresses asked first is ours, or, for a
//! server behind an address translation or a content network, when a question sent to it over
//! HTTP comes out at our own listener. The answer is for this moment; nothing is kept.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::challenges::Challenges;
use super::probe;

/// How names are looked at.
#[derive(Debug, Clone)]
pub(crate) struct DnsLook {
    /// Whether names are looked at; a test whose names exist for the authority alone says no.
    pub(crate) enabled: bool,
    /// Whether names outside the public name space are ordered for, as at an authority of one's
    /// own.
    pub(crate) private_names: bool,
    /// Addresses that lead here and that no interface has.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the authority's HTTP-01 requests arrive, 80.
    pub(crate) http_port: u16,
    /// How long a look may take.
    pub(crate) within: Duration,
}

impl Default for DnsLook {
    fn default() -> DnsLook {
        DnsLook {
            enabled: true,
            private_names: false,
            addresses: Vec::new(),
            http_port: 80,
            within: Duration::from_secs(10),
        }
    }
}

/// Looks at each of `hosts`. The names that point here, and for the others in words why not.
pub(crate) async fn look(
    settings: &DnsLook,
    hosts: &[String],
    challenges: &Arc<Challenges>,
) -> (Vec<String>, Vec<String>) {
    if !settings.enabled {
        return (hosts.to_vec(), Vec::new());
    }
    let ours = own_addresses(&settings.addresses);
    let looks = hosts
        .iter()
        .map(|host| one(settings, host, &ours, challenges));
    let mut here = Vec::new();
    let mut elsewhere = Vec::new();
    for (host, look) in hosts
        .iter()
        .zip(futures_util::future::join_all(looks).await)
    {
        match look {
            Ok(()) => here.push(host.clone()),
            Err(words) => elsewhere.push(words),
        }
    }
    (here, elsewhere)
}

async fn one(
    settings: &DnsLook,
    host: &str,
    ours: &BTreeSet<IpAddr>,
    challenges: &Arc<Challenges>,
) -> Result<(), String> {
    if !settings.private_names && !is_public(host) {
        return Err(format!(
            "`{host}` is no public name, so no public authority gives a certificate for it"
        ));
    }
    let lookup = tokio::net::lookup_host((host, settings.http_port));
    let found: Vec<SocketAddr> = match tokio::time::timeout(settings.within, lookup).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            return Err(format!(
                "`{host}` has no address yet: {error}\nhint: add an A record for `{host}` with {}",
                list(ours)
            ));
        }
        Err(_) => return Err(format!("the name servers do not answer for `{host}`")),
    };
    let theirs: BTreeSet<IpAddr> = found.iter().map(|at| at.ip().to_canonical()).collect();
    // A loopback address comes from /etc/hosts, where many systems put their own name.
    if theirs.iter().any(IpAddr::is_loopback) {
        return Ok(());
    }
    let first = asked_first(&theirs);
    if first.iter().any(|at| ours.contains(at)) {
        return Ok(());
    }
    for address in found.iter().filter(|at| first.contains(&at.ip())) {
        if probe::arrives_here(*address, host, settings.within, challenges).await {
            return Ok(());
        }
    }
    let record = match first.iter().any(IpAddr::is_ipv6) {
        true => "AAAA",
        false => "A",
    };
    Err(format!(
        "`{host}` points to {}, this server has {}\nhint: change the {record} record of `{host}`, \
         or name the address in the configuration if it leads here",
        list(&first),
        list(ours)
    ))
}

/// The addresses an authority asks: those of IPv6 when there are any. Let's Encrypt turns to IPv4
/// only when nobody listens there, so an old AAAA record is enough to fail.
fn asked_first(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let six: BTreeSet<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv6).collect();
    if six.is_empty() {
        addresses.clone()
    } else {
        six
    }
}

/// Whether a public authority may know `host`: a name with a dot, no address, and not below the
/// names set aside for other uses (RFC 6761, RFC 6762, RFC 8375, RFC 9476, ICANN's `internal`).
fn is_public(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let set_aside = [
        "alt",
        "arpa",
        "example",
        "internal",
        "invalid",
        "local",
        "localhost",
        "onion",
        "test",
    ];
    host.contains('.')
        && host.parse::<IpAddr>().is_err()
        && !set_aside.iter().any(|name| last.eq_ignore_ascii_case(name))
}

/// The addresses of the interfaces and the configured ones, without loopback and link-local.
fn own_addresses(configured: &[IpAddr]) -> BTreeSet<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the addresses of this server");
        Vec::new()
    });
    interfaces
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .chain(configured.iter().copied())
        .map(|address| address.to_canonical())
        .collect()
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = addresses.iter().map(|at| format!("`{at}`")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_told_in_words() {
        let hosts = ["localhost".to_owned(), "nothing.invalid".to_owned()];
        let challenges = Arc::new(Challenges::default());
        let settings = DnsLook {
            private_names: true,
            ..DnsLook::default()
        };
        let (here, elsewhere) = look(&settings, &hosts, &challenges).await;
        assert_eq!(here, ["localhost"]);
        assert_eq!(elsewhere.len(), 1);
        assert!(elsewhere[0].contains("`nothing.invalid`"), "{elsewhere:?}");
        assert!(elsewhere[0].contains("hint: "), "{elsewhere:?}");
    }

    #[tokio::test]
    async fn an_address_is_compared_with_ours_and_the_configured_ones() {
        // A literal is its own address, so no name server is asked.
        let hosts = ["192.0.2.7".to_owned()];
        let challenges = Arc::new(Challenges::default());
        let mut settings = DnsLook {
            private_names: true,
            within: Duration::from_millis(200),
            ..DnsLook::default()
        };
        let (here, elsewhere) = look(&settings, &hosts, &challenges).await;
        assert!(here.is_empty());
        assert!(elsewhere[0].starts_with("`192.0.2.7` points to `192.0.2.7`"));
        assert!(challenges.is_empty(), "the probe's answer is gone");
        settings.addresses = vec!["192.0.2.7".parse().unwrap()];
        let (here, _) = look(&settings, &hosts, &challenges).await;
        assert_eq!(here, hosts);
    }

    #[tokio::test]
    async fn names_that_no_public_authority_knows_are_not_asked_for() {
        for (host, expected) in [
            ("example.com", true),
            ("a.b.example.dev", true),
            ("localhost", false),
            ("shop.localhost", false),
            ("shop.TEST", false),
            ("server", false),
            ("192.0.2.7", false),
        ] {
            assert_eq!(is_public(host), expected, "{host}");
        }
        let challenges = Arc::new(Challenges::default());
        let hosts = ["localhost".to_owned()];
        let (here, elsewhere) = look(&DnsLook::default(), &hosts, &challenges).await;
        assert!(here.is_empty());
        assert!(elsewhere[0].starts_with("`localhost` is no public name"));
    }

    #[test]
    fn an_old_ipv6_address_is_what_counts() {
        let set = |addresses: &[&str]| -> BTreeSet<IpAddr> {
            addresses.iter().map(|at| at.parse().unwrap()).collect()
        };
        let both = set(&["192.0.2.7", "2001:db8::7"]);
        assert_eq!(asked_first(&both), set(&["2001:db8::7"]));
        let four = set(&["192.0.2.7", "192.0.2.8"]);
        assert_eq!(asked_first(&four), four);
    }
}
