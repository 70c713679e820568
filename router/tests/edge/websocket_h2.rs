//! WebSockets on streams of HTTP/2 (RFC 8441), to apps that know HTTP/1.1 alone.

use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use zarpar_router::Limits;

use crate::backend::{fields, raw, read_head};
use crate::tls::{config, connect, h2, request, secured, text, wait};
use crate::websocket::{Echo, expect_going_away, say};
use crate::world::{Edge, PATIENCE, route};

type Sender = http2::SendRequest<Full<Bytes>>;

/// Asks for a tunnel of this protocol.
async fn ask(sender: &mut Sender, protocol: &'static str) -> Response<Incoming> {
    let request = Request::connect("https://a.test/ws?x=1")
        .header("origin", "https://a.test")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol))
        .body(Full::default())
        .unwrap();
    sender.send_request(request).await.unwrap()
}

/// One that the app opened.
async fn open(sender: &mut Sender) -> WebSocketStream<TokioIo<Upgraded>> {
    let response = ask(sender, "websocket").await;
    assert_eq!(response.status(), StatusCode::OK);
    let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// A visitor who knows by an answer that the edge takes CONNECT with `:protocol`.
async fn visitor(edge: &Edge, trusted: &crate::tls::Pair) -> Sender {
    let (mut sender, _) = h2(edge, &trusted.der).await;
    text(sender.send_request(request("GET", "/", "")).await.unwrap()).await;
    sender
}

#[test]
fn a_websocket_shares_a_connection_with_requests_and_is_told_of_a_swap() {
    let (old, new) = (Echo::start("old"), Echo::start("new"));
    let edge = Edge::with_targets(&[old.address]);
    let pair = secured(&edge);
    wait(async {
        let mut sender = visitor(&edge, &pair).await;
        let mut sockets = Vec::new();
        for number in 0..10 {
            let mut socket = open(&mut sender).await;
            let hello = number.to_string();
            assert_eq!(say(&mut socket, &hello).await, format!("old: {hello}"));
            sockets.push(socket);
        }
        let long = "x".repeat(1 << 20);
        assert_eq!(say(&mut sockets[0], &long).await.len(), long.len() + 5);
        let plain = sender.send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(text(plain).await, "old");

        edge.apply(2, json!([route(&[new.address])]));
        for socket in &mut sockets {
            expect_going_away(socket).await;
        }
        assert_eq!(edge.drain(old.address, PATIENCE), 0);
        for _ in &sockets {
            assert_eq!(old.ended(), Ok(CloseCode::Away));
        }
        let mut again = open(&mut sender).await;
        assert_eq!(say(&mut again, "hello").await, "new: hello");
    });
}

#[test]
fn the_edges_end_reaches_tunnels_before_it_ends_their_connection() {
    let app = Echo::start("app");
    let mut edge = Edge::with_targets(&[app.address]);
    let pair = secured(&edge);
    wait(async {
        let mut sender = visitor(&edge, &pair).await;
        let mut socket = open(&mut sender).await;
        edge.begin_stop();
        expect_going_away(&mut socket).await;
    });
    edge.stopped().unwrap();
    assert_eq!(app.ended(), Ok(CloseCode::Away));
}

#[test]
fn a_silent_tunnel_keeps_its_connection() {
    let app = Echo::start("app");
    let edge = Edge::start_with(Limits {
        idle: Duration::from_millis(200),
        write_idle: Duration::from_millis(200),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app.address])]));
    let pair = secured(&edge);
    wait(async {
        let mut sender = visitor(&edge, &pair).await;
        let mut socket = open(&mut sender).await;
        // Nothing is to happen for many times the limits.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(say(&mut socket, "hello").await, "app: hello");
    });
}

/// What an app of bytes says to a handshake, by what it was asked.
fn app_saying(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> std::net::SocketAddr {
    raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(head) = read_head(&mut reader) {
            stream.write_all(answer(&head).as_bytes()).unwrap();
        }
    })
}

fn plain(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")
}

#[test]
fn the_app_is_asked_as_http_1_asks_and_only_its_right_answer_opens() {
    let app = app_saying(|head| {
        let key = fields(head, "sec-websocket-key");
        let [key] = key[..] else {
            return plain("200 OK");
        };
        assert!(head.starts_with("GET /ws?x=1 HTTP/1.1\r\n"), "{head}");
        for (name, value) in [
            ("host", "a.test"),
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("origin", "https://a.test"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("x-forwarded-proto", "https"),
        ] {
            assert_eq!(fields(head, name), [value], "{head}");
        }
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
    });
    let edge = Edge::with_targets(&[app]);
    let pair = secured(&edge);
    wait(async {
        let mut sender = visitor(&edge, &pair).await;
        let opened = ask(&mut sender, "websocket").await;
        assert_eq!(opened.status(), StatusCode::OK);
        assert_eq!(opened.headers()["sec-websocket-protocol"], "chat");
        for gone in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!opened.headers().contains_key(gone), "{gone}");
        }
        // Tunnels of any other kind are none of ours.
        let other = ask(&mut sender, "connect-udp").await;
        assert_eq!(other.status(), StatusCode::NOT_IMPLEMENTED);
        let plain = Request::connect("a.test:443")
            .body(Full::default())
            .unwrap();
        let plain = sender.send_request(plain).await.unwrap();
        assert_eq!(plain.status(), StatusCode::NOT_IMPLEMENTED);
    });
}

#[test]
fn an_app_that_declines_opens_nothing() {
    for (says, status) in [
        (plain("403 Forbidden"), StatusCode::FORBIDDEN),
        // To a CONNECT it would mean that the tunnel is open.
        (plain("200 OK"), StatusCode::BAD_GATEWAY),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_owned(),
            StatusCode::BAD_GATEWAY,
        ),
    ] {
        let app = app_saying(move |head| {
            if fields(head, "upgrade").is_empty() {
                plain("200 OK")
            } else {
                says.clone()
            }
        });
        let edge = Edge::with_targets(&[app]);
        let pair = secured(&edge);
        wait(async {
            let mut sender = visitor(&edge, &pair).await;
            let declined = ask(&mut sender, "websocket").await;
            assert_eq!(declined.status(), status);
            let body = text(declined).await;
            assert!(status != StatusCode::FORBIDDEN || body == "no", "{body}");
            // The connection is as good as before.
            let plain = sender.send_request(request("GET", "/", "")).await.unwrap();
            assert_eq!(text(plain).await, "no");
        });
    }
}

#[test]
fn a_visitor_who_takes_nothing_is_cut_and_little_is_kept_for_them() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let app = raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = read_head(&mut reader).unwrap();
        let key = fields(&head, "sec-websocket-key");
        if key.is_empty() {
            stream.write_all(plain("200 OK").as_bytes()).unwrap();
            return;
        }
        let accept = derive_accept_key(key[0].as_bytes());
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .unwrap();
        let mut frame = vec![0x82, 126, 0x40, 0x00];
        frame.resize(4 + 0x4000, b'x');
        // An error is what is hoped for: the edge let go.
        while stream.write_all(&frame).is_ok() {
            counted.fetch_add(frame.len() as u64, SeqCst);
        }
        let _ = stream.read(&mut [0]);
    });
    let edge = Edge::start_with(Limits {
        write_idle: Duration::from_millis(400),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app])]));
    let pair = secured(&edge);
    wait(async {
        let stream = connect(&edge, "a.test", &config(&pair.der, &["h2"], &[&TLS13]))
            .await
            .unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut driving = tokio::task::JoinSet::new();
        driving.spawn(connection);
        let first = sender.send_request(request("GET", "/", "")).await.unwrap();
        text(first).await;
        let opened = ask(&mut sender, "websocket").await;
        assert_eq!(opened.status(), StatusCode::OK);
        // The tunnel is held and not read: the connection lives, the window stays shut.
        let _ = driving.join_next().await;
        drop(opened);
    });
    edge.apply(2, json!([route(&[])]));
    assert_eq!(edge.drain(app, PATIENCE), 0, "the app is held no longer");
    // Most of it is in the sockets' own buffers.
    let sent = sent.load(SeqCst);
    assert!(sent < 16 << 20, "{sent}");
}
