//! Certificates by ACME: ordered for configured names alone, renewed in time, never in a storm.
//!
//! One task looks at one group of names (an app's) after the other, so at most one order is open.
//! Kept, below `<data>/acme`: the accounts and what was tried for each group. What can never
//! happen: an order for a name nobody configured, an order before the name points here, an order
//! because of a restart, a certificate taken away because its successor failed. A crash leaves
//! the certificate in force where it was, and a back-off that goes on.

mod account;
mod challenges;
mod client;
mod config;
mod dns;
mod durable;
mod failure;
mod history;
mod leaf;
mod nonce;
mod order;
mod probe;
mod round;
mod schedule;
mod status;
#[cfg(test)]
mod tests;
mod way;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use challenges::{Challenges, HTTP_PREFIX, TLS_ALPN_PROTOCOL};
pub(crate) use config::Config;
pub(crate) use schedule::Validity;
pub(crate) use status::Status;

use client::AcmeClient;
use round::Rounds;

/// Where finished certificates go and where those in force are looked up.
pub(crate) trait CertificateStore: Send + Sync {
    /// Puts a certificate in force for `hosts`, durably. `pem` is the private key (PKCS#8)
    /// followed by the chain, leaf first. May block.
    fn install(&self, hosts: &[String], pem: &str) -> Result<(), String>;

    /// When the certificate in force for `host` is valid; `None` when there is none.
    fn expiry(&self, host: &str) -> Option<Validity>;
}

/// Names that share a certificate: those of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// The app.
    pub(crate) name: String,
    /// Its names, lowercase.
    pub(crate) hosts: Vec<String>,
}

/// What the listeners and the control socket share with the task.
#[derive(Debug, Default)]
pub(crate) struct Acme {
    challenges: Arc<Challenges>,
    statuses: ArcSwap<Vec<Status>>,
    asked: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Acme {
    /// Open challenges, for the listeners.
    pub(crate) fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Each group as it stood after the last look, for `zarpar certificates list`.
    pub(crate) fn statuses(&self) -> Arc<Vec<Status>> {
        self.statuses.load_full()
    }

    /// Orders for the group `name` now, whatever its back-off and the limit a day say.
    pub(crate) fn renew(&self, name: &str) {
        self.asked().insert(name.to_owned());
        self.wake.notify_one();
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a certificate in force for each group in `groups` until `stop` is cancelled or the
/// sender of `groups` is gone. An order that is open then is abandoned.
pub(crate) async fn run(
    acme: Arc<Acme>,
    config: Config,
    groups: watch::Receiver<Vec<Group>>,
    store: Arc<dyn CertificateStore>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work(acme, config, groups, store) => {}
    }
}

async fn work(
    acme: Arc<Acme>,
    config: Config,
    mut groups: watch::Receiver<Vec<Group>>,
    store: Arc<dyn CertificateStore>,
) {
    let client = loop {
        match AcmeClient::new(config.extra_roots.as_deref(), config.call_within) {
            Ok(client) => break client,
            Err(words) => tracing::error!(words, "certificates cannot be ordered"),
        }
        tokio::time::sleep(config.look_every).await;
    };
    let look_every = config.look_every;
    let mut rounds = Rounds::new(Arc::clone(&acme), config, client, store);
    loop {
        let now = groups.borrow_and_update().clone();
        let asked = std::mem::take(&mut *acme.asked());
        let next = rounds.all(&now, &asked).await;
        // The wall clock may jump and a suspended machine sleeps on, so no pause is long.
        let pause = next.duration_since(SystemTime::now()).unwrap_or_default();
        let pause = pause.clamp(SHORTEST_PAUSE, look_every.max(SHORTEST_PAUSE));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = acme.wake.notified() => {}
            changed = groups.changed() => if changed.is_err() { return },
        }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
