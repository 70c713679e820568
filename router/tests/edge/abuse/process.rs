//! An edge as a process of its own, so that its memory can be told from ours: this very test
//! binary again, asked for the one "test" below. It ends when its input ends, so with us at the
//! latest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zarpar_router::Limits;

use crate::tls::secured;
use crate::world::{Edge, route};

/// What the process is told in its environment.
const TOLD: &str = "ZARPAR_ABUSED_EDGE";

#[derive(Serialize, Deserialize)]
struct Told {
    app: SocketAddr,
    short: Option<Duration>,
}

/// The line it says when it serves.
#[derive(Serialize, Deserialize)]
struct Says {
    http: SocketAddr,
    https: SocketAddr,
    certificate: Vec<u8>,
}

pub struct EdgeProcess {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub certificate: CertificateDer<'static>,
    child: Child,
}

impl EdgeProcess {
    /// An edge whose host `a.test` has a certificate and leads to `app`; with `short`, it waits
    /// for visitors no longer than this.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment is emptied here as well"
    )]
    pub fn start(app: SocketAddr, short: Option<Duration>) -> EdgeProcess {
        let told = serde_json::to_string(&Told { app, short }).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "abuse::process::server", "--ignored"])
            .env_clear()
            .env(TOLD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = child.stderr.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let says: Says = serde_json::from_str(&line).expect(&line);
        EdgeProcess {
            http: says.http,
            https: says.https,
            certificate: says.certificate.into(),
            child,
        }
    }

    /// The most memory it ever had, in KiB.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.unwrap().trim().strip_suffix(" kB").unwrap();
        size.parse().unwrap()
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// As many files as the system lets us have: an attack of a thousand connections needs them.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

#[test]
#[ignore = "no test but the edge that the tests of abuse start"]
fn server() {
    let Ok(told) = std::env::var(TOLD) else {
        return;
    };
    let told: Told = serde_json::from_str(&told).unwrap();
    let usual = Limits::default();
    let edge = Edge::start_with(Limits {
        handshake: told.short.unwrap_or(usual.handshake),
        // Longer, or the normal client had to hurry.
        idle: told.short.map_or(usual.idle, |short| short * 3),
        header_read: told.short.unwrap_or(usual.header_read),
        body_idle: told.short.unwrap_or(usual.body_idle),
        write_idle: told.short.unwrap_or(usual.write_idle),
        ..usual
    });
    edge.apply(1, json!([route(&[told.app])]));
    let says = Says {
        http: edge.address,
        https: edge.https,
        certificate: secured(&edge).der.to_vec(),
    };
    let mut line = serde_json::to_vec(&says).unwrap();
    line.push(b'\n');
    std::io::stderr().write_all(&line).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
