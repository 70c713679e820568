//! A request body that remembers why it failed.
//!
//! When a body fails, HTTP only breaks off, and the engine complains about a
//! truncated archive. The real reason stays here and is told instead.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Where a body leaves the error that ended it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The stream as before, with its first error kept here.
    pub(crate) fn watch(
        &self,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let failure = self.clone();
        body.map(move |item| {
            item.map_err(|error| {
                let told = io::Error::from(error.kind());
                failure.slot().get_or_insert(error);
                told
            })
        })
    }

    /// The error that ended the body, if one did.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<io::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
