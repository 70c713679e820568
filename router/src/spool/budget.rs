//! A bound that all bodies share. What is held is given back when it is dropped, however the
//! request ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many bytes for everybody.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    left: AtomicU64,
}

/// One body's part of a budget.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(total: u64) -> Arc<Budget> {
        Arc::new(Budget {
            total,
            left: AtomicU64::new(total),
        })
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// A part of nothing, which can grow.
    pub(super) fn hold(self: &Arc<Budget>) -> Held {
        Held {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Held {
    /// Takes more, unless that is more than is left.
    pub(super) fn more(&mut self, bytes: u64) -> bool {
        let taken = self
            .budget
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes))
            .is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Relaxed);
    }
}
