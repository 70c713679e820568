//! New tables while visitors come: none of them notices, and a drain is a fact.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::backend::{Backend, Next};
use crate::world::{Edge, PATIENCE, route};

#[test]
fn a_target_is_drained_when_the_last_body_ended_and_not_before() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let old = Backend::start(move |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
            .unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"last").unwrap();
        Next::Keep
    });
    let new = Backend::saying("new");
    let edge = Edge::with_targets(&[old.address]);
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();

    edge.apply(2, json!([route(&[new.address])]));
    assert_eq!(edge.get("/").text(), "new");
    assert_eq!(edge.drain(old.address, Duration::from_millis(50)), 1);
    thread::scope(|scope| {
        let drained = scope.spawn(|| edge.drain(old.address, PATIENCE));
        go_on.send(()).unwrap();
        assert_eq!(drained.join().unwrap(), 0);
    });
    let mut body = [0; 9];
    std::io::Read::read_exact(&mut client.reader, &mut body).unwrap();
    assert_eq!(&body, b"firstlast");
}

#[test]
fn a_visitor_who_leaves_releases_the_target() {
    let old = Backend::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
        Next::Keep
    });
    let edge = Edge::with_targets(&[old.address]);
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();
    edge.apply(2, json!([route(&[])]));
    assert_eq!(edge.drain(old.address, Duration::ZERO), 1);
    client.close();
    assert_eq!(edge.drain(old.address, PATIENCE), 0);
}

#[test]
fn fifty_swaps_under_load_fail_nobody() {
    // Each app refuses from the moment the edge said it is drained: a request that still comes
    // is one the drain forgot.
    struct App {
        backend: Backend,
        retired: std::sync::Arc<AtomicBool>,
    }
    let app = |number: usize| {
        let retired = std::sync::Arc::<AtomicBool>::default();
        let flag = retired.clone();
        let backend = Backend::start(move |_, stream| {
            let status = if flag.load(SeqCst) {
                "500 Retired"
            } else {
                "200 OK"
            };
            let text = number.to_string();
            let _ = stream.write_all(
                format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                )
                .as_bytes(),
            );
            // Like gunicorn's sync worker every other time, like a threaded one else.
            if number.is_multiple_of(2) {
                Next::Close
            } else {
                Next::Keep
            }
        });
        App { backend, retired }
    };
    let mut live = app(0);
    let edge = Edge::with_targets(&[live.backend.address]);
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|visitor| {
                let (edge, done, answered) = (&edge, &done, &answered);
                scope.spawn(move || {
                    let mut client = edge.client();
                    while !done.load(SeqCst) {
                        let request = if visitor % 2 == 0 {
                            "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
                        } else {
                            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
                        };
                        client.send(request);
                        let answer = client.answer();
                        assert_eq!(answer.status(), 200, "{}", answer.text());
                        answered.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        for number in 1..=50 {
            let next = app(number);
            edge.apply(number as u64 + 1, json!([route(&[next.backend.address])]));
            assert_eq!(edge.drain(live.backend.address, PATIENCE), 0);
            live.retired.store(true, SeqCst);
            live = next;
            // Some visitors meet each release.
            let before = answered.load(SeqCst);
            while answered.load(SeqCst) < before + 8 && visitors.iter().all(|v| !v.is_finished()) {
                thread::yield_now();
            }
        }
        done.store(true, SeqCst);
    });
    assert!(answered.load(SeqCst) > 400);
}
