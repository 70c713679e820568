//! The task that looks at repositories: for each app one look at work and at most one waiting,
//! however many deliveries come. What became of a deployment is noted with its deliveries. A stop
//! drops the looks at work; their deliveries are in the store as waiting, and the next start takes
//! them up.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zarpar_model::{AppName, DeliveryState, Deployment, DeploymentId, Outcome, Phase};
use zarpar_receiver::Taken;

use super::super::Daemon;
use super::clock::Clock;
use super::look::{Looked, look, settle};

/// Who waits and who is at work.
#[derive(Default)]
struct Worker {
    /// Deliveries that wait for the next look; empty for a look of our own accord.
    waiting: BTreeMap<AppName, Vec<u64>>,
    busy: HashSet<AppName>,
    looks: JoinSet<Looked>,
    /// Deployments whose end deliveries wait for.
    deploying: HashMap<DeploymentId, (AppName, Vec<u64>)>,
}

/// Looks until `stop`.
pub(crate) async fn run(
    daemon: Daemon,
    mut taken: mpsc::UnboundedReceiver<Taken>,
    stop: CancellationToken,
) {
    let mut moves = daemon.queue.watch();
    let mut worker = Worker::default();
    let mut clock = Clock::default();
    worker.take_up(&daemon);
    set(&daemon, &mut clock);
    loop {
        worker.start(&daemon);
        let next = clock.next();
        let tick = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Some(taken) = taken.recv() => worker.wait(taken.app, Some(taken.number)),
            Some(looked) = worker.looks.join_next() => worker.looked(&daemon, looked),
            moved = moves.recv() => match moved {
                Ok(moved) => worker.moved(&daemon, &moved.deployment),
                Err(RecvError::Lagged(_)) => worker.ask_all(&daemon),
                Err(RecvError::Closed) => return,
            },
            () = daemon.webhooks.changed.notified() => set(&daemon, &mut clock),
            () = tick => {
                for app in clock.due(Instant::now()) {
                    worker.wait(app, None);
                }
            }
        }
    }
}

fn set(daemon: &Daemon, clock: &mut Clock) {
    match tokio::task::block_in_place(|| daemon.store.sources()) {
        Ok(sources) => clock.set(&sources, Instant::now()),
        Err(error) => tracing::error!(%error, "cannot read which repositories are followed"),
    }
}

impl Worker {
    /// What the last process left.
    fn take_up(&mut self, daemon: &Daemon) {
        let left = match tokio::task::block_in_place(|| daemon.store.unsettled_deliveries()) {
            Ok(left) => left,
            Err(error) => {
                return tracing::error!(%error, "cannot read the deliveries that wait");
            }
        };
        for delivery in left {
            match delivery.state {
                DeliveryState::Deploying { deployment } => {
                    let entry = self.deploying.entry(deployment);
                    let (_, numbers) = entry.or_insert_with(|| (delivery.app, Vec::new()));
                    numbers.push(delivery.number);
                }
                _ => self.wait(delivery.app, Some(delivery.number)),
            }
        }
        self.ask_all(daemon);
    }

    fn wait(&mut self, app: AppName, number: Option<u64>) {
        self.waiting.entry(app).or_default().extend(number);
    }

    fn start(&mut self, daemon: &Daemon) {
        let free: Vec<AppName> = self
            .waiting
            .keys()
            .filter(|app| !self.busy.contains(*app))
            .cloned()
            .collect();
        for app in free {
            let numbers = self.waiting.remove(&app).unwrap_or_default();
            self.busy.insert(app.clone());
            self.looks.spawn(look(daemon.clone(), app, numbers));
        }
    }

    fn looked(&mut self, daemon: &Daemon, looked: Result<Looked, tokio::task::JoinError>) {
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => {
                // Only a bug comes here; nobody waits for ever because of it.
                tracing::error!(%error, "a look at a repository ended without a result");
                return self.busy.clear();
            }
        };
        self.busy.remove(&looked.app);
        if let Some((id, numbers)) = looked.deploying {
            let entry = self.deploying.entry(id);
            let (_, all) = entry.or_insert_with(|| (looked.app, Vec::new()));
            all.extend(numbers);
            // It may have ended before anybody waited for it.
            self.ask(daemon, id);
        }
    }

    fn ask_all(&mut self, daemon: &Daemon) {
        for id in self.deploying.keys().copied().collect::<Vec<_>>() {
            self.ask(daemon, id);
        }
    }

    fn ask(&mut self, daemon: &Daemon, id: DeploymentId) {
        match tokio::task::block_in_place(|| daemon.store.deployment(id)) {
            Ok(Some(deployment)) => self.moved(daemon, &deployment),
            Ok(None) => {
                if let Some((app, numbers)) = self.deploying.remove(&id) {
                    let gone = DeliveryState::Failed {
                        reason: format!("deployment {id} is not on record any more"),
                        deployment: Some(id),
                    };
                    settle(daemon, &app, &numbers, &gone);
                }
            }
            Err(error) => tracing::error!(deployment = %id, %error, "cannot read the deployment"),
        }
    }

    fn moved(&mut self, daemon: &Daemon, deployment: &Deployment) {
        let Some(outcome) = deployment.phase.outcome() else {
            return;
        };
        if let Some((app, numbers)) = self.deploying.remove(&deployment.id) {
            settle(daemon, &app, &numbers, &ended(deployment, outcome));
        }
    }
}

fn ended(deployment: &Deployment, outcome: Outcome) -> DeliveryState {
    let id = deployment.id;
    match (outcome, &deployment.phase) {
        (Outcome::Live, _) => DeliveryState::Live {
            release: deployment.release,
            deployment: Some(id),
        },
        (Outcome::Superseded, _) => DeliveryState::Ignored {
            reason: format!("a newer commit took the place of deployment {id} before its turn"),
        },
        (_, Phase::Failed { reason, .. }) => DeliveryState::Failed {
            reason: reason.lines().next().unwrap_or_default().to_owned(),
            deployment: Some(id),
        },
        // Cancelled: not what the forge wanted, so the same delivery once more deploys it.
        (_, phase) => DeliveryState::Failed {
            reason: format!("deployment {id} was {phase}"),
            deployment: Some(id),
        },
    }
}
