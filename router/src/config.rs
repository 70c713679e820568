//! What the edge is told at start. The limits are the numbers of the design (nginx's where
//! nginx has one); they can be changed so that a test need not wait for them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use zarpar_model::RouteTable;

use crate::access_log::AccessLog;

/// Settings of an edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// The table it starts from.
    pub table: TableSource,
    /// Where certificates and their keys are kept, `<data>/certificates`.
    pub certificates: PathBuf,
    /// Where large request bodies wait until they are whole, `<data>/edge/uploads`. The edge owns
    /// the folder and empties it at start.
    pub uploads: PathBuf,
    /// How certificates are ordered; `None`: they are not.
    pub acme: Option<AcmeSettings>,
    /// How the access log is kept; `None`: there is none.
    pub access_log: Option<AccessLog>,
    /// Names program and settings, see [`zarpar_control::EdgeStatus::identity`].
    pub identity: String,
    /// Worker threads.
    pub workers: usize,
    /// Limits that protect visitors from each other.
    pub limits: Limits,
}

impl EdgeConfig {
    /// The defaults: as many workers as processors, at most four.
    pub fn new(table: TableSource, certificates: PathBuf, uploads: PathBuf) -> EdgeConfig {
        EdgeConfig {
            table,
            certificates,
            uploads,
            acme: None,
            access_log: None,
            identity: String::new(),
            workers: available_parallelism().map_or(1, |count| count.get().min(4)),
            limits: Limits::default(),
        }
    }
}

/// How certificates are ordered from an authority that speaks ACME (RFC 8555).
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    /// Where accounts and what was tried are kept, `<data>/acme`.
    pub folder: PathBuf,
    /// The authority's directory; `None`: Let's Encrypt.
    pub directory: Option<String>,
    /// Roots to trust beside the system's when speaking to the authority, PEM.
    pub roots: Option<String>,
    /// Whom the authority may write to, such as `mailto:me@example.org`.
    pub contact: Option<String>,
    /// Addresses that lead here and that no interface has, as behind an address translation.
    pub addresses: Vec<IpAddr>,
    /// Whether it is looked first where a name points, so that nothing is ordered in vain.
    pub look_up_names: bool,
}

/// Where the route table comes from.
#[derive(Debug, Clone)]
pub enum TableSource {
    /// The last one that was applied, kept in this file, `<data>/edge/table.json`.
    Kept(PathBuf),
    /// One written by hand; no other is taken.
    Fixed(RouteTable),
}

/// Limits of the edge.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a visitor may take to send a request head, counted from its first byte (from
    /// the connection's start for the first one).
    pub header_read: Duration,
    /// How long a connection may stay open between two requests.
    pub idle: Duration,
    /// The longest pause while a visitor sends a body.
    pub body_idle: Duration,
    /// Memory a request body may take until it is whole, in bytes; more of it goes to disk (nginx:
    /// 16 KiB, kamal-proxy: 1 MB).
    pub body_memory: usize,
    /// The same over all bodies; who finds it used up goes to disk with less.
    pub bodies_memory: u64,
    /// What all bodies may take on disk, in bytes; one that finds no room is refused.
    pub bodies_disk: u64,
    /// Free bytes that bodies leave on their file system.
    pub disk_reserve: u64,
    /// The longest pause in which a visitor takes nothing of an answer.
    pub write_idle: Duration,
    /// Open connections of visitors, over all workers.
    pub connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64, over all workers; 0: no limit.
    pub connections_per_address: usize,
    /// Whether visitors on this machine (127.0.0.0/8, `::1`) are free of that limit: a proxy
    /// beside the edge brings everybody's requests.
    pub loopback_is_exempt: bool,
    /// How long a connection to an app may take to open.
    pub connect: Duration,
    /// How long a connection to an app is kept for reuse; below gunicorn's two seconds, so that
    /// we close first.
    pub upstream_idle: Duration,
    /// Kept connections for each target and worker.
    pub upstream_kept: usize,
    /// How long open requests may go on after the shutdown began.
    pub shutdown: Duration,
    /// How long a connection without a request stays open after the shutdown began: its next
    /// request is answered and closes it in good order, where a close at once could cross it.
    pub linger: Duration,
    /// The same two after the listening sockets were handed to another edge, when nobody waits
    /// for our end: Nginx's old workers stay until their last visitor left.
    pub handed_over: Duration,
    /// See `linger`.
    pub handed_over_linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            body_memory: 64 * 1024,
            bodies_memory: 8 * 1024 * 1024,
            bodies_disk: 4 * 1024 * 1024 * 1024,
            disk_reserve: 256 * 1024 * 1024,
            write_idle: Duration::from_secs(30),
            connections: 4096,
            // A sixteenth of all, so that it takes sixteen machines to have them all. Some forty
            // browsers with HTTP/1.1 (six each) or 256 with HTTP/2 behind one address translation.
            connections_per_address: 256,
            loopback_is_exempt: true,
            connect: Duration::from_secs(2),
            upstream_idle: Duration::from_secs(1),
            upstream_kept: 32,
            shutdown: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            handed_over: Duration::from_secs(3600),
            handed_over_linger: Duration::from_secs(5),
        }
    }
}
