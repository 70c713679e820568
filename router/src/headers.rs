//! What of a message's head goes on and what does not. Hop-by-hop fields end here, and whatever
//! a stranger says about where a request came from is replaced by what we saw.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHORIZATION, SERVER, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::trailers;

/// How the visitor reached us; Django sees it as `request.is_secure()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// What the app is told about the visitor.
pub(crate) struct Origin<'a> {
    pub(crate) address: &'a HeaderValue,
    pub(crate) scheme: Scheme,
    pub(crate) host: &'a HeaderValue,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Makes a visitor's head one for the app. `upgrade` is the one protocol the connection may
/// change to, when it was asked for and is allowed.
pub(crate) fn to_app(headers: &mut HeaderMap, origin: &Origin<'_>, upgrade: Option<HeaderValue>) {
    let trailers = upgrade.is_none() && trailers::are_taken(headers);
    remove_named_by_connection(headers);
    remove_where(headers, |name| {
        is_hop_by_hop(name) || is_untrusted(name.as_str())
    });
    // HTTP/2 says it in `:authority`.
    headers.entry(HOST).or_insert_with(|| origin.host.clone());
    join_cookies(headers);
    headers.insert(X_FORWARDED_FOR, origin.address.clone());
    headers.insert(X_REAL_IP, origin.address.clone());
    headers.insert(X_FORWARDED_HOST, origin.host.clone());
    headers.insert(
        X_FORWARDED_PROTO,
        match origin.scheme {
            Scheme::Http => HeaderValue::from_static("http"),
            Scheme::Https => HeaderValue::from_static("https"),
        },
    );
    if trailers {
        trailers::ask(headers);
    }
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol);
    }
}

/// Makes an app's head one for the visitor. `keep_length` is for answers that describe a body
/// they do not have (HEAD, 304); in all others the length is that of the body itself.
pub(crate) fn to_visitor(headers: &mut HeaderMap, keep_length: bool) {
    remove_named_by_connection(headers);
    remove_where(headers, |name| is_hop_by_hop(name) || *name == SERVER);
    if !keep_length || headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Whether an answer has a length but no body.
pub(crate) fn describes_absent_body(is_head: bool, status: StatusCode) -> bool {
    is_head || status == StatusCode::NOT_MODIFIED
}

/// The protocol a head asks to change to, when it is WebSocket. Others (`h2c`) would be a tunnel
/// past every rule kept here.
pub(crate) fn websocket_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    (asked && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")).then(|| protocol.clone())
}

/// Says that the connection changes to `protocol`.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Whether the body's coding is one we can pass on: none, or exactly one `chunked`. Any other
/// would reach the app under a wrong name.
pub(crate) fn has_plain_framing(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// HTTP/2 may send each cookie as a field of its own; for HTTP/1.1 they are one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    // `close` and `keep-alive` name nothing; a name we cannot read is no header either.
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter(|token| !token.eq_ignore_ascii_case("close"))
        .filter_map(|token| token.parse().ok())
        // Removing these would change what the message is.
        .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
        PROXY_AUTHORIZATION,
    ]
    .contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "proxy-authenticate"
        )
}

/// Fields by which a stranger could pose as a proxy, and every name with `_`, which WSGI would
/// fold into the name with `-`. `Proxy` would become the environment's `HTTP_PROXY`.
fn is_untrusted(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name == FORWARDED
        || matches!(
            name,
            "x-real-ip" | "x-client-ip" | "true-client-ip" | "cf-connecting-ip" | "proxy"
        )
        || name.contains('_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn sent_to_app(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(lines);
        let origin = Origin {
            address: &HeaderValue::from_static("203.0.113.9"),
            scheme: Scheme::Http,
            host: &HeaderValue::from_static("a.example"),
        };
        to_app(&mut headers, &origin, None);
        headers
    }

    #[test]
    fn strangers_say_nothing_about_where_they_come_from() {
        let headers = sent_to_app(&[
            ("host", "a.example"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x_forwarded_proto", "https"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("proxy", "http://evil"),
            ("connection", "x-forwarded-proto, X-Forwarded-For, host"),
            ("cookie", "a=b"),
        ]);
        let expected = map(&[
            ("host", "a.example"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let headers = sent_to_app(&[
            ("connection", "close, x-private"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-private", "1"),
            ("content-length", "5"),
        ]);
        for gone in [
            "connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "expect",
            "x-private",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["content-length"], "5");
    }

    #[test]
    fn that_trailers_are_taken_is_said_anew_except_with_an_upgrade() {
        let asked = [("te", "gzip, trailers"), ("connection", "close, te")];
        let headers = sent_to_app(&asked);
        assert_eq!(
            (&headers["te"], &headers["connection"]),
            (&"trailers".parse().unwrap(), &"te".parse().unwrap())
        );
        let mut headers = map(&asked);
        let origin = Origin {
            address: &HeaderValue::from_static("203.0.113.9"),
            scheme: Scheme::Http,
            host: &HeaderValue::from_static("a.example"),
        };
        to_app(
            &mut headers,
            &origin,
            Some(HeaderValue::from_static("websocket")),
        );
        assert_eq!(headers.get("te"), None);
        assert_eq!(headers["connection"], "upgrade");
    }

    #[test]
    fn answers_lose_the_servers_name_and_a_second_length() {
        let mut headers = map(&[
            ("server", "gunicorn"),
            ("content-length", "5"),
            ("etag", "x"),
        ]);
        to_visitor(&mut headers, true);
        assert_eq!(headers, map(&[("content-length", "5"), ("etag", "x")]));
        to_visitor(&mut headers, false);
        assert_eq!(headers, map(&[("etag", "x")]));
        let mut headers = map(&[("content-length", "5"), ("content-length", "6")]);
        to_visitor(&mut headers, true);
        assert!(headers.is_empty());
    }

    #[test]
    fn only_websocket_may_change_the_protocol() {
        let ask = |connection, upgrade| {
            websocket_upgrade(&map(&[("connection", connection), ("upgrade", upgrade)])).is_some()
        };
        assert!(ask("keep-alive, Upgrade", "WebSocket"));
        assert!(!ask("keep-alive", "websocket"));
        assert!(!ask("upgrade", "h2c"));
    }

    #[test]
    fn codings_we_cannot_pass_on() {
        assert!(has_plain_framing(&map(&[])));
        assert!(has_plain_framing(&map(&[("transfer-encoding", "Chunked")])));
        for bad in [
            &[("transfer-encoding", "gzip, chunked")][..],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "xchunked")],
        ] {
            assert!(!has_plain_framing(&map(bad)));
        }
    }
}
