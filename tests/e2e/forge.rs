//! Back to the forge: a push is told there when it begins and how it ended, with a link to the
//! log, which is a page of the console. The forge is a server of ours that writes down what it
//! hears over TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::http;
use crate::project::Project;
use crate::world::{BINARY, World, text, until};

const TOKEN: &str = "t0ken-of-the-forge";

/// A request's line, its head in lower case, and its body.
type Heard = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Answers `201` with an id to every post, `404` to everything else, until the test's process
/// ends.
fn forge(world: &World) -> (u16, Heard) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(
        world.path("ca.pem"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let hears = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            // Whoever does not trust the certificate goes away in the handshake.
            let _ = answer(StreamOwned::new(connection, stream.unwrap()), &hears);
        }
    });
    (port, heard)
}

fn answer(mut stream: impl Read + Write, heard: &Heard) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let answer = if line.starts_with("POST") {
        let body = serde_json::from_slice(&body).unwrap();
        heard.lock().unwrap().push((line, head, body));
        "HTTP/1.1 201 Created\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{\"id\":41}"
    } else {
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    };
    stream.write_all(answer.as_bytes())?;
    stream.flush()
}

/// What was heard, once there are that many.
#[track_caller]
fn heard(all: &Heard, count: usize) -> Vec<(String, String, Value)> {
    until("the forge to hear of it", 60, || {
        let mut all = all.lock().unwrap();
        (all.len() >= count).then(|| std::mem::take(&mut *all))
    })
}

fn log_page(world: &World, path: &str, token: &str) -> http::Answer {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("x:{token}"));
    let header = format!("Basic {pair}");
    let headers = [("Authorization", header.as_str())];
    http::request(world.console, "GET", "localhost", path, &headers, b"").unwrap()
}

#[test]
fn a_commits_page_says_what_became_of_it_and_links_to_the_log() {
    let mut world = World::bare();
    let (port, all) = forge(&world);
    let config = fs::read_to_string(world.config()).unwrap();
    let fetch = format!(
        "{config}[fetch]\nallow = [\"127.0.0.1\"]\nports = [{port}]\nca = \"{}\"\n",
        world.path("ca.pem").display()
    );
    fs::write(world.config(), fetch).unwrap();
    world.serve();
    let remote = world.app("tienda", &[]);
    world.app("other", &[]);
    let mut enable = Command::new(BINARY)
        .args(["webhooks", "enable", "tienda", "--provider", "github"])
        .args(["--repo", &format!("https://127.0.0.1:{port}/yo/tienda.git")])
        .arg("--token-stdin")
        .env("ZARPAR_DATA", world.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = enable.stdin.take().unwrap();
    stdin.write_all(format!("{TOKEN}\n").as_bytes()).unwrap();
    drop(stdin);
    let enabled = enable.wait_with_output().unwrap();
    assert!(enabled.status.success(), "{}", text(&enabled));

    let project = Project::tiny(&world, "site", "one");
    let commit = project.commit("one more");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let told = heard(&all, 5);
    let lines: Vec<_> = told.iter().map(|(line, ..)| line.as_str()).collect();
    let status = format!("POST /api/v3/repos/yo/tienda/statuses/{commit} HTTP/1.1");
    let record = "POST /api/v3/repos/yo/tienda/deployments/41/statuses HTTP/1.1";
    let begin = "POST /api/v3/repos/yo/tienda/deployments HTTP/1.1";
    assert_eq!(lines, [&status, begin, record, &status, record]);
    let states: Vec<_> = told.iter().map(|(.., body)| &body["state"]).collect();
    assert_eq!(states[0], "pending");
    assert_eq!(states[2], "in_progress");
    assert_eq!(
        (states[3], states[4]),
        (&"success".into(), &"success".into())
    );
    for (_, head, _) in &told {
        assert!(
            head.contains(&format!("authorization: bearer {TOKEN}")),
            "{head}"
        );
    }
    let (.., live) = &told[4];
    assert_eq!(
        live["environment_url"],
        format!("http://tienda.localhost:{}", world.http)
    );
    let description = live["description"].as_str().unwrap();
    assert!(
        description.starts_with("v1 is live after "),
        "{description}"
    );

    // One that fails, and says nothing of what the app printed.
    project.write(
        "Dockerfile",
        "FROM python:3.13-slim\nRUN echo inner && false\n",
    );
    project.commit("broken");
    assert!(!project.push(&remote).status.success());
    let told = heard(&all, 5);
    let (.., failed) = &told[3];
    assert_eq!(failed["state"], "failure");
    let description = failed["description"].as_str().unwrap();
    assert!(description.contains("failed while"), "{description}");
    assert!(!description.contains("inner"), "{description}");

    // The log, for whoever may clone the app.
    let newest = world.newest("tienda")["id"].to_string();
    let path = format!("/apps/tienda/deployments/{newest}");
    let token = remote.strip_prefix("http://").unwrap();
    let token = token.split('@').next().unwrap();
    let page = log_page(&world, &path, token);
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(
        page.text()
            .starts_with(&format!("-----> deployment {newest}\n")),
        "{}",
        page.text()
    );
    assert!(page.text().contains("inner"), "{}", page.text());
    let open = http::get(world.console, "localhost", &path).unwrap();
    assert_eq!(open.status, 401, "{}", open.text());
    let stranger = world.ok(&["tokens", "create", "stranger", "--app", "other"]);
    assert_eq!(log_page(&world, &path, stranger.trim()).status, 404);
    let other = format!("/apps/other/deployments/{newest}");
    let of_another_app = log_page(&world, &other, stranger.trim());
    assert_eq!(of_another_app.status, 404, "{}", of_another_app.text());
    assert!(of_another_app.text().contains("no such deployment"));

    let log = fs::read_to_string(world.log()).unwrap();
    assert!(!log.contains(TOKEN), "the token is in the log");
}
