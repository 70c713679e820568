//! Visitors who come with TLS, by a real TLS client.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's runtime ends with it, and its tasks with the runtime"
)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zarpar_control::{EdgeReply, EdgeRequest, Secret};
use zarpar_router::Limits;

use crate::backend::{Backend, Next, write_whole};
use crate::world::{Edge, PATIENCE, route};

/// A certificate signed by itself, and its key.
pub struct Pair {
    pub pem: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

pub fn pair(names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair {
        pem: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().clone(),
    }
}

pub fn add(edge: &Edge, hosts: &[&str], pem: String) -> EdgeReply {
    edge.ask(&EdgeRequest::CertificateAdd {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        pem: Secret::new(pem),
    })
}

/// Adds a good one for `a.test`.
pub fn secured(edge: &Edge) -> Pair {
    let pair = pair(&["a.test"], |_| {});
    let added = add(edge, &["a.test"], format!("{}{}", pair.key, pair.pem));
    assert!(matches!(added, EdgeReply::Certificates { .. }), "{added:?}");
    pair
}

pub fn config(
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub async fn connect(
    edge: &Edge,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(edge.https).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone())
        .connect(name, stream)
        .await
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, work).await })
        .expect("an end in time")
}

pub async fn h2(
    edge: &Edge,
    trusted: &CertificateDer<'static>,
) -> (http2::SendRequest<Full<Bytes>>, tokio::task::JoinHandle<()>) {
    let stream = connect(edge, "a.test", &config(trusted, &["h2"], &[&TLS13]))
        .await
        .unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    (sender, driver)
}

pub fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://a.test{path}"))
        .body(Full::from(body))
        .unwrap()
}

pub async fn text(response: Response<Incoming>) -> String {
    let whole = response.into_body().collect().await.unwrap();
    String::from_utf8(whole.to_bytes().to_vec()).unwrap()
}

#[test]
fn the_name_in_the_handshake_picks_the_certificate() {
    let edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    let (a, other) = (secured(&edge), pair(&["*.other.test"], |_| {}));
    add(
        &edge,
        &["www.other.test"],
        format!("{}{}", other.pem, other.key),
    );
    wait(async {
        for versions in [&[&TLS12][..], &[&TLS13]] {
            for (name, trusted, alpn) in [
                ("a.test", &a.der, "h2"),
                ("a.test", &a.der, "http/1.1"),
                ("www.other.test", &other.der, "h2"),
            ] {
                let stream = connect(&edge, name, &config(trusted, &[alpn], versions))
                    .await
                    .unwrap();
                let chosen = stream.get_ref().1.alpn_protocol().unwrap();
                assert_eq!(chosen, alpn.as_bytes(), "{name}");
            }
            // Nobody's name, one label too many, and no name at all (an address sends none).
            for name in ["b.test", "x.www.other.test", "127.0.0.1"] {
                let config = config(&a.der, &["h2"], versions);
                assert!(connect(&edge, name, &config).await.is_err(), "{name}");
            }
        }
        // Both offered: ours is h2.
        let both = config(&a.der, &["http/1.1", "h2"], &[&TLS13]);
        let stream = connect(&edge, "a.test", &both).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    });
}

#[test]
fn a_second_visit_is_resumed_whatever_worker_it_meets() {
    let edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    let a = secured(&edge);
    wait(async {
        for version in [&TLS12, &TLS13] {
            let config = config(&a.der, &["h2"], &[version]);
            let mut kinds = Vec::new();
            for _ in 0..6 {
                let stream = connect(&edge, "a.test", &config).await.unwrap();
                let (mut sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                        .await
                        .unwrap();
                // Tickets come with the first bytes; an answer means they are there.
                let mut connection = Box::pin(connection);
                let answer = sender.send_request(request("GET", "/", ""));
                tokio::select! {
                    answer = answer => assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE),
                    ended = &mut connection => panic!("{ended:?}"),
                }
                let again = connect(&edge, "a.test", &config).await.unwrap();
                kinds.push(again.get_ref().1.handshake_kind().unwrap());
            }
            assert!(
                kinds.iter().all(|kind| *kind == HandshakeKind::Resumed),
                "{version:?}: {kinds:?}"
            );
        }
    });
}

#[test]
fn http_1_over_tls_is_told_to_the_app_and_made_safe_for_the_browser() {
    let app = Backend::start(|seen, stream| {
        let own = if seen.line().contains("own") {
            "X-Frame-Options: DENY\r\nStrict-Transport-Security: max-age=5\r\n"
        } else if seen.line().contains("policy") {
            "Content-Security-Policy: Frame-Ancestors https://b.test\r\n"
        } else {
            ""
        };
        use std::io::Write;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{own}Content-Length: 2\r\n\r\nhi"
        )
        .unwrap();
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let a = secured(&edge);
    wait(async {
        let config = config(&a.der, &["http/1.1"], &[&TLS13]);
        let stream = connect(&edge, "a.test", &config).await.unwrap();
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut get = async |path: &str| {
            let request = Request::get(path)
                .header("host", "a.test")
                .header("x-forwarded-proto", "http")
                .body(Full::default())
                .unwrap();
            sender.ready().await.unwrap();
            sender.send_request(request).await.unwrap()
        };
        let plain = get("/").await;
        let field = |response: &Response<Incoming>, name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
        ] {
            assert_eq!(field(&plain, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(text(plain).await, "hi");
        let own = get("/own").await;
        assert_eq!(field(&own, "x-frame-options").as_deref(), Some("DENY"));
        assert_eq!(
            field(&own, "strict-transport-security").as_deref(),
            Some("max-age=5")
        );
        text(own).await;
        let policy = get("/policy").await;
        assert_eq!(field(&policy, "x-frame-options"), None);
    });
    assert_eq!(app.seen()[0].field("x-forwarded-proto"), ["https"]);
}

#[test]
fn http_2_carries_many_requests_to_apps_that_speak_http_1() {
    let app = Backend::start(|seen, stream| {
        let answer = format!(
            "{} {} {:?} {}",
            seen.line(),
            seen.field("host").join("|"),
            seen.field("cookie"),
            String::from_utf8_lossy(&seen.body)
        );
        write_whole(stream, &answer);
        Next::Keep
    });
    let edge = Edge::with_targets(&[app.address]);
    let a = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &a.der).await;
        let mut post = request("POST", "/form?x=1", "name=value");
        post.headers_mut().append("cookie", "a=b".parse().unwrap());
        post.headers_mut().append("cookie", "c=d".parse().unwrap());
        let answer = sender.send_request(post).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            text(answer).await,
            "POST /form?x=1 HTTP/1.1 a.test [\"a=b; c=d\"] name=value"
        );
        // Many at a time, on one connection.
        let mut all = tokio::task::JoinSet::new();
        for number in 0..100 {
            sender.ready().await.unwrap();
            let answer = sender.send_request(request("GET", &format!("/{number}"), ""));
            all.spawn(async move { (number, text(answer.await.unwrap()).await) });
        }
        while let Some(answer) = all.join_next().await {
            let (number, text) = answer.unwrap();
            assert_eq!(text, format!("GET /{number} HTTP/1.1 a.test [] "));
        }
        // A HEAD has the length and no body.
        let head = sender.send_request(request("HEAD", "/", "")).await.unwrap();
        assert_eq!(head.headers()["content-length"], "26");
        assert_eq!(text(head).await, "");
        // Another host than the one of the handshake is answered for what it is.
        let mut stranger = request("GET", "/", "");
        *stranger.uri_mut() = "https://b.test/".parse().unwrap();
        let answer = sender.send_request(stranger).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    });
    // No request came twice.
    assert_eq!(app.seen().len(), 102);
}

#[test]
fn a_silent_http_2_visitor_is_let_go_and_a_busy_one_ends_its_request() {
    let app = Backend::start(|_, stream| {
        std::thread::park_timeout(Duration::from_millis(1500));
        write_whole(stream, "late");
        Next::Keep
    });
    let mut edge = Edge::start_with(Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app.address])]));
    let a = secured(&edge);
    wait(async {
        let (mut busy, driver) = h2(&edge, &a.der).await;
        let answer = tokio::spawn(busy.send_request(request("GET", "/", "")));
        let (_silent, silent) = h2(&edge, &a.der).await;
        silent.await.unwrap();
        assert!(!driver.is_finished(), "the busy one is not idle");
        edge.begin_stop();
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "late");
        driver.await.unwrap();
    });
    edge.stopped().unwrap();
}

#[test]
fn a_visitor_who_shuts_the_window_is_cut_and_the_app_is_free_again() {
    let app = Backend::start(|_, stream| {
        use std::io::Write;
        let size = 64 << 20;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        let piece = vec![b'x'; 1 << 20];
        // An error is what is hoped for: the edge let go.
        let sent = (0..64).try_for_each(|_| stream.write_all(&piece));
        if sent.is_err() {
            Next::Close
        } else {
            Next::Keep
        }
    });
    let edge = Edge::start_with(Limits {
        write_idle: Duration::from_millis(400),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app.address])]));
    let a = secured(&edge);
    wait(async {
        let stream = connect(&edge, "a.test", &config(&a.der, &["h2"], &[&TLS13]))
            .await
            .unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // The body is held and not read: the connection lives, the window stays shut.
        let _ = driver.await.unwrap();
        drop(answer);
    });
    let target = app.address;
    edge.apply(2, json!([route(&[])]));
    assert_eq!(edge.drain(target, PATIENCE), 0, "the app is held no longer");
}

#[test]
fn an_http_2_visitor_who_asks_all_the_time_is_not_idle() {
    let app = Backend::saying("quick");
    let edge = Edge::start_with(Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    edge.apply(1, json!([route(&[app.address])]));
    let a = secured(&edge);
    wait(async {
        let (mut sender, _driver) = h2(&edge, &a.der).await;
        let began = tokio::time::Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(15));
        // Short requests fall between two looks of the edge.
        while began.elapsed() < Duration::from_millis(1500) {
            pause.tick().await;
            let answer = sender.send_request(request("GET", "/", "")).await.unwrap();
            assert_eq!(text(answer).await, "quick");
        }
    });
}
