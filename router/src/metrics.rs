//! What the edge counts, and how it is written for Prometheus.
//!
//! Kept, in memory alone: for every app that was in a table since the start, and for requests
//! that no app answers (`-`), a block of counters for each worker. What can never happen: a
//! request that waits for a lock or for another worker, because each adds to its own block and
//! sums are made by who reads. A restart begins at zero, which Prometheus expects of counters.

mod text;

pub(crate) use text::Expiry;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Blocks of counters. More workers than that share them, which is slower and not wrong.
const SHARDS: usize = 4;
/// The upper ends of the histogram's buckets in microseconds: those of Prometheus' own clients.
const BUCKETS: [u64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
/// The name of requests that no app answers: unknown hosts, and what is refused before.
const NOBODY: &str = "-";

/// All counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Locked when a table is built and when somebody reads; never by a request.
    apps: Mutex<BTreeMap<Box<str>, Arc<AppMetrics>>>,
    nobody: Arc<AppMetrics>,
    connections: [Connections; SHARDS],
    /// Lines of the access log that were not written.
    dropped: AtomicU64,
    /// Connections of addresses that had as many as they may.
    refused: AtomicU64,
}

/// The counters of one app.
#[derive(Debug)]
pub(crate) struct AppMetrics {
    name: Box<str>,
    /// How often a target left the rotation; rare, so it is one for all workers.
    targets_left: AtomicU64,
    shards: [Shard; SHARDS],
}

/// What one worker counts for one app; on cache lines of its own, also for processors that
/// fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// Answers by the first digit of their status.
    classes: [AtomicU64; 5],
    /// Answers by duration, each in one bucket; the last one is for longer ones.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    bytes: AtomicU64,
}

/// Connections of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Connections {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// An answer that ended.
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// Of its body.
    pub(crate) bytes: u64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            apps: Mutex::default(),
            nobody: Arc::new(AppMetrics::new(NOBODY)),
            connections: Default::default(),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// The counters of an app: the same ones for the same name, whatever table it is in.
    pub(crate) fn app(&self, name: &str) -> Arc<AppMetrics> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let app = apps
            .entry(name.into())
            .or_insert_with(|| Arc::new(AppMetrics::new(name)));
        app.clone()
    }

    /// The counters of requests that no app answers.
    pub(crate) fn nobody(&self) -> &Arc<AppMetrics> {
        &self.nobody
    }

    pub(crate) fn connection_opened(&self, worker: usize) {
        self.connections[worker % SHARDS]
            .opened
            .fetch_add(1, Relaxed);
    }

    pub(crate) fn connection_closed(&self, worker: usize) {
        self.connections[worker % SHARDS]
            .closed
            .fetch_add(1, Relaxed);
    }

    /// Counts a connection that its address may not have.
    pub(crate) fn connection_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Counts lines of the access log that were not written.
    pub(crate) fn lines_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
    }
}

impl AppMetrics {
    fn new(name: &str) -> AppMetrics {
        AppMetrics {
            name: name.into(),
            targets_left: AtomicU64::new(0),
            shards: Default::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a target that left the rotation.
    pub(crate) fn target_left(&self) {
        self.targets_left.fetch_add(1, Relaxed);
    }

    /// Counts a request as in flight.
    pub(crate) fn begun(&self, worker: usize) {
        self.shards[worker % SHARDS].begun.fetch_add(1, Relaxed);
    }

    /// Counts the end of a request that has begun.
    pub(crate) fn ended(&self, worker: usize, answer: &Ended) {
        let shard = &self.shards[worker % SHARDS];
        let class = usize::from(answer.status / 100).clamp(1, 5) - 1;
        let micros = u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|&end| end < micros);
        shard.classes[class].fetch_add(1, Relaxed);
        shard.buckets[bucket].fetch_add(1, Relaxed);
        shard.micros.fetch_add(micros, Relaxed);
        shard.bytes.fetch_add(answer.bytes, Relaxed);
        shard.ended.fetch_add(1, Relaxed);
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        let values = self.shards.iter().map(|shard| counter(shard).load(Relaxed));
        values.fold(0, u64::wrapping_add)
    }
}
