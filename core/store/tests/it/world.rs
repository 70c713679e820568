//! A store in a folder of its own; every check of a step goes with the store's invariants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zarpar_model::{
    App, AppName, AppSettings, Deployment, DeploymentKind, EnvKey, PhaseEvent, ProcessName,
    ProjectConfig, Release, ReleaseNumber, ReleaseState, Target, Timestamp, WorkPhase,
};
use zarpar_store::{OpenOptions, Store, StoreError};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn open(&self) -> Store {
        let store = self.try_open(Duration::from_secs(10)).unwrap();
        store.check_invariants().unwrap();
        store
    }

    pub(crate) fn try_open(&self, lock_patience: Duration) -> Result<Store, StoreError> {
        open_in(self.folder.path(), lock_patience)
    }
}

pub(crate) fn open_in(data: &Path, lock_patience: Duration) -> Result<Store, StoreError> {
    let options = OpenOptions {
        lock_patience,
        ballast: 1 << 20,
    };
    options.open(&data.join("state"), &data.join("key"))
}

pub(crate) fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

pub(crate) fn app(text: &str, domains: &[&str]) -> App {
    App {
        name: name(text),
        branch: "main".parse().unwrap(),
        domains: domains.iter().map(|d| d.parse().unwrap()).collect(),
        postgres: false,
        created_at: Timestamp(1),
        active: None,
        next_release: ReleaseNumber(1),
        scale: Vec::new(),
        maintenance: false,
    }
}

pub(crate) fn env(pairs: &[(&str, &str)]) -> BTreeMap<EnvKey, String> {
    pairs
        .iter()
        .map(|(key, value)| (key.parse().unwrap(), (*value).to_owned()))
        .collect()
}

pub(crate) fn changes(pairs: &[(&str, Option<&str>)]) -> Vec<(EnvKey, Option<String>)> {
    pairs
        .iter()
        .map(|(key, value)| (key.parse().unwrap(), value.map(str::to_owned)))
        .collect()
}

pub(crate) fn push() -> DeploymentKind {
    DeploymentKind::Push {
        commit: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
        branch: None,
    }
}

pub(crate) fn submit(store: &Store, app: &str) -> Deployment {
    let (deployment, _) = store
        .submit(&name(app), push(), "ana".to_owned(), Timestamp(10))
        .unwrap();
    deployment
}

pub(crate) fn targets(text: &str) -> Vec<Target> {
    vec![Target {
        process: ProcessName::web(),
        container: text.to_owned(),
        address: Some("172.18.0.2:8000".parse().unwrap()),
    }]
}

/// A deployment up to its candidate, probing.
pub(crate) fn candidate(store: &Store, app: &str) -> Release {
    let deployment = submit(store, app);
    let at = Timestamp(20);
    for step in [WorkPhase::Building, WorkPhase::Probing] {
        store
            .advance(deployment.id, PhaseEvent::Begin(step), at)
            .unwrap();
    }
    let number = store.reserve_release(&name(app), deployment.id).unwrap();
    let release = Release {
        app: name(app),
        number,
        deployment: deployment.id,
        commit: "0123456789abcdef0123456789abcdef01234567".parse().ok(),
        reference: None,
        origin: None,
        by: "ana".to_owned(),
        created_at: at,
        image: "sha256:00".to_owned(),
        project: ProjectConfig::default(),
        settings: AppSettings::default(),
        port: 8000,
        static_set: None,
        state: ReleaseState::Candidate,
        targets: Vec::new(),
    };
    store
        .put_candidate(&release, &env(&[("NUMBER", &number.to_string())]))
        .unwrap();
    store.check_invariants().unwrap();
    release
}

/// A deployment that went live.
pub(crate) fn live(store: &Store, app: &str) -> Release {
    let release = candidate(store, app);
    store
        .activate(
            &name(app),
            release.number,
            release.deployment,
            targets(&release.number.to_string()),
            Timestamp(30),
        )
        .unwrap();
    store.check_invariants().unwrap();
    store.release(&name(app), release.number).unwrap().unwrap()
}
