//! Who is next: one deployment of an app at a time, the oldest accepted one first, and a bounded
//! number across apps. The queue itself is the store's list of unfinished deployments, so a
//! crash cannot lose it; what is here is only who is at work.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zarpar_model::{AppName, Deployment, DeploymentId, EventKind, Outcome, Phase, PhaseEvent};
use zarpar_store::StoreError;

use crate::cancel::TooLate;
use crate::{Builder, Moved, now};

/// Below this a machine is small: a build may take all of its memory, and two would take it
/// twice. In bytes; what a machine that is sold with 4 GB has is a little above it.
const SMALL_MEMORY: u64 = 4_000_000_000;
/// Processors below which a machine is small.
const SMALL_CPUS: u64 = 4;

/// Takes deployments from the store and runs them.
#[derive(Clone)]
pub struct Queue {
    builder: Builder,
    at_once: NonZeroUsize,
    wake: Arc<Notify>,
}

/// Why a deployment is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// Its release answers visitors.
    #[error(
        "deployment {id} is live\nhint: `zarpar rollback {app}` goes back to the release before"
    )]
    Live {
        /// The deployment.
        id: DeploymentId,
        /// Its app.
        app: AppName,
    },
    /// It is over, or ends by itself at this moment.
    #[error(
        "deployment {id} has ended ({state})\nhint: `zarpar deployments follow {id}` shows how"
    )]
    Ended {
        /// The deployment.
        id: DeploymentId,
        /// Its state.
        state: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is at work.
#[derive(Default)]
struct Working {
    tasks: JoinSet<()>,
    by_task: HashMap<tokio::task::Id, (AppName, DeploymentId)>,
    /// What a deployment that waits was told last, so that it hears when that changes.
    told: HashMap<DeploymentId, String>,
}

impl Queue {
    /// A queue in front of `builder` that runs so many deployments at once, each of another app.
    pub fn new(builder: Builder, at_once: NonZeroUsize) -> Queue {
        Queue {
            builder,
            at_once,
            wake: Arc::default(),
        }
    }

    /// How many deployments run at once when nobody says: one on a small machine, else two.
    pub fn usual_at_once(cpus: u64, memory: u64) -> NonZeroUsize {
        if cpus < SMALL_CPUS || memory < SMALL_MEMORY {
            NonZeroUsize::MIN
        } else {
            NonZeroUsize::MIN.saturating_add(1)
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
                "deployment {} of a newer commit took its place, so this one never began\nhint: `zarpar deployments follow {}` shows it; if this commit shall be live too, `git pull --rebase` then and push again",
                deployment.id, deployment.id
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

    /// Ends a deployment that is not live; its log says when that is done. Said twice, it also
    /// cuts what would have got its end (`cancel.rs`).
    ///
    /// # Errors
    /// [`CancelError`].
    pub fn cancel(&self, deployment: &Deployment, by: String) -> Result<(), CancelError> {
        let (id, app) = (deployment.id, deployment.app.clone());
        if let Some(work) = self.builder.at_work.get(id) {
            return work.cancel(by).map_err(|why| match why {
                TooLate::Live => CancelError::Live { id, app },
                TooLate::Ending => CancelError::Ended {
                    id,
                    state: "it ends by itself".to_owned(),
                },
            });
        }
        let store =
            |store: &zarpar_store::Store| store.advance(id, PhaseEvent::Cancel(by.clone()), now());
        match self.builder.durable(store) {
            Ok(cancelled) => {
                self.builder.journal().tell(
                    id,
                    EventKind::Finished {
                        outcome: Outcome::Cancelled,
                        text: crate::error::cancelled(&cancelled, &by, None),
                    },
                );
                self.builder.moves.tell(&cancelled);
                self.wake.notify_one();
                Ok(())
            }
            Err(StoreError::Phase(_)) => {
                match self.builder.durable(|store| store.deployment(id))? {
                    Some(found) if found.phase == Phase::Live => Err(CancelError::Live { id, app }),
                    Some(found) => Err(CancelError::Ended {
                        id,
                        state: found.phase.to_string(),
                    }),
                    None => Err(CancelError::Ended {
                        id,
                        state: "gone with its app".to_owned(),
                    }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs until `stop`; deployments at work are dropped then, and recovery undoes them at the
    /// next start.
    pub async fn run(self, stop: CancellationToken) {
        let mut working = Working::default();
        loop {
            match self.builder.durable(zarpar_store::Store::unfinished) {
                Ok(waiting) => self.start(waiting, &mut working),
                Err(error) => tracing::error!(%error, "cannot read the queue"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                Some(done) = working.tasks.join_next_with_id() => {
                    let task = match done {
                        Ok((task, ())) => task,
                        Err(error) => {
                            // `deploy` catches panics; only a bug in it comes here.
                            tracing::error!(%error, "a deployment ended without a result");
                            error.id()
                        }
                    };
                    working.by_task.remove(&task);
                }
            }
        }
    }

    fn start(&self, unfinished: Vec<Deployment>, working: &mut Working) {
        let mut waiting = Vec::new();
        for deployment in unfinished
            .into_iter()
            .filter(|deployment| deployment.phase == Phase::Queued)
        {
            let at_work = working.by_task.values();
            let same = at_work.clone().find(|(app, _)| *app == deployment.app);
            let reason = if let Some((app, id)) = same {
                // Taken, and its first step is not recorded yet.
                if *id == deployment.id {
                    continue;
                }
                format!("deployment {id} of `{app}` is at work")
            } else if at_work.len() >= self.at_once.get() {
                let ids: Vec<String> = at_work
                    .map(|(app, id)| format!("{id} of `{app}`"))
                    .collect();
                format!(
                    "{} at work, as many as this server runs at once: {}",
                    if ids.len() == 1 {
                        "one deployment is"
                    } else {
                        "deployments are"
                    },
                    ids.join(", ")
                )
            } else {
                let builder = self.builder.clone();
                let named = (deployment.app.clone(), deployment.id);
                let task = working
                    .tasks
                    .spawn(async move { builder.deploy(&deployment).await });
                working.by_task.insert(task.id(), named);
                continue;
            };
            waiting.push((deployment.id, reason));
        }
        working
            .told
            .retain(|id, _| waiting.iter().any(|(waits, _)| waits == id));
        for (id, reason) in waiting {
            if working.told.get(&id) != Some(&reason) {
                let journal = self.builder.journal();
                working.told.insert(id, reason.clone());
                journal.tell(id, EventKind::Waiting { reason });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_build_one_at_a_time() {
        for (cpus, memory, expected) in [
            (1, 1 << 30, 1),
            (2, 32 << 30, 1),
            (8, 2 << 30, 1),
            (4, 4_100_000_000, 2),
            (64, 256 << 30, 2),
        ] {
            assert_eq!(Queue::usual_at_once(cpus, memory).get(), expected);
        }
    }
}
