//! Conditional and range requests on a file (RFC 9110, 13 and 14), as one pure function.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderName, Method};

/// What the request's conditions make of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200, all of it.
    Whole,
    /// 206, these bytes (never empty).
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// What a condition is compared with.
pub(crate) struct Version<'a> {
    /// A strong entity tag, with its quotes.
    pub(crate) etag: &'a str,
    /// Unix seconds.
    pub(crate) modified: u64,
    /// Bytes.
    pub(crate) size: u64,
}

/// Judges in the order of RFC 9110, 13.2.2. The method is GET or HEAD.
pub(crate) fn judge(method: &Method, headers: &HeaderMap, file: &Version<'_>) -> Verdict {
    if headers.contains_key(IF_MATCH) {
        if !lists(headers, IF_MATCH, file.etag, Comparison::Strong) {
            return Verdict::PreconditionFailed;
        }
    } else if date(headers, IF_UNMODIFIED_SINCE).is_some_and(|date| file.modified > date) {
        return Verdict::PreconditionFailed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if lists(headers, IF_NONE_MATCH, file.etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if date(headers, IF_MODIFIED_SINCE).is_some_and(|date| file.modified <= date) {
        return Verdict::NotModified;
    }
    // Range means something with GET only.
    if *method == Method::GET && range_applies(headers, file) {
        range(headers, file.size)
    } else {
        Verdict::Whole
    }
}

fn range_applies(headers: &HeaderMap, file: &Version<'_>) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else {
        return true;
    };
    if condition.as_bytes() == file.etag.as_bytes() {
        return true;
    }
    // A date must match exactly, a tag is no date.
    date(headers, IF_RANGE) == Some(file.modified)
}

fn range(headers: &HeaderMap, size: u64) -> Verdict {
    // Clients that put a range into every request would see an empty file as a failure (nginx
    // and Go think so too), and a suffix of it is satisfiable (14.1.2) but has no 206: a
    // Content-Range names at least one byte.
    if size == 0 {
        return Verdict::Whole;
    }
    let mut all = headers.get_all(RANGE).iter();
    let text = all.next().and_then(|value| value.to_str().ok());
    let (Some(text), None) = (text, all.next()) else {
        return Verdict::Whole;
    };
    let spec = match text.split_once('=') {
        Some((unit, spec)) if unit.trim().eq_ignore_ascii_case("bytes") => spec.trim(),
        _ => return Verdict::Whole,
    };
    // Several ranges (their answer is a multipart body) may be answered whole, and so is what
    // cannot be read.
    let Some((first, last)) = spec.split_once('-') else {
        return Verdict::Whole;
    };
    let (start, end) = match (number(first), number(last)) {
        (Number::Given(first), Number::Given(last)) if first <= last => {
            (first, size.min(last.saturating_add(1)))
        }
        (Number::Given(first), Number::Absent) => (first, size),
        (Number::Absent, Number::Given(count)) => (size.saturating_sub(count), size),
        _ => return Verdict::Whole,
    };
    if start < end {
        Verdict::Part(start..end)
    } else {
        Verdict::Unsatisfiable
    }
}

enum Number {
    Absent,
    Given(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::Absent,
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Too many digits lie beyond every file.
            Number::Given(text.parse().unwrap_or(u64::MAX))
        }
        _ => Number::Wrong,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim() == "*" || tags(value).any(|tag| same(tag, etag, comparison)))
}

fn same(tag: &str, etag: &str, comparison: Comparison) -> bool {
    match (tag.strip_prefix("W/"), comparison) {
        (Some(opaque), Comparison::Weak) => opaque == etag,
        (Some(_), Comparison::Strong) => false,
        (None, _) => tag == etag,
    }
}

/// The entity tags of a list. A tag may hold commas, so the quotes decide.
fn tags(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        text = text.trim_start_matches([' ', '\t', ',']);
        let quote = if text.starts_with("W/") { 2 } else { 0 };
        let inner = text.get(quote..)?.strip_prefix('"')?;
        let length = quote + inner.find('"')? + 2;
        let (tag, rest) = text.split_at(length);
        text = rest;
        Some(tag)
    })
}

/// A field with one date; more than one is no condition (13.1.3, 13.1.4).
fn date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    let mut all = headers.get_all(name).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let time = httpdate::parse_http_date(only.to_str().ok()?).ok()?;
    Some(
        time.duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_secs()),
    )
}

/// A Unix time as HTTP writes it.
pub(crate) fn http_date(seconds: u64) -> String {
    // The last second HTTP's four-digit years can say (httpdate panics beyond).
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn check(lines: &[(&str, &str)], expected: Verdict) {
        assert_eq!(verdict(Method::GET, lines, 100), expected, "{lines:?}");
    }

    fn verdict(method: Method, lines: &[(&str, &str)], size: u64) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let file = Version {
            etag: "\"abc\"",
            modified: 1_700_000_000,
            size,
        };
        judge(&method, &headers, &file)
    }

    #[test]
    fn conditions() {
        use Verdict::{NotModified, PreconditionFailed, Whole};
        check(&[], Whole);
        check(&[("if-none-match", "\"abc\"")], NotModified);
        check(&[("if-none-match", "W/\"abc\"")], NotModified);
        check(
            &[("if-none-match", "\"x,y\" , W/\"z\", \"abc\"")],
            NotModified,
        );
        check(
            &[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")],
            NotModified,
        );
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "\"ab\"")], Whole);
        check(&[("if-none-match", "abc")], Whole);
        check(&[("if-modified-since", DATE)], NotModified);
        check(&[("if-modified-since", LATER)], NotModified);
        check(&[("if-modified-since", EARLIER)], Whole);
        check(&[("if-modified-since", "yesterday")], Whole);
        check(
            &[("if-modified-since", DATE), ("if-modified-since", DATE)],
            Whole,
        );
        // The tag decides when both are there.
        check(
            &[("if-none-match", "\"x\""), ("if-modified-since", DATE)],
            Whole,
        );
        check(&[("if-match", "\"abc\"")], Whole);
        check(&[("if-match", "*")], Whole);
        check(&[("if-match", "W/\"abc\"")], PreconditionFailed);
        check(&[("if-match", "\"x\"")], PreconditionFailed);
        check(&[("if-unmodified-since", DATE)], Whole);
        check(&[("if-unmodified-since", EARLIER)], PreconditionFailed);
        check(
            &[
                ("if-unmodified-since", EARLIER),
                ("if-unmodified-since", EARLIER),
            ],
            Whole,
        );
        check(
            &[("if-match", "\"abc\""), ("if-unmodified-since", EARLIER)],
            Whole,
        );
        check(
            &[("if-match", "\"x\""), ("if-none-match", "\"abc\"")],
            PreconditionFailed,
        );
        check(
            &[("if-none-match", "\"abc\""), ("range", "bytes=0-0")],
            NotModified,
        );
    }

    #[test]
    fn ranges() {
        use Verdict::{Part, Unsatisfiable, Whole};
        for (text, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-99", Part(0..100)),
            ("bytes=0-1000", Part(0..100)),
            ("bytes=99-", Part(99..100)),
            ("Bytes = 10-19", Part(10..20)),
            ("bytes=-1", Part(99..100)),
            ("bytes=-1000", Part(0..100)),
            ("bytes=0-99999999999999999999999", Part(0..100)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0-1,5-6", Whole),
            ("bytes=0", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            check(&[("range", text)], expected);
        }
        check(&[("range", "bytes=0-0"), ("range", "bytes=1-1")], Whole);
        assert_eq!(verdict(Method::HEAD, &[("range", "bytes=0-0")], 100), Whole);
        for text in ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0"] {
            assert_eq!(verdict(Method::GET, &[("range", text)], 0), Whole, "{text}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_answered_whole() {
        let part = || Verdict::Part(0..1);
        for (condition, expected) in [
            ("\"abc\"", part()),
            (DATE, part()),
            ("W/\"abc\"", Verdict::Whole),
            ("\"x\"", Verdict::Whole),
            (EARLIER, Verdict::Whole),
            (LATER, Verdict::Whole),
        ] {
            check(&[("range", "bytes=0-0"), ("if-range", condition)], expected);
        }
    }

    #[test]
    fn dates_beyond_http_are_no_panic() {
        assert_eq!(http_date(1_700_000_000), DATE);
        assert!(http_date(u64::MAX).contains("9999"));
    }
}
