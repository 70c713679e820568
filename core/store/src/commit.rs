//! The one way to change rows. A note survives a kill of the process; a commit survives a power
//! cut as well; an exported commit is in the export too. The first write that fails ends all
//! writing: what sled holds after it is not known to be on disk, and more writes would build
//! upon it. Reads go on, so routes can still be told to the edge.

use std::ops::Deref;
use std::sync::{PoisonError, RwLockWriteGuard};

use serde::Serialize;

use crate::counters;
use crate::rows::{Changes, Rows, Table};
use crate::{Store, StoreError, export};

/// Whether a write is still made when the disk is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It begins or adds something: refused.
    Begin,
    /// It ends something: made, in the room the ballast leaves.
    End,
}

/// The right to change rows, held by one caller at a time. Dropped before it is committed, it
/// changes nothing.
pub(crate) struct Writer<'s> {
    store: &'s Store,
    rows: RwLockWriteGuard<'s, Rows>,
    changes: Changes,
}

impl Store {
    pub(crate) fn writer(&self, purpose: Purpose) -> Result<Writer<'_>, StoreError> {
        let rows = self
            .inner
            .rows
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = self.fault() {
            return Err(StoreError::Poisoned {
                reason: reason.to_owned(),
            });
        }
        let mut ballast = self
            .inner
            .ballast
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match purpose {
            Purpose::Begin => ballast.admit()?,
            Purpose::End => ballast.make_room(),
        }
        Ok(Writer {
            store: self,
            rows,
            changes: Changes::default(),
        })
    }

    fn poison(&self, error: &StoreError) {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        tracing::error!(%reason, "a write failed, the store takes no more changes");
        if error.is_disk_full() {
            let mut ballast = self
                .inner
                .ballast
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // The next start needs room to open the database.
            ballast.release();
        }
        let _first_reason_stays = self.inner.fault.set(reason);
    }
}

impl Writer<'_> {
    pub(crate) fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: impl Into<String>,
        value: &T,
    ) -> Result<(), StoreError> {
        self.changes.put(table, key, value)
    }

    pub(crate) fn put_bytes(&mut self, table: Table, key: impl Into<String>, bytes: Vec<u8>) {
        self.changes.put_bytes(table, key, bytes);
    }

    pub(crate) fn remove(&mut self, table: Table, key: impl Into<String>) {
        self.changes.remove(table, key);
    }

    pub(crate) fn remove_all(&mut self, table: Table, prefix: &str) -> Result<(), StoreError> {
        self.rows.remove_all(&mut self.changes, table, prefix)
    }

    /// Makes the changes survive a kill of this process.
    pub(crate) fn note(self) -> Result<(), StoreError> {
        self.rows
            .write(&self.changes)
            .inspect_err(|error| self.store.poison(error))
    }

    /// Makes the changes, and all notes before them, survive a power cut.
    pub(crate) fn commit(self) -> Result<(), StoreError> {
        self.rows
            .write(&self.changes)
            .and_then(|()| self.rows.sync())
            .inspect_err(|error| self.store.poison(error))
    }

    /// A commit of what the export holds too: apps, env, releases, tokens, ceilings.
    pub(crate) fn commit_and_export(mut self) -> Result<(), StoreError> {
        let generation = counters::export_generation(&self.rows)? + 1;
        counters::put_export_generation(&mut self.changes, generation)?;
        self.rows
            .write(&self.changes)
            .and_then(|()| self.rows.sync())
            .inspect_err(|error| self.store.poison(error))?;
        // The change is durable, so it is told as done; but there is no second copy of it, so
        // it was the last one.
        if let Err(error) = export::write(&self.store.inner.export, &self.rows, generation) {
            self.store.poison(&error);
        }
        Ok(())
    }
}

impl Deref for Writer<'_> {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.rows
    }
}
