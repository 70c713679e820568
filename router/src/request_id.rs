//! One name for a request in every log: the visitor's or load balancer's own when it has a good
//! one, else a new one; told to the app and to the visitor as `X-Request-ID`.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field; what Heroku, nginx and Django's logging packages call it.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over, in bytes.
const LONGEST: usize = 128;

/// New names on one worker: a random start and a count, so that none comes twice on any.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// Another worker's.
    pub(crate) fn new() -> RequestIds {
        // Without randomness the clock tells one start of the edge from another.
        let start = getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
            now.map_or(0, |since| since.as_nanos() as u64)
        });
        RequestIds {
            start,
            count: Cell::new(0),
        }
    }

    /// The name of a request, which is in its head from now on.
    pub(crate) fn name(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        if let (Some(only), None) = (given.next(), given.next())
            && is_good(only.as_bytes())
        {
            return only.clone();
        }
        let new = self.next();
        headers.insert(X_REQUEST_ID, new.clone());
        new
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mut text = [0; 32];
        for (place, half) in text.chunks_exact_mut(16).zip([self.start, count]) {
            for (at, digit) in place.iter_mut().enumerate() {
                let nibble = (half >> (60 - 4 * at)) & 15;
                *digit = b"0123456789abcdef"[nibble as usize];
            }
        }
        // Hexadecimal digits are visible ASCII, so this does not fail.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// Letters, digits and what UUIDs, ULIDs and base64 need; it goes into logs.
fn is_good(name: &[u8]) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=+/:".contains(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(ids: &RequestIds, given: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for given in given {
            headers.append(X_REQUEST_ID, given.parse().unwrap());
        }
        let name = ids.name(&mut headers);
        assert_eq!(
            headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(),
            [&name]
        );
        name.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_good_name_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let good = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(named(&ids, &[good]), good);
        let long = "a".repeat(129);
        for bad in [&["a", "b"][..], &["a b"], &["\"; x"], &[&long], &[""], &[]] {
            let name = named(&ids, bad);
            assert_eq!(name.len(), 32, "{bad:?}");
            assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(named(&ids, &[]), named(&ids, &[]));
        assert_ne!(named(&ids, &[]), named(&RequestIds::new(), &[]));
    }
}
