//! Back to the forge: a deployment of a commit whose app follows a repository, and has a token for
//! its forge, is told there when it begins and when it has ended. By whatever road it came.
//!
//! One worker an app, so the end is told after the beginning. Nothing of it is durable: news that a
//! forge does not take in the end, or that were on their way when the server stopped, are lost, and
//! the forge says `pending` until the next deployment of that commit.

use std::collections::HashMap;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zarpar_builder::Moved;
use zarpar_control::Secret;
use zarpar_model::{AppName, CommitId, Deployment, DeploymentId, DeploymentKind, Phase, show_span};
use zarpar_receiver::{Forge, Report, ReportState, report};

use super::Daemon;

/// News of one app that wait while its forge is slow; more are dropped.
const WAITING: usize = 16;

/// Tells until `stop`. `moves` is from before the recovery, which ends deployments too.
pub(super) async fn tell(
    daemon: Daemon,
    mut moves: broadcast::Receiver<Moved>,
    stop: CancellationToken,
) {
    let mut workers: HashMap<AppName, mpsc::Sender<Deployment>> = HashMap::new();
    // Whoever is at work when this ends is not waited for.
    let mut tasks = JoinSet::new();
    loop {
        let moved = tokio::select! {
            () = stop.cancelled() => return,
            moved = moves.recv() => moved,
        };
        let deployment = match moved {
            Ok(moved) => moved.deployment,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "deployments moved faster than forges were told");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        match daemon.store.source(&deployment.app) {
            Ok(Some(source)) if source.forge_token => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::error!(app = %deployment.app, %error, "cannot read where the app comes from");
                continue;
            }
        }
        let app = deployment.app.clone();
        let worker = workers.entry(app.clone()).or_insert_with(|| {
            let (sender, news) = mpsc::channel(WAITING);
            tasks.spawn(work(daemon.clone(), news));
            sender
        });
        if worker.try_send(deployment).is_err() {
            tracing::warn!(%app, "the forge takes news too slowly; some are not told");
        }
    }
}

async fn work(daemon: Daemon, mut news: mpsc::Receiver<Deployment>) {
    // GitHub's number of the record of the deployment that was told last.
    let mut record: Option<(DeploymentId, u64)> = None;
    while let Some(deployment) = news.recv().await {
        let begun = record
            .filter(|(id, _)| *id == deployment.id)
            .map(|(_, number)| number);
        match daemon.tell_forge(&deployment, begun).await {
            Ok(number) => record = number.map(|number| (deployment.id, number)),
            Err(error) => {
                let text = zarpar_model::explain(error.as_ref());
                tracing::warn!(app = %deployment.app, deployment = %deployment.id, "the forge is not told: {text}");
            }
        }
    }
}

impl Daemon {
    async fn tell_forge(
        &self,
        deployment: &Deployment,
        record: Option<u64>,
    ) -> anyhow::Result<Option<u64>> {
        let Some(commit) = self.commit_of(deployment)? else {
            return Ok(None);
        };
        // Read when it is told: the source may have gone or changed since.
        let secrets = self.store.source_secrets(&deployment.app)?;
        let token = secrets.and_then(|secrets| secrets.forge_token);
        let (Some(source), Some(token)) = (self.store.source(&deployment.app)?, token) else {
            return Ok(None);
        };
        let (state, description) = news(deployment);
        let news = Report {
            commit: &commit,
            context: format!("zarpar/{}", deployment.app),
            state,
            description,
            log_url: self.log_url(deployment),
            environment_url: self.site_url(&deployment.app).await?,
            record,
        };
        let forge = Forge {
            provider: source.provider,
            repository: &source.url,
            token: &Secret::new(token),
        };
        Ok(report(&forge, &news, &self.fetch).await?)
    }

    /// The commit that a deployment is about; of a rollback, once its release has it.
    fn commit_of(&self, deployment: &Deployment) -> anyhow::Result<Option<CommitId>> {
        Ok(match (&deployment.kind, deployment.release) {
            (DeploymentKind::Push { commit, .. } | DeploymentKind::Deploy { commit }, _) => {
                Some(commit.clone())
            }
            (DeploymentKind::Rollback { .. }, Some(number)) => {
                let release = self.store.release(&deployment.app, number)?;
                release.and_then(|release| release.commit)
            }
            (
                DeploymentKind::Rollback { .. }
                | DeploymentKind::Restart
                | DeploymentKind::Image { .. },
                _,
            ) => None,
        })
    }

    async fn site_url(&self, app: &AppName) -> anyhow::Result<Option<String>> {
        let Some(app) = self.store.app(app)? else {
            return Ok(None);
        };
        let sites = self.builder.sites(&app.domains).await;
        Ok(sites.into_iter().next().map(|site| site.url))
    }
}

/// What the forge shows. Never the reason of a failure: a commit's page may be public, and the
/// reason may repeat what the app printed.
fn news(deployment: &Deployment) -> (ReportState, String) {
    let id = deployment.id;
    match &deployment.phase {
        Phase::Queued | Phase::Working { .. } => (
            ReportState::Pending,
            format!("deployment {id} is under way"),
        ),
        Phase::Live => {
            let took = deployment
                .started_at
                .zip(deployment.finished_at)
                .map(|(start, end)| format!(" after {}", show_span(end.since(start))))
                .unwrap_or_default();
            let release = deployment
                .release
                .map_or_else(|| "it".to_owned(), |release| release.to_string());
            (ReportState::Success, format!("{release} is live{took}"))
        }
        Phase::Superseded => (
            ReportState::Error,
            format!("deployment {id} gave way to a newer one"),
        ),
        Phase::Cancelled { .. } => (ReportState::Error, format!("deployment {id} was cancelled")),
        Phase::Failed { phase, .. } => (
            ReportState::Failure,
            format!("deployment {id} failed while {phase}; the release before it serves on"),
        ),
    }
}
