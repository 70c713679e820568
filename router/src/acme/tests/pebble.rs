//! Pebble, Let's Encrypt's own test authority, with a name server of its own that answers
//! 127.0.0.1 for every name. Both end with the value that started them.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::world::eventually;

/// Where the authority will be found, fixed before it runs.
pub(super) struct Site {
    pub(super) folder: TempDir,
    pub(super) port: u16,
    pub(super) http_port: u16,
    pub(super) tls_port: u16,
    pub(super) root: String,
}

impl Site {
    /// Free ports, and a certificate for the authority's own listener.
    pub(super) fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(authority, root_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Site {
            folder,
            port: free_port(),
            http_port: free_port(),
            tls_port: free_port(),
            root,
        }
    }

    /// Where the directory is.
    pub(super) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Starts the authority: certificates valid for `lifetime`, `refused` percent of good nonces
    /// called bad.
    pub(super) async fn start(&self, lifetime: Duration, refused: u8) -> Pebble {
        let path = |name: &str| self.folder.path().join(name);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": "",
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "certificateValidityPeriod": lifetime.as_secs(),
        }});
        fs::write(path("pebble.json"), config.to_string()).unwrap();
        let dns = format!("127.0.0.1:{}", free_port());
        let names = spawn(
            command("pebble-challtestsrv")
                .args(["-dns01", &dns, "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-management", ""]),
            path("names.log"),
        );
        let server = spawn(
            command("pebble")
                .arg("-config")
                .arg(path("pebble.json"))
                .args(["-dnsserver", &dns])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env("PEBBLE_WFE_NONCEREJECT", refused.to_string()),
            path("pebble.log"),
        );
        eventually(
            "the authority listens",
            Duration::from_secs(20),
            async || TcpStream::connect(("127.0.0.1", self.port)).await.is_ok(),
        )
        .await;
        Pebble {
            children: vec![server, names],
        }
    }

    /// How many orders the authority that runs now was sent.
    pub(super) fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// How many requests it was sent that an order needs once or, for each name, once.
    pub(super) fn requests(&self) -> usize {
        let log = self.log();
        [
            "sign-me-up",
            "order-plz",
            "authZ/",
            "chalZ/",
            "finalize-order/",
            "certZ/",
        ]
        .iter()
        .map(|path| log.matches(&format!("POST /{path} ")).count())
        .sum()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }
}

/// A running authority.
pub(super) struct Pebble {
    children: Vec<Child>,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own child, with an environment of its own"
)]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn spawn(command: &mut Command, log: PathBuf) -> Child {
    let log = File::create(log).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot start {command:?}: {error}\nhint: apt-get install pebble")
        })
}

/// A port that nobody listens on, below those the system gives out by itself, so that no other
/// test's connection takes it before it is used. Each process starts somewhere else.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (offset % 20_000) as u16;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
