//! Repositories between deployments: commits of kept releases stay findable, and packs are joined
//! when there are many. Keeps nothing but which apps are due; the store's records say the rest, so
//! what a crash interrupts is done after the next deployment or at the next start.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use zarpar_builder::Moved;
use zarpar_model::{AppName, DeploymentKind};
use zarpar_receiver::{Kept, RepackRules, Repacked};

use super::Daemon;

/// Silence after deployments before repositories are repacked: the pushes that they came with have
/// ended by then, and whoever pushes several apps in a row is not slowed down.
const QUIET: Duration = Duration::from_secs(20);

/// Takes care until `stop`. `moves` was asked for before the first deployment could end.
pub(crate) async fn run(
    daemon: Daemon,
    mut moves: broadcast::Receiver<Moved>,
    stop: CancellationToken,
) {
    let mut due = BTreeSet::new();
    daemon.keep_all(&mut due).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            moved = moves.recv() => match moved {
                Ok(Moved { deployment }) => {
                    daemon.keep_commits(&deployment.app).await;
                    due.insert(deployment.app);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => daemon.keep_all(&mut due).await,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep(QUIET), if !due.is_empty() => {
                if let Some(app) = due.pop_first() {
                    // Ends with the server; git leaves the repository as it was.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        done = daemon.repack(&app) => if !done { due.insert(app); },
                    }
                }
            }
        }
    }
}

impl Daemon {
    async fn keep_all(&self, due: &mut BTreeSet<AppName>) {
        match self.store.apps() {
            Ok(apps) => {
                for app in apps {
                    self.keep_commits(&app.name).await;
                    due.insert(app.name);
                }
            }
            Err(error) => tracing::error!(%error, "cannot read which commits to keep"),
        }
    }

    /// Makes the references agree with the records.
    async fn keep_commits(&self, app: &AppName) -> bool {
        let kept = match self.kept(app) {
            Ok(Some(kept)) => kept,
            // Destroyed meanwhile.
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%app, %error, "cannot read which commits to keep");
                return false;
            }
        };
        let done = self.repositories.keep(app, &kept).await;
        if let Err(error) = &done {
            tracing::error!(%app, %error, "commits of releases are not kept");
        }
        done.is_ok()
    }

    fn kept(&self, app: &AppName) -> anyhow::Result<Option<Kept>> {
        if self.store.app(app)?.is_none() {
            return Ok(None);
        }
        let mut kept = Kept::default();
        for release in self.store.releases(app)? {
            if let Some(commit) = &release.commit {
                kept.release(release.number, commit);
            }
        }
        for deployment in self.store.unfinished()? {
            if let DeploymentKind::Push { commit, .. } | DeploymentKind::Deploy { commit, .. } =
                &deployment.kind
                && deployment.app == *app
            {
                kept.deployment(deployment.id, commit);
            }
        }
        Ok(Some(kept))
    }

    /// Whether it need not be tried again.
    async fn repack(&self, app: &AppName) -> bool {
        let busy = self
            .store
            .unfinished()
            .map_or(true, |all| all.iter().any(|one| one.app == *app));
        if busy {
            return false;
        }
        // Never without the references of now.
        if !self.keep_commits(app).await {
            return true;
        }
        match self.repositories.repack(app, &RepackRules::default()).await {
            Ok(Repacked::Busy) => false,
            Ok(Repacked::NotNeeded) => true,
            Ok(done) => {
                tracing::info!(%app, ?done, "the repository was repacked");
                true
            }
            Err(error) => {
                tracing::warn!(%app, %error, "the repository could not be repacked; it works as before");
                true
            }
        }
    }
}
