//! Answers of apps as gzip: what is compressed, and what its head says.

/// What open answers cost.
mod memory;
/// Answers that come in parts, and ends that come too early.
mod streams;

use std::io::{Read, Write};

use flate2::bufread;
use http_body_util::BodyExt;
use serde_json::json;
use zarpar_control::{EdgeReply, EdgeRequest};
use zarpar_router::{AccessLog, Limits, LineFormat};

use crate::backend::{Backend, Next};
use crate::tls::{h2, request, secured, wait};
use crate::world::{Answer, Edge, route};

const GZIP: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";

/// A page of about this length in bytes, with an end of its own.
fn page(length: usize) -> String {
    let mut page = String::from("<!doctype html>\n");
    for number in 0.. {
        if page.len() >= length {
            break;
        }
        page += &format!(
            "<li class=\"card\"><a href=\"/{number}/\">{}</a>\n",
            number * 7919
        );
    }
    page + "<footer>"
}

/// One member that ends where the bytes end.
fn unpacked(bytes: &[u8]) -> String {
    let mut reader = bufread::GzDecoder::new(bytes);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(reader.into_inner().is_empty(), "bytes after the end");
    text
}

/// Says a page with these fields more and its length.
fn saying(fields: &'static str, body: String) -> Backend {
    Backend::start(move |seen, stream| {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        if !seen.line().starts_with("HEAD") {
            // The edge may have left.
            let _ = stream.write_all(body.as_bytes());
        }
        Next::Keep
    })
}

fn head(edge: &Edge, fields: &str) -> Answer {
    edge.ask_http(&format!("HEAD / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

#[test]
fn a_page_is_compressed_for_those_who_can_read_it() {
    for length in [1024, 10_000, 100_000, 700_000] {
        let page = page(length);
        let app = saying(
            "Content-Type: text/html\r\nETag: \"abc\"\r\nVary: Cookie\r\nAccept-Ranges: bytes\r\n",
            page.clone(),
        );
        let edge = Edge::with_targets(&[app.address]);
        let mut client = edge.client();
        // All on one connection, and each answer on the connection to the app that the one before
        // left.
        for (accepted, compressed) in [
            ("gzip, br", true),
            ("gzip;q=0, br", false),
            ("identity;q=0", false),
            ("*;q=0.1", true),
        ] {
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {accepted}\r\n\r\n"
            ));
            let answer = client.answer();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.field("vary"), Some("Cookie, Accept-Encoding"));
            let (coding, size) = (
                answer.field("content-encoding"),
                answer.field("content-length"),
            );
            if compressed {
                assert_eq!((coding, size), (Some("gzip"), None));
                assert_eq!(answer.field("etag"), Some("W/\"abc\""));
                assert_eq!(answer.field("accept-ranges"), None);
                assert!(unpacked(&answer.body) == page);
                let (from, to) = (page.len(), answer.body.len());
                assert!(to < from / 2, "{from} B became {to} B");
            } else {
                assert_eq!((coding, size), (None, Some(&*page.len().to_string())));
                assert_eq!(answer.field("etag"), Some("\"abc\""));
                assert_eq!(answer.field("accept-ranges"), Some("bytes"));
                assert!(answer.text() == page);
            }
        }
        let numbers: Vec<usize> = app.seen().iter().map(|seen| seen.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3], "connections were kept");
        let passed_on = app.seen()[1].field("accept-encoding").join("|");
        assert_eq!(passed_on, "gzip;q=0, br");
    }
}

#[test]
fn what_is_not_for_it_arrives_as_the_app_sent_it() {
    let long = page(5000);
    for (fields, body) in [
        ("Content-Type: text/event-stream\r\n", &long),
        ("Content-Type: image/png\r\n", &long),
        ("", &long),
        ("Content-Type: text/html\r\nContent-Encoding: br\r\n", &long),
        (
            "Content-Type: text/html\r\nCache-Control: private, no-transform\r\n",
            &long,
        ),
        (
            "Content-Type: text/html\r\nContent-Digest: sha-256=:AA==:\r\n",
            &long,
        ),
        (HTML, &page(900)),
    ] {
        let app = saying(fields, body.clone());
        let edge = Edge::with_targets(&[app.address]);
        let (with, without) = (edge.get_with("/", GZIP), edge.get("/"));
        assert!(with.text() == body, "{fields}");
        assert_eq!(with.field("content-length"), Some(&*body.len().to_string()));
        assert_eq!(with.field("vary"), None, "{fields}");
        let lines = |answer: &Answer| {
            let lines = answer.head.lines().map(str::to_owned);
            let other =
                |line: &String| !line.starts_with("x-request-id") && !line.starts_with("date");
            lines.filter(other).collect::<Vec<_>>()
        };
        assert_eq!(lines(&with), lines(&without));
    }
}

#[test]
fn heads_parts_and_unchanged_answers_have_no_body_to_compress() {
    let app = saying("Content-Type: text/html\r\nETag: \"abc\"\r\n", page(5000));
    let edge = Edge::with_targets(&[app.address]);
    let answer = head(&edge, GZIP);
    for (name, value) in [
        ("content-encoding", Some("gzip")),
        ("vary", Some("Accept-Encoding")),
        ("etag", Some("W/\"abc\"")),
        ("content-length", None),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    let plain = head(&edge, "");
    assert_eq!(
        plain.field("content-length"),
        Some(&*page(5000).len().to_string())
    );
    assert_eq!(plain.field("vary"), Some("Accept-Encoding"));

    let app = Backend::start(|seen, stream| {
        let answer: &str = if seen.line().contains("/304") {
            "304 Not Modified\r\nETag: \"abc\"\r\n\r\n"
        } else if seen.line().contains("/204") {
            "204 No Content\r\nContent-Type: text/html\r\n\r\n"
        } else {
            "206 Partial Content\r\nContent-Type: text/html\r\nContent-Range: bytes 0-3/9000\r\n\
             Content-Length: 4\r\n\r\npart"
        };
        write!(stream, "HTTP/1.1 {answer}").unwrap();
        Next::Keep
    });
    edge.apply(2, json!([route(&[app.address])]));
    // On one connection: each answer ends where it ends.
    let mut client = edge.client();
    for (path, more, status, etag) in [
        (
            "/304",
            "If-None-Match: W/\"abc\"\r\n",
            304,
            Some("W/\"abc\""),
        ),
        ("/304", "If-None-Match: \"abc\"\r\n", 304, Some("\"abc\"")),
        ("/204", "", 204, None),
        ("/206", "Range: bytes=0-3\r\n", 206, None),
    ] {
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{GZIP}{more}\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.field("etag")), (status, etag));
        assert_eq!(answer.field("content-encoding"), None);
        assert_eq!(answer.text(), if status == 206 { "part" } else { "" });
    }
    // The app hears the tag as the visitor says it; Django compares weakly.
    assert_eq!(app.seen()[0].field("if-none-match"), ["W/\"abc\""]);
}

#[test]
fn http_1_0_reads_to_the_end_of_the_connection() {
    let page = page(100_000);
    let app = saying(HTML, page.clone());
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: a.test\r\n{GZIP}\r\n"));
    let answer = client.answer();
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("content-length"), None);
    assert!(unpacked(&answer.body) == page);
}

#[test]
fn http_2_gets_the_same() {
    let page = page(100_000);
    let app = saying(
        "Content-Type: application/json\r\nETag: \"abc\"\r\n",
        page.clone(),
    );
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &pair.der).await;
        for method in ["GET", "HEAD"] {
            let mut asked = request(method, "/", "");
            let accepted = "gzip, br".parse().unwrap();
            asked.headers_mut().insert("accept-encoding", accepted);
            let answer = sender.send_request(asked).await.unwrap();
            let fields = answer.headers();
            assert_eq!(fields["content-encoding"], "gzip");
            assert_eq!(fields["vary"], "Accept-Encoding");
            assert_eq!(fields["etag"], "W/\"abc\"");
            assert!(!fields.contains_key("content-length"), "{method}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            if method == "GET" {
                assert!(unpacked(&body) == page);
            } else {
                assert!(body.is_empty());
            }
        }
        let plain = sender.send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(plain.headers()["vary"], "Accept-Encoding");
        let body = plain.into_body().collect().await.unwrap().to_bytes();
        assert!(body == page.as_bytes());
    });
}

#[test]
fn what_is_counted_is_what_was_sent() {
    let app = saying(HTML, page(20_000));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = AccessLog {
        file: file.clone(),
        format: LineFormat::Json,
        with_static: false,
    };
    let mut edge = Edge::start_logging(folder, Limits::default(), Some(log));
    edge.apply(1, json!([route(&[app.address])]));
    let answer = edge.get_with("/", GZIP);
    let sent = answer.body.len();
    assert!(sent < 10_000, "{sent}");
    let EdgeReply::Metrics { text } = edge.ask(&EdgeRequest::Metrics) else {
        panic!("no metrics");
    };
    // Written at the latest at the end.
    edge.begin_stop();
    edge.stopped().unwrap();
    let line = std::fs::read_to_string(file).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(line["bytes"], sent, "{line}");
    assert!(text.contains("zarpar_edge_response_bytes_total"));
}
