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

/// An address of an app.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    requests: AtomicU64,
    draining: AtomicBool,
    emptied: Notify,
    /// Woken by the mark: tunnels end by themselves only when they know.
    marked: Notify,
}

/// A request's hold on its target, until the end of the answer's body.
#[derive(Debug)]
pub(crate) struct Claim(Arc<Target>);

impl Target {
    pub(crate) fn new(address: SocketAddr) -> Arc<Target> {
        Arc::new(Target {
            address,
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            emptied: Notify::new(),
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

    /// Holds the target; `None` when it fell out of the table, which must then be read again.
    pub(crate) fn begin(self: &Arc<Target>) -> Option<Claim> {
        self.requests.fetch_add(1, SeqCst);
        // Dropped on the `None` path, which takes the count back.
        let claim = Claim(self.clone());
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
        let claims = [target.begin().unwrap(), target.begin().unwrap()];
        target.drain();
        assert!(target.begin().is_none());
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
                let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| target.begin())).collect();
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
