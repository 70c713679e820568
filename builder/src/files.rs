//! An app's static files have no name from when a deployment collects them until its release
//! names them. A deployment reads the app's lock for that long; who removes files that no
//! release names writes it. A lock an app: deployments of two apps may be at work at once, and
//! one that failed does not wait for the other's build.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use zarpar_model::AppName;

/// The locks of all apps; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileLocks(Arc<Mutex<HashMap<AppName, Arc<RwLock<()>>>>>);

impl FileLocks {
    pub(crate) async fn collects(&self, app: &AppName) -> OwnedRwLockReadGuard<()> {
        self.of(app).read_owned().await
    }

    pub(crate) async fn removes(&self, app: &AppName) -> OwnedRwLockWriteGuard<()> {
        self.of(app).write_owned().await
    }

    fn of(&self, app: &AppName) -> Arc<RwLock<()>> {
        // Nothing in here can stop half-way.
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(app.clone()).or_default().clone()
    }
}
