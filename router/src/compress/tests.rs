#![allow(clippy::unwrap_used)]
use http::header::ACCEPT_ENCODING;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    fields
}

/// What a page is answered with, and more.
fn page(more: &[(&str, &str)]) -> HeaderMap {
    let mut fields = map(&[("content-type", "text/html; charset=utf-8")]);
    fields.extend(map(more));
    fields
}

/// The wish of a browser that says this as well.
fn browser(is_head: bool, more: &[(&str, &str)]) -> Wish {
    let mut fields = map(&[("accept-encoding", "gzip, deflate, br, zstd")]);
    fields.extend(map(more));
    Wish::of(is_head, &fields)
}

fn settled(wish: &Wish, status: u16, length: Option<u64>, mut fields: HeaderMap) -> Settled {
    let status = StatusCode::from_u16(status).unwrap();
    let compressed = wish.settle(status, length, &mut fields);
    assert_eq!(compressed, fields.get(CONTENT_ENCODING) == Some(&GZIP));
    (compressed, fields)
}

type Settled = (bool, HeaderMap);
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

fn is_compressed(more: &[(&str, &str)]) -> bool {
    settled(&browser(false, &[]), 200, Some(5000), page(more)).0
}

#[test]
fn the_head_of_a_compressed_answer() {
    let (compressed, fields) = settled(
        &browser(false, &[]),
        200,
        Some(1024),
        page(&[
            ("content-length", "1024"),
            ("etag", "\"abc\""),
            ("vary", "Cookie"),
            ("accept-ranges", "bytes"),
            ("trailer", "X-Sum"),
            ("cache-control", "private, max-age=0"),
        ]),
    );
    assert!(compressed);
    let expected = page(&[
        ("content-encoding", "gzip"),
        ("etag", "W/\"abc\""),
        ("vary", "Cookie, Accept-Encoding"),
        ("cache-control", "private, max-age=0"),
    ]);
    assert_eq!(fields, expected);
}

#[test]
fn the_visitor_decides_and_caches_hear_of_it() {
    for (accepted, expected) in [
        ("gzip", true),
        ("br;q=1, gzip;q=0.1", true),
        ("*", true),
        ("identity;q=0, *;q=0.5", true),
        ("gzip;q=0", false),
        ("gzip;q=0, *", false),
        ("br, zstd, deflate", false),
        ("identity;q=0", false),
        ("identity, gzip;q=0.5", false),
        ("", false),
    ] {
        let wish = Wish::of(false, &map(&[("accept-encoding", accepted)]));
        let (compressed, fields) = settled(&wish, 200, None, page(&[]));
        assert_eq!(compressed, expected, "{accepted}");
        assert_eq!(fields[VARY], "Accept-Encoding", "{accepted}");
    }
    let wish = Wish::of(false, &HeaderMap::new());
    let as_it_is = [("etag", "\"abc\""), ("accept-ranges", "bytes")];
    let (compressed, fields) = settled(&wish, 200, None, page(&as_it_is));
    assert!(!compressed);
    let mut expected = page(&as_it_is);
    expected.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    assert_eq!(fields, expected);
    let careful = browser(false, &[("cache-control", "max-age=0, No-Transform")]);
    assert!(!settled(&careful, 200, None, page(&[])).0);
}

#[test]
fn what_is_not_for_it_is_not_touched() {
    for more in [
        &[("content-encoding", "br")][..],
        &[("content-encoding", "identity")],
        &[("content-range", "bytes 0-1023/5000")],
        &[("cache-control", "public,no-transform")],
        &[
            ("cache-control", "public"),
            ("cache-control", "NO-TRANSFORM"),
        ],
        &[("content-digest", "sha-256=:AA==:")],
        &[("repr-digest", "sha-256=:AA==:")],
        &[("digest", "sha-256=AA==")],
        &[("content-md5", "AA==")],
    ] {
        let wish = browser(false, &[]);
        let mut fields = page(more);
        fields.insert(ETAG, HeaderValue::from_static("\"abc\""));
        let compressed = wish.settle(StatusCode::OK, None, &mut fields.clone());
        assert!(!compressed, "{more:?}");
        let before = fields.clone();
        wish.settle(StatusCode::OK, None, &mut fields);
        assert_eq!(fields, before, "{more:?}");
    }
    assert!(is_compressed(&[]));
    assert!(is_compressed(&[("cache-control", "no-transformation")]));
}

#[test]
fn length_and_status() {
    for (status, length, expected) in [
        (200, None, true),
        (200, Some(1024), true),
        (200, Some(1023), false),
        (200, Some(0), false),
        (201, None, true),
        (204, None, false),
        (205, None, false),
        (206, None, false),
        (304, None, false),
        (404, None, true),
        (500, Some(90_000), true),
    ] {
        let (compressed, fields) = settled(&browser(false, &[]), status, length, page(&[]));
        assert_eq!(compressed, expected, "{status} {length:?}");
        assert_eq!(fields.contains_key(VARY), expected, "{status} {length:?}");
    }
}

#[test]
fn a_head_is_answered_as_a_get() {
    for (length, expected) in [(Some("5000"), true), (Some("1000"), false), (None, true)] {
        let mut fields = page(&[("etag", "\"abc\"")]);
        if let Some(length) = length {
            fields.insert(CONTENT_LENGTH, length.parse().unwrap());
        }
        // The body of an answer to HEAD is empty, whatever length is told.
        let (compressed, fields) = settled(&browser(true, &[]), 200, Some(0), fields);
        assert_eq!(compressed, expected, "{length:?}");
        let kept = fields
            .get(CONTENT_LENGTH)
            .map(|value| value.to_str().unwrap());
        assert_eq!(kept, length.filter(|_| !expected));
        assert_eq!(fields[ETAG] == "W/\"abc\"", expected);
    }
}

#[test]
fn types() {
    for (content_type, expected) in [
        ("text/html", true),
        ("Text/HTML ; charset=utf-8", true),
        ("text/plain", true),
        ("text/css", true),
        ("application/json", true),
        ("application/problem+json", true),
        ("application/javascript", true),
        ("application/x-javascript", true),
        ("application/atom+xml", true),
        ("image/svg+xml", true),
        ("application/x-ndjson", true),
        ("text/event-stream", false),
        ("Text/Event-Stream; charset=utf-8", false),
        ("image/jpeg", false),
        ("video/mp4", false),
        ("application/pdf", false),
        ("application/zip", false),
        ("application/octet-stream", false),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            false,
        ),
        ("", false),
    ] {
        let fields = map(&[("content-type", content_type)]);
        let (compressed, _) = settled(&browser(false, &[]), 200, None, fields);
        assert_eq!(compressed, expected, "{content_type}");
    }
    assert!(!settled(&browser(false, &[]), 200, None, HeaderMap::new()).0);
}

#[test]
fn vary_is_joined_with_what_the_app_varies_by() {
    for (own, expected) in [
        (&[][..], &["Accept-Encoding"][..]),
        (&["Cookie"], &["Cookie, Accept-Encoding"]),
        (&["cookie, accept-encoding"], &["cookie, accept-encoding"]),
        (&["*"], &["*"]),
        (&["A", "B"], &["A", "B", "Accept-Encoding"]),
        (&["A", "Accept-Encoding"], &["A", "Accept-Encoding"]),
    ] {
        let own: Vec<_> = own.iter().map(|value| ("vary", *value)).collect();
        let (_, fields) = settled(&browser(false, &[]), 200, None, page(&own));
        let found: Vec<_> = fields.get_all(VARY).iter().collect();
        assert_eq!(found, expected, "{own:?}");
    }
}

#[test]
fn tags() {
    for (own, expected) in [
        ("\"abc\"", Some("W/\"abc\"")),
        ("W/\"abc\"", Some("W/\"abc\"")),
        ("\"\"", Some("W/\"\"")),
        ("abc", None),
    ] {
        let (_, fields) = settled(&browser(false, &[]), 200, None, page(&[("etag", own)]));
        let found = fields.get(ETAG).map(|value| value.to_str().unwrap());
        assert_eq!(found, expected, "{own}");
    }
}

#[test]
fn an_unchanged_answer_has_the_tag_that_the_visitor_knows() {
    for (known, own, expected) in [
        (Some("W/\"abc\""), "\"abc\"", "W/\"abc\""),
        (Some("\"x\", W/\"abc\""), "\"abc\"", "W/\"abc\""),
        (Some("\"abc\""), "\"abc\"", "\"abc\""),
        (Some("W/\"abcd\", \"abc\""), "\"abc\"", "\"abc\""),
        (Some("W/\"abc\""), "W/\"abc\"", "W/\"abc\""),
        (Some("*"), "\"abc\"", "\"abc\""),
        (None, "\"abc\"", "\"abc\""),
    ] {
        let known: Vec<_> = known.iter().map(|tag| ("if-none-match", *tag)).collect();
        let fields = map(&[("etag", own), ("vary", "Cookie")]);
        let (_, fields) = settled(&browser(false, &known), 304, Some(0), fields);
        assert_eq!(fields[ETAG], expected, "{known:?} {own}");
        let ours = own != expected;
        assert_eq!(fields[VARY] == "Cookie, Accept-Encoding", ours, "{known:?}");
    }
}

#[test]
fn a_wish_is_read_from_all_lines() {
    let mut fields = HeaderMap::new();
    fields.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
    fields.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(settled(&Wish::of(false, &fields), 200, None, page(&[])).0);
}
