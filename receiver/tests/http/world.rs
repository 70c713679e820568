//! A receiver that serves for one test.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio_util::task::TaskTracker;
use zarpar_model::AppName;
use zarpar_receiver::{ClientAddress, GitConfig, ReceiverState, Repositories};
use zarpar_store::{OpenOptions, Store};

/// The largest pack of these servers, in bytes.
pub const MAX_PACK: u64 = 1024 * 1024;

pub struct World {
    folder: tempfile::TempDir,
    pub store: Store,
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

/// In the place of the control plane, which moves branches: takes every command and leaves the
/// move to git (`option fall-through`, githooks(5)).
const PROC_RECEIVE: &str = r#"#!/usr/bin/python3
import sys
source, sink = sys.stdin.buffer, sys.stdout.buffer
def section():
    while (length := int(source.read(4), 16)) > 4:
        yield source.read(length - 4).rstrip(b"\n")
def say(*lines):
    sink.write(b"".join(b"%04x%s" % (len(line) + 4, line) for line in lines) + b"0000")
    sink.flush()
list(section())
say(b"version=1")
references = [line.split(b" ", 2)[2] for line in section()]
say(*(line for name in references for line in (b"ok " + name, b"option fall-through")))
"#;

impl World {
    /// Two apps without a commit, `tienda` and `blog`.
    pub fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let options = OpenOptions {
            lock_patience: Duration::from_secs(10),
            ballast: 1 << 20,
        };
        let store = options.open(&path("state"), &path("key")).unwrap();
        std::fs::create_dir(path("hooks")).unwrap();
        let hook = path("hooks").join("proc-receive");
        std::fs::write(&hook, PROC_RECEIVE).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let git = GitConfig {
            home: folder.path().to_owned(),
            hooks: path("hooks"),
            control_socket: path("none.sock"),
            limits: zarpar_receiver::GitLimits {
                max_pack: MAX_PACK,
                ..zarpar_receiver::GitLimits::default()
            },
        };
        let repositories = Repositories::new(path("repos"), git);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        for name in ["tienda", "blog"] {
            let app = json!({"name": name, "branch": "main", "domains": [], "postgres": false,
                "created_at": 1, "active": null, "next_release": "v1", "scale": []});
            let app = serde_json::from_value(app).unwrap();
            store.create_app(app, Default::default()).unwrap();
            let (app, branch) = (name.parse().unwrap(), "main".parse().unwrap());
            runtime
                .block_on(repositories.create(&app, &branch))
                .unwrap();
        }
        let state = ReceiverState::new(store.clone(), repositories, TaskTracker::new());
        let routes =
            zarpar_receiver::routes(state).layer(axum::middleware::map_request(note_client));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        World {
            folder,
            store,
            address,
            _runtime: runtime,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A token for `tienda`; `more` are fields of its record.
    pub fn token(&self, name: &str, more: serde_json::Value) -> String {
        let (secret, sha256) = zarpar_receiver::new_token().unwrap();
        let mut token = json!({"name": name, "sha256": sha256, "scope": {"apps": ["tienda"]},
            "created_at": 1});
        token
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.store
            .create_token(serde_json::from_value(token).unwrap())
            .unwrap();
        secret
    }

    /// A token that may push to `tienda`.
    pub fn pusher(&self) -> String {
        self.token("pusher", json!({}))
    }

    pub fn revoke(&self, name: &str) {
        let name: AppName = name.parse().unwrap();
        assert!(self.store.revoke_token(&name).unwrap());
    }

    pub fn remote(&self, token: &str) -> String {
        format!("http://{token}@{}/git/tienda.git", self.address)
    }

    /// The real git in a folder of this world.
    pub fn git(&self, folder: &str, words: &[&str]) -> Output {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        Command::new("git")
            .args([
                "-c",
                "user.name=Prueba",
                "-c",
                "user.email=prueba@example.test",
            ])
            .args(words)
            .current_dir(self.path(folder))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// A work tree with one commit that holds `size` bytes that do not compress.
    pub fn project(&self, folder: &str, size: usize) -> String {
        self.git(folder, &["init", "-q", "-b", "main"]);
        let mut noise = vec![0; size];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for byte in &mut noise {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 32) as u8;
        }
        std::fs::write(self.path(folder).join("noise"), noise).unwrap();
        self.git(folder, &["add", "-A"]);
        self.git(folder, &["commit", "-q", "-m", "first"]);
        let head = self.git(folder, &["rev-parse", "HEAD"]);
        String::from_utf8(head.stdout).unwrap().trim().to_owned()
    }

    /// Opens a connection and writes these bytes.
    pub fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// One request on one connection. `line` is the method and the path.
    pub fn ask(&self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = fields.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("transfer-encoding")
                || name.eq_ignore_ascii_case("content-length")
        });
        if line.starts_with("POST") && !framed {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = self.connect(head.as_bytes());
        // The server may have said no already.
        let _ = stream.write_all(body);
        Answer::read(&mut stream)
    }
}

/// What stands in for the console's accept loop: the test says where it comes from.
async fn note_client(mut request: Request) -> Request {
    let from = request.headers().get("x-from");
    let address = from.and_then(|from| from.to_str().ok()?.parse().ok());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    request.extensions_mut().insert(ClientAddress(address));
    request
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads to the connection's end.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            body = unchunk(&body).unwrap_or_else(|| panic!("the answer was cut: {head}"));
        }
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}
