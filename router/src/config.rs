//! What the edge is told at start. The limits are the numbers of the design (nginx's where
//! nginx has one); they can be changed so that a test need not wait for them.

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

/// Settings of an edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Where the last table is kept, `<data>/edge/table.json`.
    pub table_file: PathBuf,
    /// Worker threads.
    pub workers: usize,
    /// Limits that protect visitors from each other.
    pub limits: Limits,
}

impl EdgeConfig {
    /// The defaults: as many workers as processors, at most four.
    pub fn new(table_file: PathBuf) -> EdgeConfig {
        EdgeConfig {
            table_file,
            workers: available_parallelism().map_or(1, |count| count.get().min(4)),
            limits: Limits::default(),
        }
    }
}

/// Limits of the edge.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a visitor may take to send a request head, counted from its first byte (from
    /// the connection's start for the first one).
    pub header_read: Duration,
    /// How long a connection may stay open between two requests.
    pub idle: Duration,
    /// The longest pause while a visitor sends a body.
    pub body_idle: Duration,
    /// The longest pause in which a visitor takes nothing of an answer.
    pub write_idle: Duration,
    /// Open connections of visitors, over all workers.
    pub connections: usize,
    /// How long a connection to an app may take to open.
    pub connect: Duration,
    /// How long a connection to an app is kept for reuse; below gunicorn's two seconds, so that
    /// we close first.
    pub upstream_idle: Duration,
    /// Kept connections for each target and worker.
    pub upstream_kept: usize,
    /// How long open requests may go on after the shutdown began.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            connections: 4096,
            connect: Duration::from_secs(2),
            upstream_idle: Duration::from_secs(1),
            upstream_kept: 32,
            shutdown: Duration::from_secs(30),
        }
    }
}
