//! Where a request came from: the other end of its connection, or, when that is the edge, whom the
//! edge saw.

use std::net::IpAddr;

use axum::http::HeaderMap;
use subtle::ConstantTimeEq;
use zarpar_model::EDGE_KEY_HEADER;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address, put among a request's extensions by the server that accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Reads it, given the connection's other end. A request that shows `edge_key` came through
    /// the edge, which replaces whatever a client says about its address; what any other request
    /// says is not believed. The headers are taken out, so that no handler believes them either.
    pub fn told(peer: IpAddr, headers: &mut HeaderMap, edge_key: Option<&str>) -> ClientAddress {
        let shown = headers.remove(EDGE_KEY_HEADER);
        let forwarded = headers.remove(FORWARDED_FOR);
        let is_edge = match (&shown, edge_key) {
            (Some(shown), Some(key)) => bool::from(shown.as_bytes().ct_eq(key.as_bytes())),
            _ => false,
        };
        let told = forwarded.filter(|_| is_edge);
        let told = told.and_then(|address| address.to_str().ok()?.parse().ok());
        ClientAddress(told.unwrap_or(peer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_edge_is_believed() {
        let told = |key: Option<&str>, shown: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in shown {
                headers.insert(*name, value.parse().unwrap());
            }
            let peer = "127.0.0.1".parse().unwrap();
            let client = ClientAddress::told(peer, &mut headers, key);
            assert!(headers.is_empty());
            client.0.to_string()
        };
        let from = (FORWARDED_FOR, "203.0.113.9");
        let key = (EDGE_KEY_HEADER, "secret");
        assert_eq!(told(Some("secret"), &[key, from]), "203.0.113.9");
        assert_eq!(
            told(Some("secret"), &[key, (FORWARDED_FOR, "2001:db8::1")]),
            "2001:db8::1"
        );
        for (edge_key, shown) in [
            (Some("secret"), &[from][..]),
            (Some("secret"), &[(EDGE_KEY_HEADER, "secre"), from]),
            (Some("secret"), &[key]),
            (
                Some("secret"),
                &[key, (FORWARDED_FOR, "203.0.113.9, 1.1.1.1")],
            ),
            (None, &[key, from]),
            (None, &[(EDGE_KEY_HEADER, ""), from]),
        ] {
            assert_eq!(told(edge_key, shown), "127.0.0.1", "{shown:?}");
        }
    }
}
