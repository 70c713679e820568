//! Bodies of visitors on slow lines: the app gets a request once all of it is here.

use std::fs;
use std::io::{BufReader, Read};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use zarpar_router::Limits;

use crate::abuse::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, fields, frame, preface, streams,
};
use crate::backend::{Backend, nobody, raw, read_head, write_whole};
use crate::tls::{config, connect, secured, wait};
use crate::world::{Client, Edge, PATIENCE, route};

/// More than stays in memory, and no multiple of anything.
const LARGE: usize = 3_000_017;

/// Bytes that tell a place from every other.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Bodies that are in files at this moment: they have no names, so their descriptors tell.
fn on_disk(edge: &Edge) -> usize {
    let folder = edge.folder.path().join("edge/uploads");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a name");
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|file| file.starts_with(&folder))
        .count()
}

/// A client whose upload has begun: the edge asked for the body.
fn begun(edge: &Edge, framing: &str) -> Client {
    let mut client = edge.client();
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
    ));
    let interim = client.head();
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    client
}

fn length(length: usize) -> String {
    format!("Content-Length: {length}")
}

fn edge_with(limits: Limits, route: serde_json::Value) -> Edge {
    let edge = Edge::start_with(limits);
    edge.apply(1, json!([route]));
    edge
}

#[test]
fn an_app_waits_for_no_visitor() {
    let (came, connections) = mpsc::channel();
    let app = raw(move |mut stream| {
        came.send(()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_head(&mut reader).unwrap();
        let mut body = [0; 8];
        reader.read_exact(&mut body).unwrap();
        write_whole(&mut stream, std::str::from_utf8(&body).unwrap());
    });
    let edge = Edge::with_targets(&[app]);
    let mut slow: Vec<Client> = (0..50).map(|_| begun(&edge, &length(8))).collect();
    for byte in b"one,two" {
        for client in &mut slow {
            client.send([*byte]);
        }
        // Nothing waits for these, so neither does a drain.
        assert_eq!(edge.drain(app, Duration::ZERO), 0);
    }
    assert!(connections.try_recv().is_err(), "a connection too early");
    for client in &mut slow {
        client.send(".");
        assert_eq!(client.answer().text(), "one,two.");
    }
    assert_eq!(connections.try_iter().count(), 50);
}

#[test]
fn a_large_body_arrives_byte_for_byte_from_a_file_that_is_gone_then() {
    let app = Backend::saying("thanks");
    let edge = Edge::with_targets(&[app.address]);
    let body = content(LARGE);
    let mut client = begun(&edge, &length(LARGE));
    client.send(&body[..LARGE - 1]);
    until("a file", || on_disk(&edge) == 1);
    assert_eq!(edge.drain(app.address, Duration::ZERO), 0);
    client.send(&body[LARGE - 1..]);
    assert_eq!(client.answer().text(), "thanks");
    let seen = app.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].body == body, "another body");
    assert_eq!(seen[0].field("content-length"), [LARGE.to_string()]);
    until("no file", || on_disk(&edge) == 0);
    // The connection goes on behind it.
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.answer().text(), "thanks");
}

#[test]
fn chunks_become_a_length() {
    let app = Backend::saying("ok");
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    for length in [0, 1, 10, 5_000, 70_000, 200_000] {
        let body = content(length);
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(7_001) {
            client.send(format!("{:x}\r\n", piece.len()));
            client.send(piece);
            client.send("\r\n");
        }
        client.send("0\r\nX-Trailer: 1\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
        let seen = app.seen().pop().unwrap();
        assert!(seen.body == body, "{length}");
        assert_eq!(seen.field("content-length"), [length.to_string()]);
        assert!(seen.field("transfer-encoding").is_empty());
    }
}

#[test]
fn a_body_streams_when_the_route_says_so() {
    let (arrived, first) = mpsc::channel();
    let app = raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = read_head(&mut reader).unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let mut chunk = [0; 8];
        reader.read_exact(&mut chunk).unwrap();
        arrived.send(chunk).unwrap();
        reader.read_exact(&mut [0; 5]).unwrap();
        write_whole(&mut stream, "got it");
    });
    let mut streaming = route(&[app]);
    streaming["stream_requests"] = json!(true);
    let edge = edge_with(Limits::default(), streaming);
    let mut client = begun(&edge, "Transfer-Encoding: chunked");
    client.send("3\r\none\r\n");
    let chunk = first.recv_timeout(PATIENCE).unwrap();
    assert_eq!(&chunk, b"3\r\none\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().text(), "got it");
}

#[test]
fn without_memory_every_byte_takes_the_way_through_the_file() {
    let app = Backend::saying("ok");
    let limits = Limits {
        bodies_memory: 0,
        ..Limits::default()
    };
    let edge = edge_with(limits, route(&[app.address]));
    let body = content(300);
    let mut client = begun(&edge, &length(300));
    for byte in &body {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "ok");
    assert!(app.seen()[0].body == body);
    // What came with its head needs none.
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(edge.ask_http(post).text(), "ok");
}

#[test]
fn http_2_uploads_arrive_byte_for_byte() {
    let app = Backend::saying("ok");
    let edge = Edge::with_targets(&[app.address]);
    let a = secured(&edge);
    let body = content(LARGE);
    wait(async {
        let tls = config(&a.der, &["h2"], &[&TLS13]);
        let stream = TokioIo::new(connect(&edge, "a.test", &tls).await.unwrap());
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        let post = Request::post("https://a.test/up")
            .body(Full::<Bytes>::from(body.clone()))
            .unwrap();
        let answered = async {
            let answer = sender.send_request(post).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.collect().await.unwrap().to_bytes(), "ok");
        };
        tokio::select! {
            () = answered => {}
            ended = connection => panic!("{ended:?}"),
        }
    });
    let seen = &app.seen()[0];
    assert!(seen.body == body);
    assert_eq!(seen.field("content-length"), [LARGE.to_string()]);
}

/// A reset that names no error is no end of a body either.
#[test]
fn an_http_2_body_that_was_taken_back_reaches_no_app() {
    let app = Backend::saying("ok");
    let edge = Edge::with_targets(&[app.address]);
    let a = secured(&edge);
    let tls = config(&a.der, &["h2"], &[&TLS13]);
    for (generation, streaming) in [(2, false), (3, true)] {
        let mut route = route(&[app.address]);
        route["stream_requests"] = json!(streaming);
        edge.apply(generation, json!([route]));
        wait(async {
            for reason in [0_u32, 8] {
                let mut stream = connect(&edge, "a.test", &tls).await.unwrap();
                let mut bytes = preface(&[]);
                for number in streams().take(10) {
                    bytes.extend(frame(HEADERS, END_HEADERS, number, &fields(3, "/back")));
                    bytes.extend(frame(DATA, 0, number, b"half"));
                }
                stream.write_all(&bytes).await.unwrap();
                // Where it streams, the app has the first half of them.
                let held = if streaming { 10 } else { 0 };
                until("the first half", || {
                    edge.drain(app.address, Duration::ZERO) == held
                });
                let mut bytes = Vec::new();
                for number in streams().take(10) {
                    bytes.extend(frame(RST_STREAM, 0, number, &reason.to_be_bytes()));
                }
                let get = fields(2, "/whole");
                bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 21, &get));
                stream.write_all(&bytes).await.unwrap();
                until("the request behind them", || {
                    let seen = app.seen();
                    seen.iter()
                        .filter(|seen| seen.line().contains("/whole"))
                        .count()
                        == usize::from(streaming) * 2 + if reason == 0 { 1 } else { 2 }
                });
                until("no request", || {
                    edge.drain(app.address, Duration::ZERO) == 0
                });
            }
        });
    }
    let whole = app.seen();
    assert!(
        whole.iter().all(|seen| seen.line().contains("/whole")),
        "{whole:?}"
    );
}

#[test]
fn visitors_who_send_too_much_pause_or_leave_never_reach_the_app() {
    let app = Backend::saying("ok");
    let mut limited = route(&[app.address]);
    limited["body_limit"] = json!(500_000);
    let limits = Limits {
        body_idle: Duration::from_millis(500),
        ..Limits::default()
    };
    let edge = edge_with(limits, limited);
    let part = content(200_000);

    let mut leaving = begun(&edge, &length(400_000));
    leaving.send(&part);
    until("a file", || on_disk(&edge) == 1);
    leaving.close();
    until("no file", || on_disk(&edge) == 0);

    let mut pausing = begun(&edge, &length(400_000));
    pausing.send(&part);
    until("a file", || on_disk(&edge) == 1);
    assert_eq!(pausing.answer().status(), 408);
    pausing.expect_end();

    let mut long = begun(&edge, "Transfer-Encoding: chunked");
    for _ in 0..3 {
        long.send(format!("{:x}\r\n", part.len()));
        long.send(&part);
        long.send("\r\n");
    }
    // Before its end came.
    assert_eq!(long.answer().status(), 413);
    until("no file", || on_disk(&edge) == 0);
    assert!(app.seen().is_empty());
}

#[test]
fn visitors_do_not_fill_the_disk() {
    let app = Backend::saying("ok");
    for limits in [
        // No file system has as much.
        Limits {
            disk_reserve: u64::MAX,
            ..Limits::default()
        },
        Limits {
            bodies_disk: 250_000,
            ..Limits::default()
        },
    ] {
        let bounded = limits.bodies_disk < LARGE as u64;
        let edge = edge_with(limits, route(&[app.address]));
        let before = app.seen().len();
        let upload = |size: usize| {
            let mut client = begun(&edge, &length(size));
            client.send(content(size));
            client.answer()
        };
        let refused = upload(300_000);
        assert_eq!(refused.status(), 507);
        assert!(refused.text().contains("no room"));
        assert_eq!(upload(60_000).status(), 200, "in memory");
        if bounded {
            // What one gave back the next one has.
            for _ in 0..3 {
                until("no file", || on_disk(&edge) == 0);
                assert_eq!(upload(200_000).status(), 200);
            }
        }
        assert_eq!(app.seen().len() - before, if bounded { 4 } else { 1 });
    }
}

#[test]
fn the_release_that_is_live_at_the_end_gets_the_body() {
    let (old, new) = (Backend::saying("old"), Backend::saying("new"));
    let edge = Edge::with_targets(&[old.address]);
    let mut client = begun(&edge, &length(4));
    client.send("sl");
    edge.apply(2, json!([route(&[new.address])]));
    assert_eq!(edge.drain(old.address, Duration::ZERO), 0);
    client.send("ow");
    assert_eq!(client.answer().text(), "new");

    let mut client = begun(&edge, &length(4));
    let mut maintenance = route(&[new.address]);
    maintenance["maintenance"] = json!(true);
    edge.apply(3, json!([maintenance]));
    client.send("slow");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("600"))
    );
    assert!(old.seen().is_empty() && new.seen().len() == 1);
}

#[test]
fn a_target_that_is_dead_costs_no_second_upload() {
    let app = Backend::saying("alive");
    let edge = Edge::with_targets(&[nobody(), app.address]);
    let body = content(200_000);
    for _ in 0..4 {
        let mut client = begun(&edge, &length(body.len()));
        client.send(&body);
        assert_eq!(client.answer().text(), "alive");
    }
    let seen = app.seen();
    assert!(seen.len() == 4 && seen.iter().all(|seen| seen.body == body));
    // Where nobody at all is, the visitor hears of it before the upload.
    edge.apply(2, json!([route(&[])]));
    let head =
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(edge.ask_http(head).status(), 503);
}

/// An app that takes its time to read has the time for its answer from when it has read.
#[test]
fn the_time_for_an_answer_begins_with_the_last_byte_the_app_took() {
    let slow_reader = raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_head(&mut reader).unwrap();
        // Two seconds; what the system keeps between us and the edge is a quarter of it.
        for _ in 0..19 {
            std::thread::park_timeout(Duration::from_millis(100));
            reader.read_exact(&mut vec![0; 1_000_000]).unwrap();
        }
        write_whole(&mut stream, "read");
    });
    let mut impatient = route(&[slow_reader]);
    impatient["response_timeout_ms"] = json!(1_500);
    let edge = edge_with(Limits::default(), impatient);
    let mut client = begun(&edge, &length(19_000_000));
    client.send(content(19_000_000));
    assert_eq!(client.answer().text(), "read");
}
