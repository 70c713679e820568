//! How long nothing has moved between a client and git.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When something last moved between client and git.
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`; `u64::MAX` when it does not matter any more.
    last: AtomicU64,
    /// Whether the client has sent anything.
    heard: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            began: Instant::now(),
            last: AtomicU64::new(0),
            heard: AtomicBool::new(false),
        }
    }

    /// Something moved.
    pub(super) fn made(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Keeps `u64::MAX`.
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// The client sent something.
    pub(super) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
        self.made();
    }

    /// From now on silence means nothing.
    pub(super) fn sent_all(&self) {
        self.last.store(u64::MAX, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for `idle`; for `first` while the client has sent nothing yet.
    pub(super) async fn stalled(&self, first: Duration, idle: Duration) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            if last == u64::MAX {
                return std::future::pending().await;
            }
            let heard = self.heard.load(Ordering::Relaxed);
            let due = self.began + Duration::from_millis(last) + if heard { idle } else { first };
            let now = Instant::now();
            if due <= now {
                return;
            }
            // The first byte may make it due earlier.
            tokio::time::sleep_until(due.min(now + idle)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_counts_from_the_last_move_until_all_was_sent() {
        let span = Duration::from_millis(100);
        let progress = Progress::new();
        let began = Instant::now();
        let moves = async {
            tokio::time::sleep(span / 2).await;
            progress.made();
        };
        tokio::join!(progress.stalled(span, span), moves);
        assert!(began.elapsed() >= span + span / 2);
        progress.sent_all();
        progress.heard();
        let stalled = tokio::time::timeout(span * 2, progress.stalled(span, span));
        assert!(stalled.await.is_err());
    }
}
