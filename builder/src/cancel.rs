//! A deployment that somebody ends before it is live.
//!
//! Kept, in memory alone: for each deployment at work, whether it may still be cancelled and by
//! whom it was. One lock decides between a cancel and the swap: whoever comes first. What can
//! never happen: a release that is recorded as active by a deployment that was cancelled. A
//! crash in the middle leaves a deployment at work, which recovery undoes and ends as failed.
//!
//! **What becomes of the work.** It is dropped where it stands: the engine aborts a build when
//! its connection is cut, and the sweep by label removes what was made. Containers that are just
//! being created are waited for, or the sweep would come too early. Release tasks are told to
//! end: a migration in a transaction is cut and the database rolls it back; one that is not, or
//! that is just being committed, gets its end, and the next one does not begin (`driver.py`).
//! A task of the project's own gets SIGTERM, and 10 s. Whoever cancels a second time ends also
//! what would have got its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use zarpar_engine::{ContainerSpec, EngineError, Label};
use zarpar_model::{
    Deployment, DeploymentId, EventKind, LABEL_DEPLOYMENT, LABEL_INSTANCE, LABEL_PROCESS,
};

use crate::Builder;
use crate::error::DeployError;

/// What a task of the project's own gets to end.
const GRACE: Duration = Duration::from_secs(10);
/// What the engine may take to see that a build was cut; an image that was finished at that moment
/// is there then.
const ABORT: Duration = Duration::from_secs(2);
/// What tells the driver to end (`driver.py`); said again, since an interpreter that only starts
/// does not hear it.
const END: &str = "SIGUSR2";
const AGAIN: Duration = Duration::from_millis(500);
/// After this, whoever waits is told for what.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a deployment is not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooLate {
    /// Its release is active, or is just being recorded so.
    Live,
    /// It ends by itself already.
    Ending,
}

/// The deployments at work; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<HashMap<DeploymentId, Arc<Work>>>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Work {
    state: Mutex<State>,
    /// How many times it was cancelled.
    asked: watch::Sender<u32>,
    /// Containers that are being created.
    creations: TaskTracker,
    /// Whether its release tasks run in our driver.
    drives: AtomicBool,
}

#[derive(Debug)]
enum State {
    Open,
    Cancelled(String),
    Closed(TooLate),
}

impl AtWork {
    pub(crate) fn begin(&self, id: DeploymentId) -> Arc<Work> {
        let work = Arc::new(Work {
            state: Mutex::new(State::Open),
            asked: watch::Sender::new(0),
            creations: TaskTracker::new(),
            drives: AtomicBool::new(false),
        });
        lock(&self.0).insert(id, work.clone());
        work
    }

    pub(crate) fn get(&self, id: DeploymentId) -> Option<Arc<Work>> {
        lock(&self.0).get(&id).cloned()
    }

    pub(crate) fn end(&self, id: DeploymentId) {
        lock(&self.0).remove(&id);
    }
}

impl Work {
    /// Ends the work, or what of it still runs when it was cancelled before.
    pub(crate) fn cancel(&self, by: String) -> Result<(), TooLate> {
        let mut state = lock(&self.state);
        match &*state {
            State::Open => *state = State::Cancelled(by),
            State::Cancelled(_) => {}
            State::Closed(why) => return Err(*why),
        }
        self.asked.send_modify(|times| *times += 1);
        Ok(())
    }

    /// From here on it cannot be cancelled; says by whom it was before.
    pub(crate) fn close(&self, why: TooLate) -> Option<String> {
        let mut state = lock(&self.state);
        match &*state {
            State::Cancelled(by) => Some(by.clone()),
            State::Open | State::Closed(_) => {
                *state = State::Closed(why);
                None
            }
        }
    }

    /// Until it is cancelled so many times; maybe for ever.
    pub(crate) async fn cancelled(&self, times: u32) {
        let mut asked = self.asked.subscribe();
        // The sender is ours, so it is there.
        let _ = asked.wait_for(|found| *found >= times).await;
    }

    /// The release tasks run in our driver, which knows how to end.
    pub(crate) fn drives(&self) {
        self.drives.store(true, Ordering::Relaxed);
    }
}

impl Builder {
    /// No cancel comes between this and the record of the release as active.
    pub(crate) fn close_to_cancels(&self, id: DeploymentId) -> Result<(), DeployError> {
        match self
            .at_work
            .get(id)
            .and_then(|work| work.close(TooLate::Live))
        {
            Some(by) => Err(DeployError::Cancelled { by }),
            None => Ok(()),
        }
    }

    /// Creates a container to the end, also when the deployment is dropped meanwhile.
    pub(crate) async fn create_whole(
        &self,
        deployment: DeploymentId,
        name: Option<String>,
        spec: ContainerSpec,
    ) -> Result<String, EngineError> {
        let Some(work) = self.at_work.get(deployment) else {
            return self.engine.create_container(name.as_deref(), spec).await;
        };
        let engine = self.engine.clone();
        let creating = work
            .creations
            .spawn(async move { engine.create_container(name.as_deref(), spec).await });
        match creating.await {
            Ok(created) => created,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and we with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// After the work of a cancelled deployment was dropped: until nothing of it runs that the
    /// sweep may not remove.
    pub(crate) async fn end_work(&self, deployment: &Deployment, work: &Work) {
        work.creations.close();
        work.creations.wait().await;
        if let Err(error) = self.end_tasks(deployment, work).await {
            tracing::error!(deployment = %deployment.id, %error, "the release tasks of a cancelled deployment could not be ended");
        }
    }

    /// Looks again for an image of a build that was cut. The next start would find it, too.
    pub(crate) fn sweep_images_later(&self, deployment: DeploymentId) {
        let builder = self.clone();
        self.retiring.spawn(async move {
            tokio::time::sleep(ABORT).await;
            if let Err(error) = builder.remove_images(deployment).await {
                tracing::warn!(%deployment, %error, "images of a cancelled deployment may be left, the next start removes them");
            }
        });
    }

    async fn end_tasks(&self, deployment: &Deployment, work: &Work) -> Result<(), EngineError> {
        let id = deployment.id.to_string();
        let labels = [
            Label::Is(LABEL_INSTANCE, self.instance.id()),
            Label::Is(LABEL_DEPLOYMENT, &id),
            Label::Is(LABEL_PROCESS, "release"),
        ];
        for container in self.engine.containers_with_labels(&labels).await? {
            if container.state != "running" {
                continue;
            }
            let ending = async {
                if work.drives.load(Ordering::Relaxed) {
                    self.end_driver(deployment, &container.id).await
                } else {
                    self.engine.stop(&container.id, GRACE).await
                }
            };
            tokio::select! {
                ended = ending => ended?,
                // The sweep kills it.
                () = work.cancelled(2) => {}
            }
        }
        Ok(())
    }

    async fn end_driver(&self, deployment: &Deployment, id: &str) -> Result<(), EngineError> {
        let began = Instant::now();
        let mut told = false;
        loop {
            // One that has just ended cannot be signalled; the wait tells it.
            let _ = self.engine.kill(id, Some(END)).await;
            if let Ok(ended) = tokio::time::timeout(AGAIN, self.engine.wait(id)).await {
                return ended.map(drop);
            }
            if began.elapsed() > PATIENCE && !told {
                told = true;
                let text = format!(
                    "a migration that no transaction protects is at work and gets its end first\nhint: `zarpar deployments cancel {}` again cuts it; look at the database then",
                    deployment.id
                );
                self.journal.tell(deployment.id, EventKind::Note { text });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can stop half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_cancel_and_the_swap_never_both_win() {
        let at_work = AtWork::default();
        let (first, second) = (DeploymentId(1), DeploymentId(2));
        let work = at_work.begin(first);
        work.cancel("cli:ana".into()).unwrap();
        work.cancelled(1).await;
        assert_eq!(work.close(TooLate::Live).as_deref(), Some("cli:ana"));
        // The second word is not of another person's making.
        work.cancel("cli:bea".into()).unwrap();
        work.cancelled(2).await;
        assert_eq!(work.close(TooLate::Ending).as_deref(), Some("cli:ana"));

        let work = at_work.begin(second);
        assert_eq!(work.close(TooLate::Live), None);
        assert_eq!(work.cancel("cli:ana".into()), Err(TooLate::Live));
        at_work.end(second);
        assert!(at_work.get(second).is_none() && at_work.get(first).is_some());
    }
}
