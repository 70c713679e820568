//! WebSocket on a stream of HTTP/2 (RFC 8441): the visitor says CONNECT with `:protocol`, the app
//! is asked by HTTP/1.1's handshake (RFC 6455, 4.1), whose key and its answer are ours.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderValue, Method, Request};
use hyper::ext::Protocol;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// The protocol as HTTP/1.1 names it.
pub(crate) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// What a server appends to the key, so that it is known to mean WebSocket (RFC 6455, 1.3).
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request asks for a WebSocket in this way. Any other CONNECT would be a tunnel past
/// every rule kept here.
pub(crate) fn is_asked<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    *request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// Makes it HTTP/1.1's request; returns what the app must answer to the key in it.
pub(crate) fn to_handshake<B>(request: &mut Request<B>) -> HeaderValue {
    let mut nonce = [0; 16];
    // The key only shows that the app knows WebSocket; without randomness it does that as well.
    let _ = getrandom::fill(&mut nonce);
    let key = header(&STANDARD.encode(nonce));
    let accept = accept_for(key.as_bytes());
    *request.method_mut() = Method::GET;
    request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
    accept
}

/// Whether the app's answer is the one to our key, which ends here.
pub(crate) fn is_accepted(headers: &mut HeaderMap, expected: &HeaderValue) -> bool {
    headers.remove(SEC_WEBSOCKET_ACCEPT).as_ref() == Some(expected)
}

fn accept_for(key: &[u8]) -> HeaderValue {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(SUFFIX);
    header(&STANDARD.encode(digest.finish()))
}

fn header(base64: &str) -> HeaderValue {
    // Letters, digits and `+/=` are visible ASCII, so this does not fail.
    HeaderValue::from_str(base64).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        assert_eq!(
            accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_handshake_has_a_key_of_its_own_in_place_of_the_visitors() {
        let mut keys = Vec::new();
        for _ in 0..2 {
            let mut request = Request::connect("https://a.test/ws?x=1")
                .header("sec-websocket-key", "theirs")
                .extension(Protocol::from_static("websocket"))
                .body(())
                .expect("a request");
            assert!(is_asked(&request));
            let accept = to_handshake(&mut request);
            assert_eq!(*request.method(), Method::GET);
            let key = request.headers()[SEC_WEBSOCKET_KEY].clone();
            assert_eq!((key.len(), accept_for(key.as_bytes())), (24, accept));
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn other_tunnels_are_not_asked_for_in_this_way() {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        assert!(!is_asked(&request));
        let mut with = |method, protocol| {
            *request.method_mut() = method;
            request
                .extensions_mut()
                .insert(Protocol::from_static(protocol));
            is_asked(&request)
        };
        assert!(!with(Method::CONNECT, "connect-udp"));
        assert!(!with(Method::GET, "websocket"));
        assert!(with(Method::CONNECT, "WebSocket"));
    }
}
