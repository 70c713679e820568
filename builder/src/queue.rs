//! Who is next: one deployment of an app at a time, the newest waiting one first, and a bounded
//! number across apps. The queue itself is the store's list of unfinished deployments, so a
//! crash cannot lose it; what is here is only who is at work.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zarpar_model::{Deployment, EventKind, Outcome, Phase};

use crate::{Builder, Moved};

/// Deployments at work at once on this server. A build may take all memory of a small machine;
/// two would take it twice.
const AT_ONCE: usize = 1;

/// Takes deployments from the store and runs them.
#[derive(Clone)]
pub struct Queue {
    builder: Builder,
    wake: Arc<Notify>,
}

impl Queue {
    /// A queue in front of `builder`.
    pub fn new(builder: Builder) -> Queue {
        Queue {
            builder,
            wake: Arc::default(),
        }
    }

    /// What is told from now on when a deployment begins work and when it has ended, superseded
    /// ones and those that recovery ends included.
    pub fn watch(&self) -> broadcast::Receiver<Moved> {
        self.builder.moves.watch()
    }

    /// Says that a deployment was accepted, and which ones it took the place of. Call it after
    /// the store has them.
    pub fn accepted(&self, deployment: &Deployment, superseded: &[Deployment]) {
        let journal = self.builder.journal();
        journal.tell(
            deployment.id,
            EventKind::Accepted {
                deployment: deployment.id,
            },
        );
        for old in superseded {
            let text = format!(
                "deployment {} of a newer commit took its place\nhint: follow it with `zarpar deployments {} follow {}`",
                deployment.id, deployment.app, deployment.id
            );
            journal.tell(
                old.id,
                EventKind::Finished {
                    outcome: Outcome::Superseded,
                    text,
                },
            );
            self.builder.moves.tell(old);
        }
        self.wake.notify_one();
    }

    /// Runs until `stop`; deployments at work are dropped then, and recovery undoes them at the
    /// next start.
    pub async fn run(self, stop: CancellationToken) {
        let mut work: JoinSet<Deployment> = JoinSet::new();
        let mut busy: HashSet<zarpar_model::AppName> = HashSet::new();
        let mut told: HashSet<zarpar_model::DeploymentId> = HashSet::new();
        loop {
            match self.builder.durable(zarpar_store::Store::unfinished) {
                Ok(waiting) => self.start(waiting, &mut work, &mut busy, &mut told),
                Err(error) => tracing::error!(%error, "cannot read the queue"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                Some(done) = work.join_next() => match done {
                    Ok(deployment) => {
                        busy.remove(&deployment.app);
                        told.remove(&deployment.id);
                    }
                    Err(error) => {
                        // `deploy` catches panics; only a bug in it comes here.
                        tracing::error!(%error, "a deployment ended without a result");
                        busy.clear();
                    }
                },
            }
        }
    }

    fn start(
        &self,
        waiting: Vec<Deployment>,
        work: &mut JoinSet<Deployment>,
        busy: &mut HashSet<zarpar_model::AppName>,
        told: &mut HashSet<zarpar_model::DeploymentId>,
    ) {
        for deployment in waiting
            .into_iter()
            .filter(|deployment| deployment.phase == Phase::Queued)
        {
            if work.len() < AT_ONCE && busy.insert(deployment.app.clone()) {
                let builder = self.builder.clone();
                work.spawn(async move {
                    builder.deploy(&deployment).await;
                    deployment
                });
            } else if told.insert(deployment.id) {
                let reason = if busy.contains(&deployment.app) {
                    format!("another deployment of `{}` is at work", deployment.app)
                } else {
                    "a deployment of another app is at work".to_owned()
                };
                self.builder
                    .journal()
                    .tell(deployment.id, EventKind::Waiting { reason });
            }
        }
    }
}
