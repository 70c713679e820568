//! Which host a request is for: one canonical form of the Host header, or a refusal. Lower case,
//! without port and trailing dot. A request with two hosts that disagree is never guessed at.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};

/// The host of a request.
#[derive(Debug)]
pub(crate) struct Host {
    /// As it goes to the app.
    header: HeaderValue,
    /// As it stands in the table, when that is not a part of `header` as it is.
    lowered: Option<Box<str>>,
    length: usize,
}

/// A request whose host is missing, doubled or no host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadHost;

impl Host {
    /// Reads the host. In the absolute form the target's authority is the host (RFC 9112, 3.2.2);
    /// a Host header that says something else is refused rather than ignored.
    pub(crate) fn of(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Host, BadHost> {
        let mut all = headers.get_all(HOST).iter();
        let header = all.next();
        if all.next().is_some() {
            return Err(BadHost);
        }
        match (uri.authority(), header) {
            (None, Some(header)) => Host::parse(header.clone()),
            (Some(authority), Some(header)) => {
                let named = Host::parse(header.clone())?;
                if authority
                    .as_str()
                    .as_bytes()
                    .eq_ignore_ascii_case(header.as_bytes())
                {
                    Ok(named)
                } else {
                    Err(BadHost)
                }
            }
            // Its `:authority` stands for the header (RFC 9113, 8.3.1).
            (Some(authority), None) if version == Version::HTTP_2 => {
                Host::parse(HeaderValue::try_from(authority.as_str()).map_err(|_| BadHost)?)
            }
            // HTTP/1.1 asks for the header even then (RFC 9112, 3.2).
            (_, None) => Err(BadHost),
        }
    }

    fn parse(header: HeaderValue) -> Result<Host, BadHost> {
        let text = header.to_str().map_err(|_| BadHost)?;
        let name = without_port(text).ok_or(BadHost)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        let literal = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let good = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(name),
        };
        if !good {
            return Err(BadHost);
        }
        let length = name.len();
        let lowered = name
            .bytes()
            .any(|byte| byte.is_ascii_uppercase())
            .then(|| name.to_ascii_lowercase().into_boxed_str());
        Ok(Host {
            header,
            lowered,
            length,
        })
    }

    /// The name as the table has it.
    pub(crate) fn name(&self) -> &str {
        match &self.lowered {
            Some(name) => name,
            // `parse` saw that the header is visible ASCII and starts with the name.
            None => self
                .header
                .to_str()
                .ok()
                .and_then(|text| text.get(..self.length))
                .unwrap_or_default(),
        }
    }

    /// The header as received.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

fn without_port(text: &str) -> Option<&str> {
    let after_literal = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_literal..].split_once(':') {
        None => Some(text),
        Some((_, port)) => (port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| &text[..text.len() - port.len() - 1]),
    }
}

fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 63)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        let found = Host::of(Version::HTTP_11, &uri.parse().unwrap(), &headers).ok()?;
        Some(found.name().to_owned())
    }

    #[test]
    fn one_canonical_form() {
        for (given, name) in [
            ("tienda.example", "tienda.example"),
            ("Tienda.EXAMPLE", "tienda.example"),
            ("tienda.example:8080", "tienda.example"),
            ("Tienda.example.:443", "tienda.example"),
            ("tienda.example.", "tienda.example"),
            ("tienda.example:", "tienda.example"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(host("/", &[given]).as_deref(), Some(name), "{given}");
        }
    }

    #[test]
    fn http_2_names_it_without_a_field() {
        let uri = "https://Tienda.example:8443/x".parse().unwrap();
        let found = Host::of(Version::HTTP_2, &uri, &HeaderMap::new()).unwrap();
        assert_eq!(found.name(), "tienda.example");
        assert_eq!(found.header(), "Tienda.example:8443");
        let strange = "https://user@tienda.example/".parse().unwrap();
        assert!(Host::of(Version::HTTP_2, &strange, &HeaderMap::new()).is_err());
        assert!(Host::of(Version::HTTP_11, &uri, &HeaderMap::new()).is_err());
    }

    #[test]
    fn what_is_no_host() {
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            "a.example..",
            "a b",
            "a,b",
            "a/b",
            "u@a.example",
            "a.example:80x",
            "a.example:123456",
            "a:1:2",
            "[::1",
            "[x]",
            "a\"b",
        ] {
            assert_eq!(host("/", &[bad]), None, "{bad}");
        }
    }

    #[test]
    fn missing_doubled_and_disagreeing_hosts_are_refused() {
        assert_eq!(host("/", &[]), None);
        assert_eq!(host("/", &["a.example", "a.example"]), None);
        assert_eq!(host("http://a.example/", &["b.example"]), None);
        assert_eq!(host("http://a.example/", &[]), None);
        assert_eq!(host("http://u@a.example/", &["a.example"]), None);
        assert_eq!(
            host("http://A.example/x", &["a.example"]).as_deref(),
            Some("a.example")
        );
    }
}
