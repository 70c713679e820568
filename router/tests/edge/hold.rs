//! Requests that wait in the edge while their app is being changed.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's runtime ends with it, and its tasks with the runtime"
)]

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zarpar_control::EdgeReply;
use zarpar_router::Limits;

use crate::backend::{Backend, Next, raw, read_head, read_request, write_whole};
use crate::seen::await_value;
use crate::static_files::{put_set, with_sets};
use crate::tls::{h2, request, secured, text, wait};
use crate::world::{Client, Edge, PATIENCE, route};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const IN_FLIGHT: &str = "zarpar_edge_in_flight{app=\"a\"}";

/// The route of `a.test`, held.
fn held(targets: &[SocketAddr], hold_ms: u64) -> Value {
    let mut route = route(targets);
    route["hold_ms"] = json!(hold_ms);
    route
}

/// A visitor whose request the edge has.
fn waiting(edge: &Edge, request: &str, number: f64) -> Client {
    let mut client = edge.client();
    client.send(request);
    await_value(edge, IN_FLIGHT, number);
    client
}

#[test]
fn requests_wait_for_the_new_release_and_files_do_not() {
    let [old, new] = ["old", "new"].map(Backend::saying);
    let edge = Edge::start();
    let set = put_set(edge.folder.path(), &[("site.css", b"0123456789")]);
    let mut table = with_sets(&edge, &[old.address], &[set]);
    edge.apply(1, table.clone());
    assert_eq!(edge.get("/").text(), "old");
    table[0]["hold_ms"] = json!(30_000);
    edge.apply(2, table.clone());
    let mut first = waiting(&edge, GET, 1.0);
    let mut second = waiting(&edge, GET, 2.0);
    assert_eq!(edge.get("/static/site.css").text(), "0123456789");
    // What concerns others leaves them waiting.
    table
        .as_array_mut()
        .unwrap()
        .push(json!({"app": "b", "release": "v1", "hosts": ["b.test"], "targets": [old.address]}));
    edge.apply(3, table);
    let other = "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
    assert_eq!(edge.ask_http(other).text(), "old");
    await_value(&edge, IN_FLIGHT, 2.0);
    edge.apply(4, json!([route(&[new.address])]));
    assert_eq!(first.answer().text(), "new");
    assert_eq!(second.answer().text(), "new");
    assert_eq!((old.seen().len(), new.seen().len()), (2, 2));
    // The connection goes on as usual.
    first.send(GET);
    assert_eq!(first.answer().text(), "new");
}

#[test]
fn more_than_may_go_on_at_a_time_go_on_once_each() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = listener.local_addr().unwrap();
    let log = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            if let Some(request) = read_request(&mut reader, 0) {
                log.lock().unwrap().push(request.line().to_owned());
                write_whole(&mut stream, "new");
            }
        }
    });
    let edge = Edge::start();
    edge.apply(1, json!([held(&[], 30_000)]));
    let a = secured(&edge);
    // More than may go on at a time.
    let count = 80;
    wait(async {
        let (mut sender, _driver) = h2(&edge, &a.der).await;
        let mut answers = Vec::new();
        for number in 0..count {
            let path = format!("/{number}");
            answers.push(tokio::spawn(sender.send_request(request("GET", &path, ""))));
        }
        await_value(&edge, IN_FLIGHT, f64::from(count));
        edge.apply(2, json!([route(&[app])]));
        for answer in answers {
            assert_eq!(text(answer.await.unwrap().unwrap()).await, "new");
        }
    });
    let mut expected: Vec<_> = (0..count).map(|n| format!("GET /{n} HTTP/1.1")).collect();
    expected.sort();
    let mut came = std::mem::take(&mut *seen.lock().unwrap());
    came.sort();
    assert_eq!(came, expected);
}

#[test]
fn a_hold_that_nobody_lifts_lifts_itself() {
    let app = Backend::saying("old");
    let edge = Edge::start();
    let begin = Instant::now();
    edge.apply(1, json!([held(&[app.address], 700)]));
    let mut client = waiting(&edge, GET, 1.0);
    // Tables that hold it still, again and again, do not make it longer.
    let mut generation = 1;
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(move || client.answer());
        while !answer.is_finished() && begin.elapsed() < PATIENCE {
            generation += 1;
            edge.apply(generation, json!([held(&[app.address], 700)]));
        }
        answer.join().unwrap()
    });
    assert_eq!(answer.text(), "old");
    assert!(begin.elapsed() >= Duration::from_millis(700));
    // It stays over, for whoever comes later, too.
    assert_eq!(edge.get("/").text(), "old");
    // The next one is one of its own, and without targets it ends in words.
    edge.apply(generation + 1, json!([route(&[app.address])]));
    let begin = Instant::now();
    edge.apply(generation + 2, json!([held(&[], 300)]));
    let answer = edge.get("/");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let retry = answer.field("retry-after");
    assert_eq!((answer.status(), retry), (503, Some("5")));
}

#[test]
fn an_edge_that_starts_with_a_hold_does_not_hold_for_ever() {
    let app = Backend::saying("old");
    let mut edge = Edge::start();
    edge.apply(1, json!([held(&[app.address], 1000)]));
    edge.begin_stop();
    edge.stopped().unwrap();
    let folder = std::mem::replace(&mut edge.folder, tempfile::tempdir().unwrap());
    let begin = Instant::now();
    let edge = Edge::start_in(folder, Limits::default());
    assert_eq!(edge.get("/").text(), "old");
    assert!(begin.elapsed() >= Duration::from_millis(1000));
}

#[test]
fn more_than_thirty_seconds_are_refused_in_words() {
    let edge = Edge::start();
    match edge.ask_apply(1, json!([held(&[], 30_001)])) {
        EdgeReply::Refused { text } => assert!(text.contains("`30001`"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_comes_after_the_hold_is_what_they_get() {
    let app = Backend::saying("old");
    let edge = Edge::start();
    edge.apply(1, json!([held(&[app.address], 30_000)]));
    let mut client = waiting(&edge, GET, 1.0);
    let mut closed = held(&[app.address], 30_000);
    closed["maintenance"] = json!(true);
    edge.apply(2, json!([closed]));
    let answer = client.answer();
    let retry = answer.field("retry-after");
    assert_eq!((answer.status(), retry), (503, Some("600")));

    edge.apply(3, json!([held(&[app.address], 30_000)]));
    client.send(GET);
    await_value(&edge, IN_FLIGHT, 1.0);
    edge.apply(4, json!([]));
    assert_eq!(client.answer().status(), 404);
    assert_eq!(app.seen().len(), 0);
}

#[test]
fn the_old_release_drains_while_others_wait() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let old = Backend::start(move |_, stream| {
        told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        write_whole(stream, "old");
        Next::Close
    });
    let edge = Edge::with_targets(&[old.address]);
    let mut before = waiting(&edge, GET, 1.0);
    // The edge has it; the app must have it too, or it would wait like the next one.
    while old.seen().is_empty() {
        thread::yield_now();
    }
    edge.apply(2, json!([held(&[old.address], 30_000)]));
    let mut after = waiting(&edge, GET, 2.0);
    let begin = Instant::now();
    let limit = Duration::from_millis(50);
    assert_eq!(edge.drain(old.address, limit), 1);
    assert!(begin.elapsed() >= limit, "it did not wait");
    go_on.send(()).unwrap();
    assert_eq!(before.answer().text(), "old");
    assert_eq!(edge.drain(old.address, PATIENCE), 0);
    await_value(&edge, IN_FLIGHT, 1.0);
    assert_eq!(old.seen().len(), 1);
    // The hold is given up: the same release goes on.
    edge.apply(3, json!([route(&[old.address])]));
    go_on.send(()).unwrap();
    assert_eq!(after.answer().text(), "old");
    assert_eq!(edge.drain(old.address, Duration::ZERO), 0);
}

#[test]
fn holds_under_load_let_nothing_slip_through() {
    // Between a drain and the end of the hold, a request that comes is one the hold forgot.
    let quiet = Arc::new(AtomicBool::new(false));
    let flag = quiet.clone();
    let app = Backend::start(move |_, stream| {
        let slipped = flag.load(SeqCst);
        write_whole(stream, if slipped { "slipped through" } else { "fine" });
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let done = AtomicBool::new(false);
    let visitors = 4;
    thread::scope(|scope| {
        for _ in 0..visitors {
            let (edge, done) = (&edge, &done);
            scope.spawn(move || {
                let mut client = edge.client();
                while !done.load(SeqCst) {
                    client.send(GET);
                    let answer = client.answer();
                    if answer.text() != "fine" {
                        done.store(true, SeqCst);
                    }
                    assert_eq!(answer.text(), "fine");
                }
            });
        }
        for round in 1..=30 {
            edge.apply(2 * round, json!([held(&[app.address], 30_000)]));
            assert_eq!(edge.drain(app.address, PATIENCE), 0);
            quiet.store(true, SeqCst);
            if !done.load(SeqCst) {
                await_value(&edge, IN_FLIGHT, f64::from(visitors));
            }
            quiet.store(false, SeqCst);
            edge.apply(2 * round + 1, json!([route(&[app.address])]));
        }
        done.store(true, SeqCst);
    });
}

#[test]
fn a_form_arrives_whole_and_once() {
    let new = Backend::saying("thanks");
    let edge = Edge::start();
    edge.apply(1, json!([held(&[], 30_000)]));
    // More than all buffers on the way: it waits where it comes from.
    let body: Vec<u8> = (0..8 << 20)
        .map(|number: u32| number.to_be_bytes()[3])
        .collect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = edge.client();
    let mut stream = client.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        });
        await_value(&edge, IN_FLIGHT, 1.0);
        edge.apply(2, json!([route(&[new.address])]));
        assert_eq!(client.answer().text(), "thanks");
    });
    let seen = new.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].body == body);
}

#[test]
fn a_visitor_who_leaves_is_forgotten_at_once() {
    let app = Backend::saying("new");
    let edge = Edge::start();
    edge.apply(1, json!([held(&[], 30_000)]));
    let gone = waiting(&edge, GET, 1.0);
    gone.close();
    await_value(&edge, IN_FLIGHT, 0.0);
    let a = secured(&edge);
    // This host has TLS from now on, and what is left here comes with it.
    wait(async {
        let (mut sender, driver) = h2(&edge, &a.der).await;
        let answer = tokio::spawn(sender.send_request(request("GET", "/gone", "")));
        let stays = tokio::spawn(sender.send_request(request("GET", "/stays", "")));
        await_value(&edge, IN_FLIGHT, 2.0);
        // One stream is reset, the connection stays.
        answer.abort();
        await_value(&edge, IN_FLIGHT, 1.0);
        edge.apply(2, json!([route(&[app.address])]));
        assert_eq!(text(stays.await.unwrap().unwrap()).await, "new");
        driver.abort();
    });
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn a_websocket_waits_like_all_others() {
    let app = raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_head(&mut reader).unwrap();
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello";
        stream.write_all(accepted.as_bytes()).unwrap();
        // Until the visitor leaves.
        let _ = reader.read(&mut [0; 1]);
    });
    let edge = Edge::start();
    edge.apply(1, json!([held(&[], 30_000)]));
    let handshake = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    let mut client = waiting(&edge, handshake, 1.0);
    edge.apply(2, json!([route(&[app])]));
    assert!(client.head().starts_with("HTTP/1.1 101"));
    let mut hello = [0; 5];
    client.reader.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
}
