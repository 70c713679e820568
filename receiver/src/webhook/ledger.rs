//! Deliveries on their way into the store. Those that come while a commit is being written are
//! written together by the next one, so a burst waits for the disk twice and not once each. There
//! is no task: whoever has the turn writes for all who wait.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zarpar_model::{AppName, DeliveryState};
use zarpar_store::{NewDelivery, Recorded, Store, StoreError};

/// A delivery that is durable and waits for somebody to look at the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The app.
    pub app: AppName,
    /// The delivery's number.
    pub number: u64,
}

type Waiting = (NewDelivery, oneshot::Sender<Result<Recorded, Lost>>);

/// The store did not take it; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// The way into the store; clones share it.
#[derive(Clone)]
pub(super) struct Ledger {
    store: Store,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    taken: mpsc::UnboundedSender<Taken>,
}

impl Ledger {
    /// What is recorded and waits is told to `taken`: at most as many as the store keeps.
    pub(super) fn new(store: Store, taken: mpsc::UnboundedSender<Taken>) -> Ledger {
        Ledger {
            store,
            waiting: Arc::default(),
            turn: Arc::default(),
            taken,
        }
    }

    /// Makes a delivery durable, or says that it was there.
    pub(super) async fn record(&self, delivery: NewDelivery) -> Result<Recorded, Lost> {
        let (answer, answered) = oneshot::channel();
        self.entries().push((delivery, answer));
        {
            let _turn = self.turn.lock().await;
            let batch = std::mem::take(&mut *self.entries());
            if !batch.is_empty() {
                tokio::task::block_in_place(|| self.write(batch));
            }
        }
        // Whoever wrote it has answered before giving the turn away.
        answered.await.unwrap_or(Err(Lost))
    }

    fn write(&self, batch: Vec<Waiting>) {
        let (deliveries, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let waiting: Vec<Option<AppName>> = deliveries
            .iter()
            .map(|new| (new.state == DeliveryState::Waiting).then(|| new.app.clone()))
            .collect();
        let recorded = match self.store.record_deliveries(deliveries) {
            Ok(recorded) => recorded.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                lost(&error);
                answers.iter().map(|_| Err(Lost)).collect()
            }
        };
        for ((recorded, app), answer) in recorded.into_iter().zip(waiting).zip(answers) {
            if let (Ok(Recorded::New(number)), Some(app)) = (&recorded, app) {
                // A daemon that stops looks at it when it starts again.
                let _ = self.taken.send(Taken {
                    app,
                    number: *number,
                });
            }
            // The forge may have gone away; what it sent is taken all the same.
            let _ = answer.send(recorded);
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(error: &StoreError) {
    tracing::error!(error = %zarpar_model::explain(error), "a webhook's delivery cannot be recorded");
}
