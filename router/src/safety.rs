//! The headers that make a browser careful, on every answer, unless the app says something else.

use http::header::{
    CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

use crate::headers::Scheme;

/// A year (RFC 6797), this host alone: nobody asked for the subdomains.
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds what is missing.
pub(crate) fn complete(headers: &mut HeaderMap, scheme: Scheme) {
    if scheme == Scheme::Https {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(ONE_YEAR);
    }
    headers
        .entry(X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    // A policy with `frame-ancestors` is the newer word for the same and would be narrowed.
    let framed = headers
        .get_all(CONTENT_SECURITY_POLICY)
        .iter()
        .any(|policy| {
            let policy = policy.as_bytes().to_ascii_lowercase();
            policy
                .windows(b"frame-ancestors".len())
                .any(|part| part == b"frame-ancestors")
        });
    if !framed {
        headers
            .entry(X_FRAME_OPTIONS)
            .or_insert(HeaderValue::from_static("SAMEORIGIN"));
    }
}
