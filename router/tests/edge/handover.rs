//! One edge after another on the same sockets, and visitors who notice nothing. A visitor here
//! is strict: any connection that is refused, reset or ends without an answer fails the test.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's runtime ends with it, and its tasks with the runtime"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::version::TLS13;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zarpar_control::{EdgeReply, EdgeRequest};
use zarpar_router::{EdgeError, Limits, take_over};

use crate::backend::{Backend, Next, write_whole};
use crate::tls;
use crate::world::{Client, Edge, PATIENCE, route};

/// Of a host that has no certificate, or it would be sent to TLS.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: www.a.test\r\n\r\n";

/// How often in a row.
const TIMES: usize = 10;

fn limits() -> Limits {
    Limits {
        // Nobody waits for the end but this test.
        handed_over_linger: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Asks until it is over on a connection that is kept as long as the edge keeps it.
fn keeps_asking(address: SocketAddr, over: &AtomicBool, answered: &AtomicUsize) {
    let mut client = Client::connect(address);
    while !over.load(SeqCst) {
        client.send(REQUEST);
        let answer = client.try_answer(false).expect("an answer");
        assert_eq!(answer.text(), "hello");
        answered.fetch_add(1, SeqCst);
        if answer.field("connection") == Some("close") {
            client = Client::connect(address);
        }
    }
}

fn comes_again(address: SocketAddr, over: &AtomicBool, answered: &AtomicUsize) {
    while !over.load(SeqCst) {
        let mut client = Client::connect(address);
        client.send(REQUEST);
        assert_eq!(client.try_answer(false).expect("an answer").text(), "hello");
        answered.fetch_add(1, SeqCst);
    }
}

async fn multiplexes(
    address: SocketAddr,
    trusted: CertificateDer<'static>,
    over: &AtomicBool,
    answered: &AtomicUsize,
) {
    let config = tls::config(&trusted, &["h2"], &[&TLS13]);
    let mut request = Some(tls::request("GET", "/", ""));
    while !over.load(SeqCst) {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "a.test".try_into().unwrap();
        let stream = TlsConnector::from(config.clone())
            .connect(name, stream)
            .await
            .unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let driver = tokio::spawn(connection);
        // The edge says in good order that it takes no more on this connection.
        while sender.ready().await.is_ok() && !over.load(SeqCst) {
            match sender.try_send_request(request.take().unwrap()).await {
                Ok(response) => {
                    let body = response
                        .into_body()
                        .collect()
                        .await
                        .expect("a whole answer");
                    assert_eq!(body.to_bytes(), "hello");
                    answered.fetch_add(1, SeqCst);
                    request = Some(tls::request("GET", "/", ""));
                }
                Err(mut error) => {
                    request = error.take_message();
                    assert!(
                        request.is_some(),
                        "a request was sent and not answered: {error:?}"
                    );
                    break;
                }
            }
        }
        driver.abort();
    }
}

#[test]
fn ten_in_a_row_under_load_refuse_and_cut_nobody() {
    let app = Backend::saying("hello");
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let slow = Backend::start(move |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
            .unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE * 2).unwrap();
        stream.write_all(b"last").unwrap();
        Next::Keep
    });
    let mut edge = Edge::start_with(limits());
    let slow_route =
        json!({"app": "b", "release": "v1", "hosts": ["b.test"], "targets": [slow.address]});
    let mut both = route(&[app.address]);
    both["hosts"] = json!(["a.test", "www.a.test"]);
    edge.apply(1, json!([both, slow_route]));
    let pair = tls::secured(&edge);
    // Open over all of it.
    let mut download = edge.client();
    download.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    download.head();

    let over = AtomicBool::new(false);
    let counts: [AtomicUsize; 4] = Default::default();
    let (http, https) = (edge.address, edge.https);
    thread::scope(|scope| {
        let load = [
            scope.spawn(|| keeps_asking(http, &over, &counts[0])),
            scope.spawn(|| keeps_asking(http, &over, &counts[1])),
            scope.spawn(|| comes_again(http, &over, &counts[2])),
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(multiplexes(https, pair.der.clone(), &over, &counts[3]));
            }),
        ];
        for _ in 0..TIMES {
            // Every kind of visitor was served by this edge before the next one comes.
            let before = counts.each_ref().map(|count| count.load(SeqCst));
            while (counts.iter().zip(before)).any(|(now, then)| now.load(SeqCst) < then + 20) {
                if load.iter().any(|visitor| visitor.is_finished()) {
                    break;
                }
                thread::yield_now();
            }
            edge.replace();
        }
        over.store(true, SeqCst);
        for visitor in load {
            visitor.join().unwrap();
        }
    });
    assert_eq!(edge.identity(), TIMES.to_string());
    go_on.send(()).unwrap();
    let mut body = [0; 9];
    download.reader.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"firstlast");
    edge.alone();
}

#[test]
fn a_table_reaches_visitors_who_are_still_at_the_edge_before() {
    let old = Backend::saying("old");
    let new = Backend::saying("new");
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let busy = Backend::start(move |_, stream| {
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        write_whole(stream, "done");
        Next::Keep
    });
    let mut edge = Edge::start_with(Limits {
        handed_over_linger: Duration::from_secs(10),
        ..Limits::default()
    });
    let other = |targets: &[SocketAddr]| json!({"app": "b", "release": "v1", "hosts": ["b.test"], "targets": targets});
    edge.apply(1, json!([route(&[old.address]), other(&[busy.address])]));
    let mut kept = edge.client();
    kept.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(kept.answer().text(), "old");
    let mut open = edge.client();
    open.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    while busy.seen().is_empty() {
        thread::yield_now();
    }

    edge.replace();
    edge.replace();
    edge.apply(2, json!([route(&[new.address]), other(&[])]));
    // The edge before the edge before still holds it.
    assert_eq!(edge.drain(busy.address, Duration::from_millis(100)), 1);
    kept.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = kept.answer();
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("new", Some("close"))
    );
    go_on.send(()).unwrap();
    assert_eq!(open.answer().text(), "done");
    assert_eq!(edge.drain(busy.address, PATIENCE), 0);
    edge.alone();
    // Only the newest one keeps the table.
    let kept = std::fs::read_to_string(edge.folder.path().join("edge/table.json")).unwrap();
    assert!(kept.contains("\"generation\":2"), "{kept}");
}

#[test]
fn an_edge_that_does_not_start_leaves_the_running_one_as_it_was() {
    let app = Backend::saying("hello");
    let edge = Edge::with_targets(&[app.address]);
    let taken = take_over(&edge.socket()).unwrap().unwrap();
    assert_eq!(taken.visitors.len(), 2);
    // While one may follow, nothing changes; here it dies.
    let waiting = Arc::new(AtomicBool::new(true));
    thread::scope(|scope| {
        let applied = scope.spawn(|| {
            edge.apply(2, json!([route(&[app.address])]));
            assert!(!waiting.load(SeqCst), "a table was applied in the middle");
        });
        assert_eq!(edge.get("/").text(), "hello");
        waiting.store(false, SeqCst);
        drop(taken);
        applied.join().unwrap();
    });
    assert_eq!(edge.get("/").text(), "hello");
    assert_eq!(edge.identity(), "");
}

#[test]
fn whoever_says_the_second_word_first_is_refused() {
    let edge = Edge::start();
    let refused = edge.ask(&EdgeRequest::TookOver);
    assert!(matches!(refused, EdgeReply::Refused { text } if text.contains("`hand_over`")));
    assert_eq!(edge.get("/").status(), 404);
}

#[test]
fn without_an_edge_there_is_nothing_to_take_over() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        take_over(&folder.path().join("router.sock"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn an_edge_of_an_older_version_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("router.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let say = |text: &str| (&stream).write_all(text.as_bytes()).unwrap();
        lines.next().unwrap().unwrap();
        say(
            "{\"status\":{\"pid\":4711,\"generation\":3,\"http\":\"0.0.0.0:80\",\"https\":null}}\n",
        );
        lines.next().unwrap().unwrap();
        say("{\"refused\":{\"text\":\"unknown variant `hand_over`\"}}\n");
    });
    let error = take_over(&socket).unwrap_err();
    assert!(matches!(error, EdgeError::HandOver { .. }));
    let text = error.to_string();
    assert!(
        text.contains("`hand_over`") && text.contains("`kill 4711`"),
        "{text}"
    );
}

#[test]
fn an_edge_that_hangs_is_found_by_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("router.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        (&stream).write_all(b"what?\n").unwrap();
        let _ = BufReader::new(stream).lines().count();
    });
    let text = take_over(&socket).unwrap_err().to_string();
    let lock = folder.path().join("router.lock");
    assert!(
        text.contains(&format!("`kill $(cat {})`", lock.display())),
        "{text}"
    );
}

#[test]
fn a_new_version_that_cannot_read_the_table_does_not_start() {
    let app = Backend::saying("hello");
    let mut edge = Edge::with_targets(&[app.address]);
    let file = edge.folder.path().join("edge/table.json");
    std::fs::write(
        &file,
        "{\"generation\":1,\"routes\":[],\"of_a_later_version\":1}",
    )
    .unwrap();
    let text = edge.try_replace().unwrap_err().to_string();
    assert_eq!(text, "the route table cannot be served");
    assert_eq!(edge.get("/").text(), "hello");
    assert!(file.exists(), "it is the running edge's");
}
