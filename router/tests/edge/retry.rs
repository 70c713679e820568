//! Apps that fail: what the visitor is told, and what is tried again.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::backend::{Backend, Next, nobody, raw, write_whole};
use crate::world::{Edge, route};

#[test]
fn no_target_is_503_and_a_dead_one_502() {
    let edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    let answer = edge.get("/");
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("5"))
    );
    edge.apply(2, json!([route(&[nobody()])]));
    assert_eq!(edge.get("/").status(), 502);
}

#[test]
fn a_dead_target_among_others_is_passed_over() {
    let app = Backend::saying("alive");
    let edge = Edge::with_targets(&[nobody(), app.address]);
    for _ in 0..6 {
        assert_eq!(edge.get("/").text(), "alive");
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(edge.ask_http(post).text(), "alive");
    }
}

#[test]
fn an_app_that_says_nothing_is_504_and_nonsense_502() {
    let silent = raw(|stream| {
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
    });
    let edge = Edge::start();
    let mut slow = route(&[silent]);
    slow["response_timeout_ms"] = json!(100);
    edge.apply(1, json!([slow]));
    assert_eq!(edge.get("/").status(), 504);
    assert_eq!(edge.drain(silent, Duration::ZERO), 0);

    let nonsense = Backend::start(|seen, stream| {
        let text: &[u8] = match seen.line().split(' ').nth(1).unwrap() {
            "/garbage" => b"what?\r\n\r\n",
            "/switch" => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            _ => b"",
        };
        stream.write_all(text).unwrap();
        Next::Close
    });
    edge.apply(2, json!([route(&[nonsense.address])]));
    for path in ["/garbage", "/switch", "/close"] {
        assert_eq!(edge.get(path).status(), 502, "{path}");
    }
}

/// Keeps the connection after the first answer and closes it on the next request.
fn closes_the_second(seen: &crate::backend::Seen, stream: &mut TcpStream) -> Next {
    if seen.number == 0 {
        write_whole(stream, "first of a connection");
        Next::Keep
    } else {
        Next::Close
    }
}

#[test]
fn a_get_on_a_connection_the_app_closed_is_sent_again() {
    let app = Backend::start(closes_the_second);
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.answer().text(), "first of a connection");
    }
    // The kept connection was really used and really failed.
    assert!(app.seen().iter().any(|seen| seen.number == 1));
}

#[test]
fn a_post_is_sent_once() {
    let app = Backend::start(closes_the_second);
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    for number in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.answer().status(), 200);
        client.send(format!(
            "POST /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
        ));
        assert_eq!(client.answer().status(), 200);
    }
    let posts = |number: usize| {
        let line = format!("POST /{number} HTTP/1.1");
        app.seen().iter().filter(|seen| seen.line() == line).count()
    };
    assert_eq!([posts(0), posts(1), posts(2)], [1, 1, 1]);

    // An app that dies on it: the visitor hears of it, the app never sees a second one.
    let dying = Backend::start(|_, _| Next::Close);
    edge.apply(2, json!([route(&[dying.address])]));
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(edge.ask_http(post).status(), 502);
    assert_eq!(dying.seen().len(), 1);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a slow visitor is what is tested, and slowness has no state to wait for"
)]
fn a_slow_upload_is_not_a_slow_app() {
    let app = Backend::saying("thanks");
    let edge = Edge::start();
    let mut slow = route(&[app.address]);
    slow["response_timeout_ms"] = json!(500);
    for (generation, streaming) in [(1, false), (2, true)] {
        slow["stream_requests"] = json!(streaming);
        edge.apply(generation, json!([slow]));
        let mut client = edge.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nsl");
        // One pause that is longer than the app may take.
        std::thread::sleep(Duration::from_millis(800));
        client.send("ow");
        assert_eq!(client.answer().text(), "thanks");
    }
}
