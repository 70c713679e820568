//! From a durable deployment to a release that answers requests: the pipeline of one push, the
//! queue before it, and the recovery after a crash.
//!
//! What can never happen: two deployments of one app at a time; an app without its old release
//! because a new one failed; a visible change before the record of it is durable. What a crash
//! leaves behind is named by the store or carries the deployment's label, and [`Builder::recover`]
//! finishes or removes it.

mod branch;
mod build;
mod cancel;
mod candidate;
mod checkout;
mod context;
mod dockerfile;
mod dockerignore;
mod edge;
mod env;
mod error;
mod files;
mod foresight;
mod health;
mod hold;
mod journal;
mod make;
mod moves;
mod one_off;
mod pipeline;
mod plan;
mod prebuilt;
mod precompress;
mod queue;
mod recovery;
mod release_tasks;
mod retention;
mod static_store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;
use zarpar_engine::Engine;
use zarpar_model::{
    App, AppName, CommitId, ConsoleRoute, DeploymentId, EnvKey, EventKind, Instance, ProjectConfig,
    Release, ReleaseNumber, Timestamp,
};
use zarpar_services::Postgres;
use zarpar_store::Store;

pub use branch::BranchError;
pub use checkout::{Checkout, CheckoutError};
pub use env::{Site, Surroundings};
pub use error::DeployError;
pub use journal::{Follower, Journal};
pub use moves::Moved;
pub use plan::{Plan, PlanError};
pub use precompress::{Summary, compress_static};
pub use queue::{CancelError, Queue};
pub use static_store::{StaticError, StaticStore};

/// Everything a deployment needs; clones share it.
#[derive(Clone)]
pub struct Builder {
    store: Store,
    engine: Engine,
    instance: Instance,
    journal: Journal,
    surroundings: Surroundings,
    folders: Folders,
    /// Held while a table is made and sent, so that generations reach the edge in order.
    table: Arc<Mutex<()>>,
    /// Between who collects an app's static files and who removes some.
    files: files::FileLocks,
    /// Apps whose new requests wait.
    holds: hold::Holds,
    /// Which deployments are at work, and may be cancelled.
    at_work: cancel::AtWork,
    /// Who watches deployments begin and end.
    moves: moves::Moves,
    /// Drains go on after a deployment has ended.
    retiring: tokio_util::task::TaskTracker,
    /// Held while static files are compressed: one processor at a time is enough for that.
    compressing: Arc<Mutex<()>>,
}

/// Where the builder finds and keeps files, and what else it finds where.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Bare repositories, `<app>.git`.
    pub repositories: PathBuf,
    /// Static files, one folder an app.
    pub static_files: PathBuf,
    /// The edge's control socket.
    pub edge_socket: PathBuf,
    /// Where the edge finds the control plane, when it has a host of its own.
    pub console: Option<ConsoleRoute>,
}

impl Builder {
    /// Puts the parts together; starts nothing.
    pub fn new(
        store: Store,
        engine: Engine,
        instance: Instance,
        journal: Journal,
        surroundings: Surroundings,
        folders: Folders,
    ) -> Builder {
        Builder {
            store,
            engine,
            instance,
            journal,
            surroundings,
            folders,
            table: Arc::default(),
            files: files::FileLocks::default(),
            holds: hold::Holds::default(),
            at_work: cancel::AtWork::default(),
            moves: moves::Moves::default(),
            retiring: tokio_util::task::TaskTracker::new(),
            compressing: Arc::default(),
        }
    }

    /// The logs of deployments.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The names in Docker.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The bare repository of an app.
    pub fn repository(&self, app: &AppName) -> PathBuf {
        self.folders.repositories.join(format!("{app}.git"))
    }

    /// The managed Postgres of an app.
    pub fn postgres(&self, app: &AppName) -> Postgres {
        Postgres::new(self.engine.clone(), self.instance.clone(), app.clone())
    }

    /// The static files of an app.
    pub fn static_store(&self, app: &AppName) -> StaticStore {
        StaticStore::new(self.folders.static_files.join(app.as_str()))
    }

    /// The environment of a release's containers, with the secrets, hosts and address of now.
    pub(crate) async fn environment(
        &self,
        app: &App,
        own: &BTreeMap<EnvKey, String>,
        number: ReleaseNumber,
        commit: Option<&CommitId>,
        port: u16,
    ) -> Result<Vec<(String, String)>, DeployError> {
        let secrets = self.store.secrets(&app.name)?;
        let sites = self.sites(&app.domains).await;
        let release = (number, commit, port);
        let all = env::environment(app, own, &secrets, &self.surroundings, &sites, release);
        Ok(all)
    }

    /// What the containers of a made release are started with.
    pub(crate) fn draft<'a>(
        &self,
        app: &'a App,
        release: &Release,
        env: Vec<(String, String)>,
        journal: Option<&'a Journal>,
    ) -> Draft<'a> {
        Draft {
            journal,
            app,
            deployment: release.deployment,
            number: release.number,
            image: release.image.clone(),
            user: (release.settings.uid, release.settings.gid),
            django: false,
            project: release.project.clone(),
            env,
        }
    }

    /// Runs a call to the store off the async threads: it waits for the disk.
    pub(crate) fn durable<T>(&self, call: impl FnOnce(&Store) -> T) -> T {
        tokio::task::block_in_place(|| call(&self.store))
    }
}

/// A release in the making: what its containers are started with.
pub(crate) struct Draft<'a> {
    /// Where its output goes; nowhere when recovery starts what was live before.
    pub(crate) journal: Option<&'a Journal>,
    pub(crate) app: &'a App,
    pub(crate) deployment: DeploymentId,
    pub(crate) number: ReleaseNumber,
    pub(crate) image: String,
    pub(crate) user: (u32, u32),
    pub(crate) django: bool,
    pub(crate) project: ProjectConfig,
    pub(crate) env: Vec<(String, String)>,
}

impl Draft<'_> {
    pub(crate) fn tell(&self, kind: EventKind) {
        if let Some(journal) = self.journal {
            journal.tell(self.deployment, kind);
        }
    }
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}
