//! What became of deployments, for whoever wants to be told while it happens: when one begins
//! work, and when it has ended in any way. Kept in memory alone and bounded: a watcher that is
//! behind by more than the bound loses the oldest and is told how many; the records have it all.
//! Told after the store has it, so a watcher that looks there finds at least what it was told.

use tokio::sync::broadcast;
use zarpar_model::{Deployment, DeploymentId};

use crate::Builder;

/// Moves that a watcher may be behind.
const KEPT: usize = 64;

/// A deployment began work, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its record of that moment: the phase says which of the two.
    pub deployment: Deployment,
}

/// Where moves are told; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Moves(broadcast::Sender<Moved>);

impl Default for Moves {
    fn default() -> Moves {
        Moves(broadcast::Sender::new(KEPT))
    }
}

impl Moves {
    /// What is told from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Moved> {
        self.0.subscribe()
    }

    /// Tells the watchers; costs one look when there are none.
    pub(crate) fn tell(&self, deployment: &Deployment) {
        if self.0.receiver_count() > 0 {
            let deployment = deployment.clone();
            // The last watcher may have left since.
            let _ = self.0.send(Moved { deployment });
        }
    }
}

impl Builder {
    /// Tells how a deployment ended, as the store has it.
    pub(crate) fn tell_end(&self, id: DeploymentId) {
        match self.store.deployment(id) {
            Ok(Some(deployment)) if deployment.phase.outcome().is_some() => {
                self.moves.tell(&deployment);
            }
            // Destroyed with its app, or its end could not be recorded.
            Ok(_) => {}
            Err(error) => tracing::error!(deployment = %id, %error, "cannot read the deployment"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::broadcast::error::TryRecvError;
    use zarpar_model::{DeploymentKind, Phase, Timestamp};

    #[test]
    fn a_watcher_that_is_behind_is_told_how_much_it_lost() {
        let moves = Moves::default();
        let mut deployment = Deployment {
            id: DeploymentId(0),
            app: "tienda".parse().unwrap(),
            kind: DeploymentKind::Restart,
            by: "cli:ana".to_owned(),
            phase: Phase::Live,
            release: None,
            created_at: Timestamp(0),
            started_at: None,
            finished_at: None,
        };
        moves.tell(&deployment);
        let mut watcher = moves.watch();
        assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
        for id in 1..=KEPT as u64 + 3 {
            deployment.id = DeploymentId(id);
            moves.tell(&deployment);
        }
        assert_eq!(watcher.try_recv(), Err(TryRecvError::Lagged(3)));
        assert_eq!(watcher.try_recv().unwrap().deployment.id, DeploymentId(4));
    }
}
