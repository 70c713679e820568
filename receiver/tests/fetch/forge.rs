//! A forge: TLS, and behind it git's own `http-backend`, or whatever a hostile one does. And the
//! side of zarpar, with an app's repository.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use zarpar_model::{AppName, CommitId};
use zarpar_receiver::{
    Credentials, FetchError, FetchRules, FetchSource, GitConfig, Repositories, fetch,
};

pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// What the forge does with a request.
#[derive(Clone)]
pub enum Manner {
    /// git's own server.
    Serve,
    /// git's own server for who has this header.
    Private(&'static str),
    /// To another address.
    Redirect(String),
    /// An answer that never comes.
    Silent,
    /// An answer that never ends.
    Endless,
    /// The interface for programs.
    Interface(Arc<Mutex<Interface>>),
}

/// What was asked of the interface, and what it answers: the given ones first, then `201` with
/// the id 7.
#[derive(Default)]
pub struct Interface {
    pub asked: Vec<Asked>,
    pub answers: VecDeque<(u16, &'static str)>,
}

/// One request.
#[derive(Clone)]
pub struct Asked {
    pub line: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A forge and the folder of everything.
pub struct Forge {
    pub folder: TempDir,
    pub port: u16,
    pub requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Forge {
    /// With one repository `yo/tienda.git` of one commit on `main`, on 127.0.0.1.
    pub async fn start(manner: Manner) -> Forge {
        Forge::start_at("127.0.0.1", 0, manner).await
    }

    pub async fn start_at(address: &str, port: u16, manner: Manner) -> Forge {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        git(path, &["init", "-q", "-b", "main", "work"]);
        git(
            path,
            &["init", "-q", "--bare", "-b", "main", "forge/yo/tienda.git"],
        );
        let tls = authority(path);
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (root, counted) = (path.join("forge"), requests.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, root) = (tls.clone(), root.clone());
                let (manner, counted) = (manner.clone(), counted.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let answer = service_fn(move |request| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        respond(manner.clone(), root.clone(), request)
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        let forge = Forge {
            folder,
            port,
            requests,
            _tasks: tasks,
        };
        forge.commit("one");
        forge
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A commit more on `main`, whose id is answered.
    pub fn commit(&self, text: &str) -> CommitId {
        let work = self.path("work");
        std::fs::write(work.join("file"), text).unwrap();
        self.commit_all(text)
    }

    pub fn commit_all(&self, message: &str) -> CommitId {
        let work = self.path("work");
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-q", "-m", message]);
        git(
            &work,
            &[
                "push",
                "-q",
                "-f",
                "../forge/yo/tienda.git",
                "HEAD:refs/heads/main",
            ],
        );
        let id = git(&work, &["rev-parse", "HEAD"]);
        String::from_utf8(id.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/yo/tienda.git", self.port)
    }

    /// Rules that let this forge alone be reached.
    pub fn rules(&self) -> FetchRules {
        FetchRules {
            allow: vec!["127.0.0.1".parse().unwrap()],
            ports: vec![self.port],
            ca: Some(self.path("ca.pem")),
            ..FetchRules::default()
        }
    }

    /// The server's side, with the repository of the app `tienda`.
    pub async fn repositories(&self) -> Repositories {
        let home = self.path("zarpar");
        std::fs::create_dir_all(&home).unwrap();
        let repositories = Repositories::new(
            home.join("repos"),
            GitConfig {
                hooks: home.join("hooks"),
                control_socket: home.join("control.sock"),
                limits: zarpar_receiver::GitLimits {
                    max_file: 16 << 20,
                    ..zarpar_receiver::GitLimits::default()
                },
                home,
            },
        );
        let branch = "main".parse().unwrap();
        repositories.create(&app(), &branch).await.unwrap();
        repositories
    }

    /// Fetches `branch` from `url`.
    pub async fn fetch_from(
        &self,
        url: &str,
        branch: &str,
        credentials: Credentials,
        rules: &FetchRules,
    ) -> Result<CommitId, FetchError> {
        let repositories = self.repositories().await;
        let source = FetchSource {
            url: &url.parse().unwrap(),
            branch: &branch.parse().unwrap(),
            credentials,
        };
        let fetched = fetch(&repositories, &app(), &source, rules).await;
        self.nothing_is_left();
        fetched
    }

    /// Fetches `main` of the forge's repository.
    pub async fn fetch(&self) -> Result<CommitId, FetchError> {
        let rules = self.rules();
        self.fetch_from(&self.url(), "main", Credentials::None, &rules)
            .await
    }

    /// No scratch folder, no temporary file, no lock.
    pub fn nothing_is_left(&self) {
        let scratch = self.path("zarpar/repos/.fetch");
        let left: Vec<_> = scratch.read_dir().into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        let mut folders = vec![self.app_repository()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert!(
                    !name.contains("tmp_") && !name.ends_with(".lock") && !name.ends_with(".keep"),
                    "{name}"
                );
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
    }

    pub fn app_repository(&self) -> PathBuf {
        self.path("zarpar/repos/tienda.git")
    }

    /// What git says about the app's repository.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = git(&self.app_repository(), arguments);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

pub fn app() -> AppName {
    "tienda".parse().unwrap()
}

/// A run of git of the test's own, which must succeed.
pub fn git(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("git")
        .args(["-c", "user.name=yo", "-c", "user.email=yo@forge.test"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    output
}

/// An authority in `ca.pem`, and a server's certificate of it.
fn authority(folder: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("ca.pem"), root.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned(), "forge.test".to_owned()];
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, std::io::Error>> + Send>>;

fn respond(manner: Manner, root: PathBuf, request: Request<Incoming>) -> Answer {
    Box::pin(async move {
        match manner {
            Manner::Serve => backend(&root, request).await,
            Manner::Private(expected) => {
                let given = request.headers().get("authorization");
                if given.is_some_and(|given| given == expected) {
                    return backend(&root, request).await;
                }
                Ok(Response::builder()
                    .status(401)
                    .header("www-authenticate", "Basic realm=forge")
                    .body(full("no"))
                    .unwrap())
            }
            Manner::Redirect(to) => {
                let location = format!("{to}{}", request.uri());
                Ok(Response::builder()
                    .status(302)
                    .header("location", location)
                    .body(full(""))
                    .unwrap())
            }
            Manner::Interface(interface) => {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let mut interface = interface.lock().unwrap();
                interface.asked.push(Asked {
                    line: format!("{} {}", head.method, head.uri),
                    headers: head.headers,
                    body: serde_json::from_slice(&body).unwrap(),
                });
                let (status, body) = interface
                    .answers
                    .pop_front()
                    .unwrap_or((201, r#"{"id":7}"#));
                Ok(Response::builder().status(status).body(full(body)).unwrap())
            }
            Manner::Silent => std::future::pending().await,
            Manner::Endless => {
                let chunk = Bytes::from(vec![b'0'; 64 * 1024]);
                let chunks =
                    futures_util::stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
                Ok(Response::builder()
                    .header(
                        "content-type",
                        "application/x-git-upload-pack-advertisement",
                    )
                    .body(StreamBody::new(chunks).boxed_unsync())
                    .unwrap())
            }
        }
    })
}

/// One request by way of CGI (RFC 3875).
async fn backend(root: &Path, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let header = |name| {
        let value = head.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let body = body.collect().await.unwrap().to_bytes();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().unwrap();
    let (written, output) = tokio::join!(
        async move { stdin.write_all(&body).await },
        child.wait_with_output()
    );
    let output = output?.stdout;
    let _ = written;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut answer = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        answer = if name == "Status" {
            answer.status(&value[..3])
        } else {
            answer.header(name, value)
        };
    }
    Ok(answer.body(full(output[end + 4..].to_vec())).unwrap())
}
