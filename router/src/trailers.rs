//! Fields after an answer's body (RFC 9110, 6.5). They pass, except those that would change what
//! was said in its head: a visitor has decided by that head already, and whoever merges the two
//! would decide anew. Those after a request's body end at the edge (`request_body`).

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE,
    DATE, EXPIRES, HOST, LOCATION, PRAGMA, RETRY_AFTER, SERVER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRAILER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::is_hop_by_hop;
use crate::request_id::X_REQUEST_ID;

/// Framing, routing, authentication, the control of the answer, how its content is to be read
/// (RFC 9110, 6.5.1), and what makes browsers careful.
const ONLY_IN_HEAD: [HeaderName; 26] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_SECURITY_POLICY,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPIRES,
    HOST,
    LOCATION,
    PRAGMA,
    RETRY_AFTER,
    SERVER,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TRAILER,
    VARY,
    WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
    X_REQUEST_ID,
];

/// Whether a visitor says that they take trailers. It is for one hop alone, so the next one is
/// told anew.
pub(crate) fn are_taken(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("trailers"))
}

/// Tells the app that they are taken (RFC 9110, 10.1.4).
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("te"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Makes an app's trailers ones for the visitor.
pub(crate) fn to_visitor(trailers: HeaderMap) -> HeaderMap {
    let is_bad = |name: &HeaderName| ONLY_IN_HEAD.contains(name) || is_hop_by_hop(name);
    if !trailers.keys().any(is_bad) {
        return trailers;
    }
    let mut passed = HeaderMap::new();
    let good = trailers.iter().filter(|(name, _)| !is_bad(name));
    for (name, value) in good {
        passed.append(name, value.clone());
    }
    passed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_was_decided_by_the_head_is_not_said_again() {
        let good = [
            ("server-timing", "db;dur=53"),
            ("server-timing", "app;dur=47"),
            ("grpc-status", "0"),
            ("etag", "\"x\""),
        ];
        assert_eq!(to_visitor(map(&good)), map(&good));
        let bad = [
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
            ("connection", "close"),
            ("content-type", "text/html"),
            ("location", "/"),
            ("x-frame-options", "ALLOWALL"),
        ];
        let mut mixed = map(&bad);
        for (name, value) in map(&good).iter() {
            mixed.append(name, value.clone());
        }
        assert_eq!(to_visitor(mixed), map(&good));
        assert!(to_visitor(map(&bad)).is_empty());
    }

    #[test]
    fn visitors_who_take_them_say_so() {
        assert!(are_taken(&map(&[("te", "trailers")])));
        assert!(are_taken(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(are_taken(&map(&[("te", "gzip"), ("te", "trailers")])));
        assert!(!are_taken(&map(&[("te", "gzip"), ("trailers", "te")])));
    }
}
