//! Everything zarpar must still know after a crash: apps, their sealed env, releases,
//! deployments, tokens. This is the only crate that names sled.
//!
//! What is promised: an operation that returned `Ok` survives `kill -9`, and all but the notes
//! of a deployment's progress survive a power cut. An operation is one batch, so a crash leaves
//! all of it or nothing. The pointer [`App::active`](zarpar_model::App) never names a release
//! that is not `Active`. Env values are never on disk in the clear.
//! What a crash leaves behind is at most a `state.new` folder or an export's `.tmp` file; both
//! are removed at the next open.

#![warn(missing_docs)]

mod apps;
mod ballast;
mod commit;
mod counters;
mod database;
mod deliveries;
mod deployments;
mod env;
mod error;
mod export;
mod folder;
mod invariants;
mod key;
mod lock;
mod open;
mod releases;
mod rows;
mod sealed;
mod sources;
mod ssh_keys;
mod tokens;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

pub use deliveries::{NewDelivery, Recorded};
pub use error::StoreError;
pub use open::{OpenOptions, Restored};
pub use sources::SourceSecrets;

use ballast::Ballast;
use lock::Lock;
use rows::Rows;
use sealed::Sealer;

/// The store: a cheap handle, all clones share one database.
///
/// Every call blocks on the disk; async callers wrap it in `block_in_place`. Reads wait for a
/// commit that is being written, so nobody ever acts on a change that is not durable yet.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: the database is closed before the lock is given back.
struct Inner {
    /// One lock for readers and the one writer. It is held over the whole of a commit, disk
    /// included, and its guard is what a read-modify-write is atomic by.
    rows: RwLock<Rows>,
    sealer: Sealer,
    /// Set by the first failed write and never cleared: sled's own state is undefined from then.
    fault: OnceLock<String>,
    ballast: Mutex<Ballast>,
    /// Route table generations that are reserved and not handed out yet.
    generations: Mutex<Range<u64>>,
    export: PathBuf,
    restored: Option<Restored>,
    _lock: Lock,
}

impl Store {
    /// What was lost and found again when the store was opened; `None` for an ordinary start.
    pub fn restored(&self) -> Option<&Restored> {
        self.inner.restored.as_ref()
    }

    /// Why the store takes no more changes; `None` while it does.
    pub fn fault(&self) -> Option<&str> {
        self.inner.fault.get().map(String::as_str)
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        // A reader or a caller's closure that panicked changed nothing: writes happen in
        // `commit` alone, and it turns a panic of sled into a fault.
        self.inner
            .rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
