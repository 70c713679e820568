//! Start, restart, stop, and the limits that keep one visitor from taking everything.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use zarpar_control::{EdgeReply, EdgeRequest};
use zarpar_router::Limits;

use crate::backend::{Backend, Next, write_whole};
use crate::world::{Client, Edge, PATIENCE, route};

#[test]
fn an_edge_serves_from_its_file_alone() {
    let app = Backend::saying("hello");
    let mut edge = Edge::with_targets(&[app.address]);
    let older = edge.ask_apply(0, json!([]));
    assert!(matches!(older, EdgeReply::Refused { text } if text.contains("older")));
    assert!(matches!(edge.say(b"nonsense\n"), EdgeReply::Refused { .. }));
    edge.begin_stop();
    edge.stopped().unwrap();

    let Edge { folder, .. } = edge;
    let edge = Edge::start_in(folder, Limits::default());
    assert_eq!(edge.get("/").text(), "hello");
    match edge.ask(&EdgeRequest::Status) {
        EdgeReply::Status(status) => assert_eq!(
            (status.pid, status.generation, status.http),
            (std::process::id(), 1, edge.address)
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_table_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge/table.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{\"generation\": 9, ").unwrap();
    let edge = Edge::start_in(folder, Limits::default());
    assert_eq!(edge.get("/").status(), 404);
    assert!(file.with_extension("json.damaged").exists());
    let app = Backend::saying("hello");
    edge.apply(1, json!([route(&[app.address])]));
    assert_eq!(edge.get("/").text(), "hello");
}

#[test]
fn contradictions_are_refused() {
    let edge = Edge::start();
    let reply = edge.ask_apply(1, json!([route(&[]), route(&[])]));
    assert!(matches!(reply, EdgeReply::Refused { text } if text.contains("`a.test`")));
    assert!(!edge.folder.path().join("edge/table.json").exists());
}

#[test]
fn a_stop_lets_open_requests_end() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = Backend::start(move |_, stream| {
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        write_whole(stream, "slow");
        Next::Keep
    });
    let mut edge = Edge::with_targets(&[app.address]);
    let mut idle = edge.client();
    let mut open = edge.client();
    open.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let until = Instant::now() + PATIENCE;
    while app.seen().is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    edge.begin_stop();
    idle.expect_end();
    go_on.send(()).unwrap();
    let answer = open.answer();
    assert_eq!(answer.text(), "slow");
    open.expect_end();
    edge.stopped().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let app = Backend::start(|_, _| Next::Keep);
    let limits = Limits {
        shutdown: Duration::from_millis(50),
        ..Limits::default()
    };
    let mut edge = Edge::start_with(limits);
    edge.apply(1, json!([route(&[app.address])]));
    let mut open = edge.client();
    open.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    edge.begin_stop();
    edge.stopped().unwrap();
    open.expect_end();
}

#[test]
fn slow_visitors_are_cut() {
    let app = Backend::saying("hello");
    let limits = Limits {
        header_read: Duration::from_millis(100),
        idle: Duration::from_millis(100),
        body_idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let edge = Edge::start_with(limits);
    edge.apply(1, json!([route(&[app.address])]));
    let mut silent = edge.client();
    let mut slow = edge.client();
    slow.send("GET / HTTP/1.1\r\nHo");
    let mut kept = edge.client();
    kept.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(kept.answer().text(), "hello");
    for client in [&mut silent, &mut slow, &mut kept] {
        client.expect_end();
    }
    let mut streaming = route(&[app.address]);
    streaming["stream_requests"] = json!(true);
    for (generation, route) in [(2, route(&[app.address])), (3, streaming)] {
        edge.apply(generation, json!([route]));
        let mut body = edge.client();
        body.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nab");
        assert_eq!(body.answer().status(), 408);
        body.expect_end();
    }
}

#[test]
fn connections_beyond_the_cap_wait_for_a_free_one() {
    let app = Backend::saying("hello");
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let edge = Edge::start_with(limits);
    edge.apply(1, json!([route(&[app.address])]));
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut clients: Vec<Client> = (0..3).map(|_| edge.client()).collect();
    for client in &mut clients {
        client.send(request);
        assert_eq!(client.answer().text(), "hello");
    }
    let mut waiting = edge.client();
    waiting.send(request);
    waiting
        .stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(waiting.try_answer(false).is_none());
    waiting.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    clients.pop().unwrap().close();
    assert_eq!(waiting.answer().text(), "hello");
}
