//! New requests of an app wait while its database is migrated, when `[deploy] during_migrations`
//! says so: the old release then never meets the new tables.
//!
//! Kept, in memory alone: the apps that are held. Every table that is made names them, also one
//! that another app's deployment makes. What can never happen: a hold that outlives its
//! deployment. `go_live` takes it out before it publishes the new release, `deploy` does when
//! the attempt ended in any other way, and whatever both miss (a crash, an edge that cannot be
//! told) the edge ends by itself 30 s after it began. A crash leaves nothing here, and recovery
//! publishes a table without holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zarpar_control::EdgeClient;
use zarpar_model::{AppName, Deployment, DuringMigrations, EventKind, MAX_HOLD_MS, show_span};

use crate::error::DeployError;
use crate::{Builder, Draft};

/// How long the requests that were there before may take to end; the rest of the hold is for
/// migrations and the new release's start. A tunnel of a WebSocket would take for ever.
const DRAIN: Duration = Duration::from_secs(10);
/// What makes the driver begin (`driver.py`).
const GO_ON: &str = "SIGUSR1";

/// The apps that are held, and since when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<HashMap<AppName, Instant>>>);

impl Holds {
    /// What the app's route says.
    pub(crate) fn hold_ms(&self, app: &AppName) -> u64 {
        if self.all().contains_key(app) {
            MAX_HOLD_MS
        } else {
            0
        }
    }

    /// Takes the app out; how long it was held, when it was. The next table shows it.
    pub(crate) fn lift(&self, app: &AppName) -> Option<Duration> {
        self.all().remove(app).map(|since| since.elapsed())
    }

    fn begin(&self, app: &AppName) {
        self.all().insert(app.clone(), Instant::now());
    }

    fn all(&self) -> MutexGuard<'_, HashMap<AppName, Instant>> {
        // Nothing in here can stop half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder {
    /// Whether new requests wait while this release migrates; there are none before the first.
    pub(crate) fn holds_during_migrations(&self, draft: &Draft<'_>) -> bool {
        draft.app.active.is_some()
            && draft.project.deploy.during_migrations == DuringMigrations::Hold
    }

    /// Holds the app, lets the requests from before end, and lets the driver in `container`
    /// begin with its migrations.
    pub(crate) async fn hold_for_migrations(
        &self,
        draft: &Draft<'_>,
        container: &str,
        migrations: u64,
    ) -> Result<(), DeployError> {
        let app = &draft.app.name;
        self.holds.begin(app);
        self.publish().await?;
        draft.tell(EventKind::Note {
            text: held(app, migrations),
        });
        let active = match draft.app.active {
            Some(active) => self.store.release(app, active)?,
            None => None,
        };
        if let Some(active) = active {
            let limit = active.project.web.drain.min(DRAIN);
            let addresses = active.web_targets().filter_map(|target| target.address);
            let mut edge = EdgeClient::connect(&self.folders.edge_socket)
                .await
                .map_err(DeployError::Edge)?;
            let left = edge
                .wait_drained(addresses.collect(), limit)
                .await
                .map_err(DeployError::Edge)?;
            let requests: u64 = left.iter().map(|target| target.requests).sum();
            if requests > 0 {
                draft.tell(EventKind::Note {
                    text: format!(
                        "{requests} of the requests from before are not done after {}, the migrations begin all the same",
                        show_span(limit)
                    ),
                });
            }
        }
        self.engine.kill(container, Some(GO_ON)).await?;
        Ok(())
    }

    /// Lets the held requests go on to the release that was live, when the app is still held.
    pub(crate) async fn give_up_hold(&self, deployment: &Deployment) {
        let app = &deployment.app;
        let Some(after) = self.holds.lift(app) else {
            return;
        };
        match self.publish().await {
            Ok(()) => self.journal.tell(
                deployment.id,
                EventKind::Note {
                    text: format!(
                        "the held requests went on to the release before after {}",
                        show_span(after)
                    ),
                },
            ),
            Err(error) => {
                tracing::error!(%app, error = %error.explain(), "the edge could not be told that the hold is over, it ends it by itself within 30 s");
            }
        }
    }
}

fn held(app: &AppName, migrations: u64) -> String {
    let run = if migrations == 1 {
        "migration runs"
    } else {
        "migrations run"
    };
    format!("holding new requests of {app} while {migrations} {run}")
}

/// What the pusher hears at the swap.
pub(crate) fn released(after: Duration) -> String {
    let most = Duration::from_millis(MAX_HOLD_MS);
    if after < most {
        return format!("released the held requests after {}", show_span(after));
    }
    format!(
        "the migrations and the start took {}, so from {} on the release before answered",
        show_span(after),
        show_span(most)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hold_is_in_every_table_until_it_is_lifted_once() {
        let holds = Holds::default();
        let [app, other] = ["tienda", "blog"].map(|name| name.parse().unwrap());
        assert_eq!(holds.lift(&app), None);
        holds.clone().begin(&app);
        assert_eq!((holds.hold_ms(&app), holds.hold_ms(&other)), (30_000, 0));
        assert!(holds.lift(&app).is_some());
        assert_eq!((holds.hold_ms(&app), holds.lift(&app)), (0, None));
    }

    #[test]
    fn the_pusher_hears_what_happened() {
        let app = "tienda".parse().unwrap();
        let two = "holding new requests of tienda while 2 migrations run";
        assert_eq!(held(&app, 2), two);
        assert!(held(&app, 1).ends_with("while 1 migration runs"));
        let short = released(Duration::from_millis(3_200));
        assert_eq!(short, "released the held requests after 3.2 s");
        assert!(released(Duration::from_secs(31)).contains("the release before answered"));
    }
}
