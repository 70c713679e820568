//! What goes through, and what does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;

use serde_json::json;

use crate::backend::{Backend, Next, fields, raw, read_head, write_whole};
use crate::world::{Edge, PATIENCE, route};

#[test]
fn the_app_hears_the_truth_about_the_visitor() {
    let app = Backend::saying("hello");
    let edge = Edge::with_targets(&[app.address]);
    let answer = edge.get_with(
        "/p%61th/..;x?q=%20",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX_Forwarded_Proto: https\r\n\
         Forwarded: for=6.6.6.6\r\nConnection: x-forwarded-for, close\r\nTE: trailers\r\n\
         Cookie: a=b\r\nUpgrade: h2c\r\n",
    );
    assert_eq!((answer.status(), answer.text()), (200, "hello"));
    assert_eq!(answer.field("server"), None);
    let seen = &app.seen()[0];
    assert_eq!(seen.line(), "GET /p%61th/..;x?q=%20 HTTP/1.1");
    for (name, values) in [
        ("host", &["a.test"][..]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-real-ip", &["127.0.0.1"]),
        ("x-forwarded-proto", &["http"]),
        ("x-forwarded-host", &["a.test"]),
        ("cookie", &["a=b"]),
        ("x_forwarded_proto", &[]),
        ("forwarded", &[]),
        // Said anew, by the edge.
        ("te", &["trailers"]),
        ("upgrade", &[]),
        ("connection", &["te"]),
    ] {
        assert_eq!(seen.field(name), values, "{name}");
    }
}

#[test]
fn a_request_has_one_name_in_every_log() {
    let app = Backend::saying("hello");
    let edge = Edge::with_targets(&[app.address]);
    let new = edge.get("/");
    let name = new.field("x-request-id").unwrap();
    assert_eq!(name.len(), 32, "{name}");
    assert_eq!(app.seen()[0].field("x-request-id"), [name]);
    let given = edge.get_with("/", "X-Request-ID: from-the-balancer.1\r\n");
    assert_eq!(given.field("x-request-id"), Some("from-the-balancer.1"));
    assert_eq!(app.seen()[1].field("x-request-id"), ["from-the-balancer.1"]);
    let twice = edge.get_with("/", "X-Request-ID: a\r\nX-Request-ID: b\r\n");
    assert_eq!(
        app.seen()[2].field("x-request-id"),
        [twice.field("x-request-id").unwrap()]
    );
    let page = edge.ask_http("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert!(page.field("x-request-id").is_some(), "also where we answer");
}

#[test]
fn the_host_decides() {
    let app = Backend::saying("a");
    let edge = Edge::with_targets(&[app.address]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: A.Test:8080\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a.test.\r\n\r\n", 200),
        ("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a.test/\r\n\r\n", 400),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 501),
        ("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    ] {
        let answer = edge.ask_http(request);
        assert_eq!(answer.status(), status, "{request}");
        if status != 200 {
            assert!(!answer.text().contains("127.0.0.1") && answer.text().contains("<h1>"));
        }
    }
    // The absolute form reaches the app as path and query.
    assert!(
        app.seen()
            .iter()
            .any(|seen| seen.line() == "GET /x HTTP/1.1")
    );
    assert_eq!(app.seen().len(), 3);
    let long = format!("/{}", "x".repeat(9000));
    assert_eq!(edge.get(&long).status(), 414);
    let huge = format!("X: {}\r\n", "x".repeat(40_000));
    assert_eq!(edge.get_with("/", &huge).status(), 431);
}

#[test]
fn answers_without_a_body_keep_their_length() {
    let app = Backend::start(|seen, stream| {
        let answer: &[u8] = match seen.line().split(' ').nth(1).unwrap() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 55\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
        };
        stream.write_all(answer).unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    // All on one connection: each answer must end where it ends.
    for (method, path, status, length) in [
        ("HEAD", "/head", 200, Some("1234")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("55")),
        ("GET", "/empty", 200, Some("0")),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.send(&request);
        let answer = client.answer_to(&request);
        assert_eq!(answer.status(), status, "{path}");
        if status != 304 {
            assert_eq!(answer.field("content-length"), length, "{path}");
        }
        assert!(answer.body.is_empty());
        if path == "/empty" {
            assert_eq!(fields(&answer.head, "set-cookie"), ["a=1", "b=2"]);
        }
    }
}

#[test]
fn answers_stream() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = Backend::start(move |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();
    let mut chunk = [0; 10];
    client.reader.read_exact(&mut chunk).unwrap();
    assert_eq!(&chunk, b"5\r\nfirst\r\n");
    go_on.send(()).unwrap();
    let mut rest = [0; 14];
    client.reader.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"4\r\nlast\r\n0\r\n\r\n");
}

#[test]
fn request_bodies_stream_when_asked() {
    let (arrived, first) = mpsc::channel::<Vec<u8>>();
    let app = raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = read_head(&mut reader).unwrap();
        assert!(head.contains("content-length: 8"), "{head}");
        for _ in 0..2 {
            let mut half = vec![0; 4];
            reader.read_exact(&mut half).unwrap();
            arrived.send(half).unwrap();
        }
        write_whole(&mut stream, "got it");
    });
    let edge = Edge::start();
    let mut streaming = route(&[app]);
    streaming["stream_requests"] = json!(true);
    edge.apply(1, json!([streaming]));
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\none,");
    assert_eq!(first.recv_timeout(PATIENCE).unwrap(), b"one,");
    client.send("two.");
    assert_eq!(first.recv_timeout(PATIENCE).unwrap(), b"two.");
    assert_eq!(client.answer().text(), "got it");
}

#[test]
fn bodies_in_chunks_arrive_whole_with_every_method() {
    let app = Backend::saying("ok");
    let edge = Edge::start();
    let mut streaming = route(&[app.address]);
    streaming["stream_requests"] = json!(true);
    for (generation, route) in [(1, route(&[app.address])), (2, streaming)] {
        edge.apply(generation, json!([route]));
        chunks_with_every_method(&edge, &app, generation == 2);
    }
}

fn chunks_with_every_method(edge: &Edge, app: &Backend, streaming: bool) {
    for method in ["POST", "GET", "DELETE"] {
        let mut client = edge.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
        ));
        let interim = client.head();
        assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
        assert_eq!(client.answer().text(), "ok");
        let seen = app.seen().pop().unwrap();
        assert_eq!(seen.body, b"abcde", "{method}");
        if streaming {
            assert_eq!(seen.field("transfer-encoding"), ["chunked"]);
            assert!(seen.field("content-length").is_empty());
        } else {
            assert_eq!(seen.field("content-length"), ["5"]);
            assert!(seen.field("transfer-encoding").is_empty());
        }
        assert!(seen.field("expect").is_empty());
    }
}

#[test]
fn a_body_over_the_limit_is_refused_before_and_while_it_arrives() {
    let app = Backend::saying("ok");
    let edge = Edge::start();
    let mut limited = route(&[app.address]);
    limited["body_limit"] = json!(10);
    for (generation, streaming) in [(1, false), (2, true)] {
        limited["stream_requests"] = json!(streaming);
        edge.apply(generation, json!([limited]));
        refused_before_and_while_it_arrives(&edge);
    }
    assert_eq!(app.seen().len(), 4);
}

fn refused_before_and_while_it_arrives(edge: &Edge) {
    let post = |body: &str, framing: &str| {
        edge.ask_http(&format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n{body}"
        ))
    };
    assert_eq!(post("0123456789", "Content-Length: 10").status(), 200);
    assert_eq!(post("", "Content-Length: 11").status(), 413);
    let chunked = "Transfer-Encoding: chunked";
    assert_eq!(post("a\r\n0123456789\r\n0\r\n\r\n", chunked).status(), 200);
    assert_eq!(post("b\r\n0123456789a\r\n0\r\n\r\n", chunked).status(), 413);

    // The answer is read although much of the body was still on its way.
    let mut client = edge.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000000\r\n\r\n");
    let body = vec![b'x'; 3_000_000];
    let mut writing = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writing.write_all(&body);
        });
        assert_eq!(client.answer().status(), 413);
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    let app = Backend::start(|seen, stream| {
        write_whole(stream, &seen.number.to_string());
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    for (method, expected) in [
        ("GET", "0"),
        ("GET", "1"),
        // A connection of its own, which leaves the kept one alone.
        ("DELETE", "0"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!(client.answer().text(), expected, "{method}");
    }
}

#[test]
fn a_truncated_answer_is_seen_as_truncated() {
    let app = Backend::start(|seen, stream| {
        let head: &[u8] = if seen.line().contains("chunked") {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst"
        };
        stream.write_all(head).unwrap();
        Next::Close
    });
    let edge = Edge::with_targets(&[app.address]);
    for path in ["/chunked", "/length"] {
        let mut client = edge.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert!(client.try_answer(false).is_none(), "{path}");
    }
}

#[test]
fn a_visitor_of_http_1_0_gets_a_plain_body() {
    let app = Backend::start(|_, stream| {
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
            )
            .unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let mut client = edge.client();
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let head = client.head();
    assert!(!head.contains("chunked"), "{head}");
    let mut body = String::new();
    client.reader.read_line(&mut body).unwrap();
    assert_eq!(body, "first");
}
