//! A target and the requests it holds.
//!
//! Kept: one counter for each address, shared by every table that names it without a break. What
//! can never happen: a target reported as drained while a request holds it. A request counts
//! itself first and looks at the mark second; the swap publishes the table first, marks second
//! and reads the counter third. So either the request sees the mark and takes its count back, or
//! the waiter sees the count. A crash leaves nothing behind; connections die with the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

use crate::metrics::AppMetrics;
use crate::pool::ConnectError;
use crate::rotation::{self, Change, Rotation, Standing};

/// An address of an app.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    requests: AtomicU64,
    draining: AtomicBool,
    emptied: Notify,
    rotation: Rotation,
    /// Woken by the mark: tunnels end by themselves only when they know.
    marked: Notify,
}

/// A target that was chosen for a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) target: &'a Arc<Target>,
    pub(crate) standing: Standing,
}

/// A request's hold on its target, until the end of the answer's body.
#[derive(Debug)]
pub(crate) struct Claim(Arc<Target>, Standing);

impl Target {
    pub(crate) fn new(address: SocketAddr) -> Arc<Target> {
        Arc::new(Target {
            address,
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            emptied: Notify::new(),
            rotation: Rotation::default(),
            marked: Notify::new(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that hold it now.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(SeqCst)
    }

    pub(crate) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Holds the target; `None` when it fell out of the table, which must then be read again.
    pub(crate) fn begin(self: &Arc<Target>, standing: Standing) -> Option<Claim> {
        self.requests.fetch_add(1, SeqCst);
        // Dropped on the `None` path, which takes the count back.
        let claim = Claim(self.clone(), standing);
        (!self.draining.load(SeqCst)).then_some(claim)
    }

    /// Marks it. Called only after a table without it was published.
    pub(crate) fn drain(&self) {
        self.draining.store(true, SeqCst);
        self.marked.notify_waiters();
    }

    /// Waits until a marked target holds no request.
    pub(crate) async fn drained(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            // Registered before the look at the counter, or the last request could end between.
            emptied.as_mut().enable();
            if self.requests() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Claim {
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Whether this request finds out if a target that was out can be used again.
    pub(crate) fn is_trial(&self) -> bool {
        matches!(self.1, Standing::Trial(_))
    }

    /// The target took no connection.
    pub(crate) fn unreachable(&self, app: &AppMetrics, error: &ConnectError) {
        if let Some(Change::Left) = self.0.rotation.unreachable(self.1, rotation::now()) {
            app.target_left();
            let (app, address) = (app.name(), self.0.address);
            tracing::warn!(app, %address, %error, "a target takes no connections and leaves the rotation");
        }
    }

    /// A new connection to the target broke before any answer.
    pub(crate) fn broke(&self, app: &AppMetrics) {
        if let Some(Change::Left) = self.0.rotation.broke(self.1, rotation::now()) {
            app.target_left();
            let (app, address) = (app.name(), self.0.address);
            tracing::warn!(app, %address, "a target breaks its connections and leaves the rotation");
        }
    }

    /// The target answered, whatever it said.
    pub(crate) fn answered(&self, app: &AppMetrics) {
        if let Some(Change::Returned) = self.0.rotation.answered(self.1) {
            let (app, address) = (app.name(), self.0.address);
            tracing::info!(app, %address, "a target answers again and is back in the rotation");
        }
    }

    /// Requests that hold the same target, this one included.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests()
    }

    /// Waits until the target fell out of the table.
    pub(crate) async fn marked(&self) {
        let mut marked = std::pin::pin!(self.0.marked.notified());
        // Registered before the look, or the mark could be set between.
        marked.as_mut().enable();
        if !self.0.draining.load(SeqCst) {
            marked.await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, SeqCst) == 1 && self.0.draining.load(SeqCst) {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn drained_means_that_the_last_claim_is_gone() {
        let target = Target::new("127.0.0.1:1".parse().unwrap());
        let claims = [
            target.begin(Standing::In).unwrap(),
            target.begin(Standing::In).unwrap(),
        ];
        target.drain();
        assert!(target.begin(Standing::In).is_none());
        assert_eq!(target.requests(), 2);
        let [first, second] = claims;
        drop(first);
        let mut wait = std::pin::pin!(target.drained());
        assert!(
            tokio::time::timeout(Duration::from_millis(1), wait.as_mut())
                .await
                .is_err()
        );
        drop(second);
        wait.await;
    }

    #[test]
    fn no_claim_slips_through_a_mark_set_at_the_same_time() {
        for _ in 0..200 {
            let target = Target::new("127.0.0.1:1".parse().unwrap());
            let taken = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| target.begin(Standing::In)))
                    .collect();
                target.drain();
                let seen = target.requests();
                let taken: Vec<_> = threads
                    .into_iter()
                    .filter_map(|thread| thread.join().unwrap())
                    .collect();
                // What was taken was already counted when the counter was read.
                assert!(seen >= taken.len() as u64);
                taken
            });
            drop(taken);
            assert_eq!(target.requests(), 0);
        }
    }
}
