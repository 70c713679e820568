//! WebSockets by a real client and a real server: they live through the edge, and when it or
//! their release goes they are told.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's runtime ends with it, and its tasks with the runtime"
)]

use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::abuse::process::raise_file_limit;
use crate::backend::{fields, raw, read_head};
use crate::tls::wait;
use crate::world::{Edge, PATIENCE, route};

/// An app that answers each message with its name before it, and plain requests with its name.
pub struct Echo {
    pub address: SocketAddr,
    /// How each WebSocket ended for it.
    pub ends: mpsc::Receiver<Result<CloseCode, String>>,
}

impl Echo {
    pub fn start(name: &'static str) -> Echo {
        let (ended, ends) = mpsc::channel();
        let (bound, address) = mpsc::channel();
        thread::spawn(move || {
            wait_for_ever(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(name, stream, ended.clone()));
                }
            })
        });
        Echo {
            address: address.recv().unwrap(),
            ends,
        }
    }

    pub fn ended(&self) -> Result<CloseCode, String> {
        self.ends.recv_timeout(PATIENCE).unwrap()
    }
}

fn wait_for_ever(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
}

async fn serve(name: &str, mut stream: TcpStream, ended: mpsc::Sender<Result<CloseCode, String>>) {
    let mut start = [0; 7];
    while stream.peek(&mut start).await.unwrap() < start.len() {}
    if &start != b"GET /ws" {
        let length = name.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{name}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    let mut socket = accept_async(stream).await.unwrap();
    let end = loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let answer = Message::text(format!("{name}: {text}"));
                // The next look says why it could not.
                let _ = socket.send(answer).await;
            }
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                break match socket.next().await {
                    None => Ok(code),
                    more => Err(format!("{more:?}")),
                };
            }
            Some(Ok(_)) => {}
            other => break Err(format!("{other:?}")),
        }
    };
    // Tests that do not look at it have ended.
    let _ = ended.send(end);
}

async fn open(edge: &Edge) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(edge.address).await.unwrap();
    client_async("ws://a.test/ws", stream).await.unwrap().0
}

/// Says `text` and returns the answer.
pub async fn say<S>(socket: &mut WebSocketStream<S>, text: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.send(Message::text(text)).await.unwrap();
    socket
        .next()
        .await
        .unwrap()
        .unwrap()
        .to_text()
        .unwrap()
        .to_owned()
}

/// Asserts that a Close comes next, with the status for going away, and then the end.
pub async fn expect_going_away<S>(socket: &mut WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = socket.next().await.unwrap().unwrap();
    let expected = CloseFrame {
        code: CloseCode::Away,
        reason: "".into(),
    };
    assert_eq!(close, Message::Close(Some(expected)));
    // The answer is sent by asking for more.
    assert!(socket.next().await.is_none());
}

#[test]
fn a_swap_tells_visitors_to_come_back_and_ends_the_drain() {
    let (old, new) = (Echo::start("old"), Echo::start("new"));
    let edge = Edge::with_targets(&[old.address]);
    wait(async {
        let mut socket = open(&edge).await;
        assert_eq!(say(&mut socket, "hello").await, "old: hello");
        // A table that keeps the target is no reason to leave.
        edge.apply(2, json!([route(&[old.address, new.address])]));
        assert_eq!(say(&mut socket, "still").await, "old: still");

        let began = Instant::now();
        edge.apply(3, json!([route(&[new.address])]));
        expect_going_away(&mut socket).await;
        assert_eq!(edge.drain(old.address, PATIENCE), 0);
        assert_eq!(old.ended(), Ok(CloseCode::Away));
        // Nobody had to be given up.
        assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());

        let mut again = open(&edge).await;
        assert_eq!(say(&mut again, "hello").await, "new: hello");
    });
}

#[test]
fn the_edge_tells_visitors_when_it_stops() {
    let app = Echo::start("app");
    let mut edge = Edge::with_targets(&[app.address]);
    let began = Instant::now();
    wait(async {
        let mut socket = open(&edge).await;
        assert_eq!(say(&mut socket, "hello").await, "app: hello");
        edge.begin_stop();
        expect_going_away(&mut socket).await;
    });
    edge.stopped().unwrap();
    assert_eq!(app.ended(), Ok(CloseCode::Away));
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
}

#[test]
fn a_message_that_was_begun_arrives_whole_before_the_close() {
    const LENGTH: u32 = 100_000;
    let (go_on, wait_for) = mpsc::channel::<()>();
    let wait_for = std::sync::Mutex::new(wait_for);
    let (heard, hears) = mpsc::channel();
    let app = raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = read_head(&mut reader).unwrap();
        let accept = derive_accept_key(fields(&head, "sec-websocket-key")[0].as_bytes());
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .unwrap();
        // A binary message in two fragments, the first of which comes in pieces.
        let mut frame = vec![0x02, 127, 0, 0, 0, 0];
        frame.extend(LENGTH.to_be_bytes());
        frame.extend(vec![0x88; LENGTH as usize]);
        for piece in frame.chunks(40_000) {
            stream.write_all(piece).unwrap();
            wait_for.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(&[0x80, 1, b'x']).unwrap();
        let mut rest = [0; 8];
        reader.read_exact(&mut rest).unwrap();
        heard.send(rest).unwrap();
    });
    let edge = Edge::with_targets(&[app]);
    let mut client = edge.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.head();
    // The example of RFC 6455, 1.3.
    assert_eq!(
        fields(&head, "sec-websocket-accept"),
        ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    );
    let mut begun = vec![0; 40_000];
    client.reader.read_exact(&mut begun).unwrap();
    edge.apply(2, json!([route(&[])]));
    for _ in 0..2 {
        // The drain has begun, and the tunnel goes on.
        assert_eq!(edge.drain(app, std::time::Duration::from_millis(50)), 1);
        go_on.send(()).unwrap();
    }
    let mut rest = vec![0; LENGTH as usize + 10 - begun.len()];
    client.reader.read_exact(&mut rest).unwrap();
    assert!(rest.iter().all(|byte| *byte == 0x88));
    go_on.send(()).unwrap();
    let mut close = [0; 4];
    client.reader.read_exact(&mut close).unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xe9]);
    client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    client.expect_end();
    assert_eq!(
        hears.recv_timeout(PATIENCE).unwrap(),
        [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]
    );
    assert_eq!(edge.drain(app, PATIENCE), 0);
}

#[test]
fn a_swap_under_a_thousand_open_connections_loses_none() {
    const SOCKETS: usize = 800;
    const KEPT: usize = 200;
    raise_file_limit();
    let (old, new) = (Echo::start("old"), Echo::start("new"));
    let edge = Edge::with_targets(&[old.address]);
    wait(async {
        let mut sockets = Vec::new();
        for number in 0..SOCKETS {
            let mut socket = open(&edge).await;
            let text = number.to_string();
            assert_eq!(say(&mut socket, &text).await, format!("old: {text}"));
            sockets.push(socket);
        }
        let mut kept: Vec<_> = (0..KEPT).map(|_| edge.client()).collect();
        for client in &mut kept {
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            assert_eq!(client.answer().text(), "old");
        }
        edge.apply(2, json!([route(&[new.address])]));
        let mut told = tokio::task::JoinSet::new();
        for mut socket in sockets {
            let stream = TcpStream::connect(edge.address);
            told.spawn(async move {
                expect_going_away(&mut socket).await;
                drop(socket);
                let (mut again, _) = client_async("ws://a.test/ws", stream.await.unwrap())
                    .await
                    .unwrap();
                assert_eq!(say(&mut again, "back").await, "new: back");
                again
            });
        }
        let kept = thread::spawn(move || {
            for client in &mut kept {
                client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
                assert_eq!(client.answer().text(), "new");
            }
        });
        let back = told.join_all().await;
        assert_eq!(back.len(), SOCKETS);
        kept.join().unwrap();
        assert_eq!(edge.drain(old.address, PATIENCE), 0);
    });
    for _ in 0..SOCKETS {
        assert_eq!(old.ended(), Ok(CloseCode::Away));
    }
}

#[test]
fn a_close_by_the_visitor_or_the_app_is_theirs() {
    let app = Echo::start("app");
    let edge = Edge::with_targets(&[app.address]);
    wait(async {
        let mut socket = open(&edge).await;
        let frame = CloseFrame {
            code: CloseCode::Library(4000),
            reason: "enough".into(),
        };
        socket.close(Some(frame.clone())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Close(Some(frame)));
        assert!(matches!(
            socket.next().await,
            None | Some(Err(Error::ConnectionClosed))
        ));
    });
    assert_eq!(app.ended(), Ok(CloseCode::Library(4000)));
}
