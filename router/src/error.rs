//! Why an edge does not start or stops before it is asked to.

use std::io;
use std::net::SocketAddr;

/// An edge that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Another program listens there.
    #[error(
        "the address `{address}` is in use by another program\nhint: `ss -ltnp sport = :{port}` shows which one",
        port = address.port()
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The user may not listen there.
    #[error(
        "the address `{address}` needs a permission this user does not have\nhint: ports below 1024 need root or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the systemd unit; `--http 0.0.0.0:8080` needs neither"
    )]
    Permission {
        /// The address.
        address: SocketAddr,
    },
    /// Any other reason not to listen.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// A socket from systemd that cannot be used.
    #[error(
        "socket number {number} that systemd passed is no listening TCP socket\nhint: `ListenStream=80` and `ListenStream=443` in the socket unit are what the edge expects"
    )]
    Passed {
        /// Which one, from 0.
        number: usize,
        /// The reason.
        source: io::Error,
    },
    /// The edge that runs does not make room.
    #[error(
        "the edge that runs already does not hand over its sockets: {reason}\nhint: it serves on; to start this one all the same, stop it first: `kill {pid}`"
    )]
    HandOver {
        /// Its process id, or what a shell makes it from when the edge does not even say that.
        pid: String,
        /// What went wrong.
        reason: String,
    },
    /// The operating system refused a thread, a runtime or a socket option.
    #[error("cannot set up {what}")]
    Setup {
        /// What was being set up.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A table written by hand that cannot be served.
    #[error("the route table cannot be served")]
    Table(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A worker ended although nobody asked it to.
    #[error("the edge worker {number} stopped by itself")]
    WorkerEnded {
        /// Which one, from 0.
        number: usize,
    },
}

impl EdgeError {
    /// The edge that runs went back on it, because we were too slow or it ended.
    pub(crate) fn not_handed_over(pid: String, error: &zarpar_control::ClientError) -> EdgeError {
        EdgeError::HandOver {
            pid,
            reason: error.to_string(),
        }
    }

    pub(crate) fn setup(what: &'static str) -> impl FnOnce(io::Error) -> EdgeError {
        move |source| EdgeError::Setup { what, source }
    }
}
