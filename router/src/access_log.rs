//! The access log: a line a request, made by the worker and written by a thread of its own.
//!
//! Kept: `access.log` and the three before it. What can never happen: a request that waits for
//! the disk, because a line that finds the queue full is dropped and counted. A crash loses the
//! lines of the last instant.

mod line;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

pub(crate) use line::Line;
pub(crate) use writer::Writer;

use crate::metrics::Metrics;

/// How the access log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The newest file, `<data>/logs/access.log`; older ones stand beside it as `access.log.1`
    /// to `access.log.3`.
    pub file: PathBuf,
    /// What a line looks like.
    pub format: LineFormat,
    /// Whether answers with static and uploaded files get a line.
    pub with_static: bool,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object.
    Json,
    /// Apache's combined format, as most tools read it.
    Combined,
}

/// A worker's way to the access log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    lines: SyncSender<String>,
    format: LineFormat,
    with_static: bool,
    metrics: Arc<Metrics>,
}

impl Log {
    pub(crate) fn with_static(&self) -> bool {
        self.with_static
    }

    /// Queues a line, or drops and counts it.
    pub(crate) fn put(&self, line: &Line<'_>) {
        match self.lines.try_send(line.text(self.format)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.lines_dropped(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_line_that_finds_the_queue_full_is_counted() {
        let (lines, queue) = sync_channel(2);
        let metrics = Arc::new(Metrics::default());
        let log = Log {
            lines,
            format: LineFormat::Json,
            with_static: false,
            metrics: metrics.clone(),
        };
        let line = Line {
            time: SystemTime::UNIX_EPOCH,
            app: "a",
            host: b"a.test",
            client: b"127.0.0.1",
            method: "GET",
            path: b"/",
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 0,
            took: Duration::ZERO,
            user_agent: None,
            referer: None,
            request_id: None,
        };
        for _ in 0..5 {
            log.put(&line);
        }
        assert_eq!(queue.try_iter().count(), 2);
        let text = metrics.text(&[]);
        assert!(
            text.contains("\nzarpar_edge_access_log_dropped_total 3\n"),
            "{text}"
        );
    }
}
