//! The one door to a deployment: push, `zarpar deploy`, rollback and restart all come through
//! here. What it accepts is durable before it says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use zarpar_model::{
    App, AppName, CommitId, Deployment, DeploymentKind, ImageReference, PushedBranch, Release,
    ReleaseNumber, ReleaseState,
};
use zarpar_store::{Store, StoreError};

/// The door.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    /// Held from the look at what is under way to the acceptance, so that of two pushes of one
    /// commit the second finds the first.
    door: Arc<Mutex<()>>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It is durable and waits for its turn; the older ones that waited are overtaken.
    Accepted {
        /// The new deployment.
        deployment: Deployment,
        /// The overtaken ones.
        superseded: Vec<Deployment>,
    },
    /// This commit is on its way already, and nothing newer: whoever asks follows that deployment.
    UnderWay {
        /// The deployment.
        deployment: Deployment,
    },
    /// The commit is live already and nothing newer is on its way.
    AlreadyLive {
        /// The release that has it.
        release: ReleaseNumber,
    },
}

/// Why nothing is deployed.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// No such app.
    #[error(
        "there is no app `{0}`\nhint: `zarpar apps list` shows what there is, `zarpar apps create {0}` makes it"
    )]
    NoApp(AppName),
    /// Nothing was ever live.
    #[error("`{0}` has no release yet\nhint: push first: `git push production main`")]
    NoRelease(AppName),
    /// There is no earlier release.
    #[error(
        "`{app}` has no release with an older build than that of {active} to roll back to\nhint: `zarpar releases {app}` lists what is kept; `zarpar rollback {app} vN` takes any of them"
    )]
    NothingBefore {
        /// The app.
        app: AppName,
        /// The active release.
        active: ReleaseNumber,
    },
    /// No such release is kept.
    #[error(
        "`{app}` has no release `{release}` that can be rolled back to\nhint: `zarpar releases {app}` lists what is kept"
    )]
    NotKept {
        /// The app.
        app: AppName,
        /// The release that was named.
        release: ReleaseNumber,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Intake {
    /// A door to the deployments of `store`.
    pub fn new(store: Store) -> Intake {
        Intake {
            store,
            door: Arc::default(),
        }
    }

    /// Asks for a commit. A commit that is live already, with nothing newer on its way, is
    /// answered at once; a `Deploy` by hand is always done, since a person asked for it.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn commit(
        &self,
        app: &AppName,
        commit: CommitId,
        by: String,
        pushed: bool,
    ) -> Result<Submission, IntakeError> {
        if pushed {
            return self.push(app, commit, None, by);
        }
        self.app(app)?;
        self.submit(app, DeploymentKind::Deploy { commit }, by)
    }

    /// Asks for a commit that was pushed; `branch` moves to it once it is live.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn push(
        &self,
        app: &AppName,
        commit: CommitId,
        branch: Option<PushedBranch>,
        by: String,
    ) -> Result<Submission, IntakeError> {
        let _alone = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.app(app)?;
        if let Some(deployment) = self.under_way(app, &commit, branch.as_ref())? {
            return Ok(Submission::UnderWay { deployment });
        }
        if let Some(release) = self.live_with(&record, &commit)? {
            return Ok(Submission::AlreadyLive { release });
        }
        self.submit(app, DeploymentKind::Push { commit, branch }, by)
    }

    /// Asks for an image that was built elsewhere.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn image(
        &self,
        app: &AppName,
        reference: ImageReference,
        by: String,
    ) -> Result<Submission, IntakeError> {
        self.app(app)?;
        self.submit(app, DeploymentKind::Image { reference }, by)
    }

    /// Asks for an earlier release; without a number, for the newest one with an older build than
    /// the active one. A rollback or restart counts as the build it repeats, so saying it twice
    /// goes back twice.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn rollback(
        &self,
        app: &AppName,
        to: Option<ReleaseNumber>,
        by: String,
    ) -> Result<Submission, IntakeError> {
        let record = self.app(app)?;
        let active = record
            .active
            .ok_or_else(|| IntakeError::NoRelease(app.clone()))?;
        let releases = self.store.releases(app)?;
        let to = match to {
            Some(to) if to != active && releases.iter().any(|release| release.number == to) => to,
            Some(release) => {
                return Err(IntakeError::NotKept {
                    app: app.clone(),
                    release,
                });
            }
            None => {
                // What a release goes back to: itself, or what it repeats.
                let root = |release: &Release| release.origin.unwrap_or(release.number);
                let active_root = releases
                    .iter()
                    .find(|release| release.number == active)
                    .map_or(active, root);
                let earlier = releases.iter().filter(|release| {
                    matches!(
                        release.state,
                        ReleaseState::Draining | ReleaseState::Retired
                    ) && root(release) < active_root
                });
                earlier.map(|release| release.number).max().ok_or_else(|| {
                    IntakeError::NothingBefore {
                        app: app.clone(),
                        active,
                    }
                })?
            }
        };
        self.submit(app, DeploymentKind::Rollback { to }, by)
    }

    /// Asks for the active release with the variables, hosts and scale of now.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn restart(&self, app: &AppName, by: String) -> Result<Submission, IntakeError> {
        self.app(app)?
            .active
            .ok_or_else(|| IntakeError::NoRelease(app.clone()))?;
        self.submit(app, DeploymentKind::Restart, by)
    }

    fn submit(
        &self,
        app: &AppName,
        kind: DeploymentKind,
        by: String,
    ) -> Result<Submission, IntakeError> {
        let at = SystemTime::now().into();
        let (deployment, superseded) =
            tokio::task::block_in_place(|| self.store.submit(app, kind, by, at))?;
        Ok(Submission::Accepted {
            deployment,
            superseded,
        })
    }

    fn app(&self, app: &AppName) -> Result<App, IntakeError> {
        self.store
            .app(app)?
            .ok_or_else(|| IntakeError::NoApp(app.clone()))
    }

    /// The newest unfinished deployment of the app, when it is a push of this commit that moves
    /// the same branch.
    fn under_way(
        &self,
        app: &AppName,
        commit: &CommitId,
        branch: Option<&PushedBranch>,
    ) -> Result<Option<Deployment>, StoreError> {
        let mut unfinished = self.store.unfinished()?;
        unfinished.retain(|deployment| deployment.app == *app);
        Ok(unfinished.pop().filter(|newest| match &newest.kind {
            DeploymentKind::Push {
                commit: found,
                branch: moves,
            } => {
                let same = |wanted: &PushedBranch| {
                    moves
                        .as_ref()
                        .is_some_and(|moves| moves.name == wanted.name)
                };
                found == commit && branch.is_none_or(same)
            }
            _ => false,
        }))
    }

    fn live_with(&self, app: &App, commit: &CommitId) -> Result<Option<ReleaseNumber>, StoreError> {
        let Some(active) = app.active else {
            return Ok(None);
        };
        let busy = self
            .store
            .unfinished()?
            .iter()
            .any(|deployment| deployment.app == app.name);
        let same = self
            .store
            .release(&app.name, active)?
            .is_some_and(|release| release.commit.as_ref() == Some(commit));
        Ok((same && !busy).then_some(active))
    }
}
