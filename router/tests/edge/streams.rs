//! What comes piece by piece passes piece by piece, by TLS with HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::backend::{Backend, Next, raw, read_head};
use crate::tls::{Pair, config, connect, secured, wait};
use crate::websocket::{Echo, expect_going_away, say};
use crate::world::{Edge, PATIENCE, route};

type Body = BoxBody<Bytes, Infallible>;

const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

/// A visitor with TLS.
struct Visitor {
    sender: Sender,
    _driving: JoinSet<()>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Visitor {
    async fn new(edge: &Edge, trusted: &Pair, protocol: &str) -> Visitor {
        let config = config(&trusted.der, &[protocol], &[&TLS13]);
        let stream = TokioIo::new(connect(edge, "a.test", &config).await.unwrap());
        let mut driving = JoinSet::new();
        let sender = if protocol == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            driving.spawn(async move { connection.await.unwrap_or_default() });
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            driving.spawn(async move { connection.await.unwrap_or_default() });
            Sender::One(sender)
        };
        Visitor {
            sender,
            _driving: driving,
        }
    }

    async fn send(&mut self, mut request: Request<Body>) -> Response<Incoming> {
        let (answer, version) = match &mut self.sender {
            Sender::One(sender) => {
                request
                    .headers_mut()
                    .insert(HOST, "a.test".parse().unwrap());
                let path = request.uri().path().parse().unwrap();
                *request.uri_mut() = path;
                (sender.send_request(request).await, Version::HTTP_11)
            }
            Sender::Two(sender) => (sender.send_request(request).await, Version::HTTP_2),
        };
        let answer = answer.unwrap();
        assert_eq!(answer.version(), version);
        answer
    }
}

fn request(method: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("https://a.test/stream")
        .body(Empty::new().boxed())
        .unwrap()
}

/// The next piece of a body.
async fn piece(body: &mut Incoming) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

/// HTTP/2 may say the end with a piece of nothing.
async fn expect_end(body: Incoming) {
    assert!(body.collect().await.unwrap().to_bytes().is_empty());
}

#[test]
fn an_event_arrives_while_the_app_is_still_at_the_next() {
    let (go_on, wait_for) = mpsc::channel::<()>();
    let wait_for = Mutex::new(wait_for);
    let app = Backend::start(move |_, stream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )
        .unwrap();
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            write!(stream, "{:x}\r\n{event}\r\n", event.len()).unwrap();
            wait_for.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    for protocol in PROTOCOLS {
        wait(async {
            let mut visitor = Visitor::new(&edge, &pair, protocol).await;
            let answer = visitor.send(request("GET")).await;
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let mut body = answer.into_body();
            for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
                assert_eq!(piece(&mut body).await, event, "{protocol}");
                go_on.send(()).unwrap();
            }
            expect_end(body).await;
        });
    }
}

/// Sends every chunk of a request back as soon as it has it.
fn echo_of_chunks() -> SocketAddr {
    raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        // A visitor's connection may end without a request.
        let Some(head) = read_head(&mut reader) else {
            return;
        };
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            stream.write_all(&chunk).unwrap();
            if size == 0 {
                return;
            }
        }
    })
}

#[test]
fn a_body_comes_back_while_it_is_still_sent() {
    let edge = Edge::start();
    let mut streaming = route(&[echo_of_chunks()]);
    streaming["stream_requests"] = json!(true);
    edge.apply(1, json!([streaming]));
    let pair = secured(&edge);
    for protocol in PROTOCOLS {
        wait(async {
            let mut visitor = Visitor::new(&edge, &pair, protocol).await;
            let (send, pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
            let frames = stream::unfold(pieces, |mut pieces| async {
                let piece = pieces.recv().await?;
                Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
            });
            send.send(Bytes::from("first")).await.unwrap();
            let upload = request("POST").map(|_| StreamBody::new(frames).boxed());
            let answer = visitor.send(upload).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let mut body = answer.into_body();
            assert_eq!(piece(&mut body).await, "first", "{protocol}");
            for number in 0..20 {
                let sent = Bytes::from(number.to_string());
                send.send(sent.clone()).await.unwrap();
                assert_eq!(piece(&mut body).await, sent, "{protocol}");
            }
            drop(send);
            expect_end(body).await;
        });
    }
}

#[test]
fn a_visitor_with_tls_may_wait_until_the_body_is_wanted() {
    let app = Backend::saying("ok");
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        let config = config(&pair.der, &["http/1.1"], &[&TLS13]);
        let mut stream = connect(&edge, "a.test", &config).await.unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\
                  Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            )
            .await
            .unwrap();
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, expected);
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
    assert_eq!(app.seen()[0].body, b"hello");
}

#[test]
fn a_part_that_the_app_gives_is_passed_as_a_part() {
    let app = Backend::start(|seen, stream| {
        assert_eq!(seen.field("range"), ["bytes=2-4"]);
        assert_eq!(seen.field("if-range"), ["\"v1\""]);
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\nETag: \"v1\"\r\n\
             Content-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\n234"
        )
        .unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    for protocol in PROTOCOLS {
        wait(async {
            let mut visitor = Visitor::new(&edge, &pair, protocol).await;
            let mut asked = request("GET");
            for (name, value) in [("range", "bytes=2-4"), ("if-range", "\"v1\"")] {
                asked.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = visitor.send(asked).await;
            assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
            for (name, value) in [
                ("content-range", "bytes 2-4/10"),
                ("content-length", "3"),
                ("accept-ranges", "bytes"),
                ("etag", "\"v1\""),
            ] {
                assert_eq!(answer.headers()[name], value, "{protocol}");
            }
            let whole = answer.into_body().collect().await.unwrap();
            assert_eq!(whole.to_bytes(), "234");
        });
    }
}

#[test]
fn a_websocket_goes_by_tls_as_well() {
    let app = Echo::start("app");
    let edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        // A browser offers nothing else for a WebSocket of its own connection.
        let config = config(&pair.der, &["http/1.1"], &[&TLS13]);
        let stream = connect(&edge, "a.test", &config).await.unwrap();
        let (mut socket, _) = client_async("wss://a.test/ws", stream).await.unwrap();
        assert_eq!(say(&mut socket, "hello").await, "app: hello");
        let long = "x".repeat(1 << 20);
        assert_eq!(say(&mut socket, &long).await.len(), long.len() + 5);
        edge.apply(2, json!([route(&[])]));
        expect_going_away(&mut socket).await;
        assert_eq!(edge.drain(app.address, PATIENCE), 0);
    });
    assert_eq!(app.ended(), Ok(CloseCode::Away));
}
