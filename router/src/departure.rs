//! How the edge leaves: asked to stop, or because another one has its listening sockets. Either
//! way visitors who are here are served; in the second case nobody waits for the end, so they have
//! all the time they need.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Limits;

/// The state of leaving.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    /// Workers accept no more once this is cancelled.
    pub(crate) begun: CancellationToken,
    handed_over: CancellationToken,
}

/// How long visitors have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    /// For open requests.
    pub(crate) limit: Duration,
    /// For a connection that waits for its next request.
    pub(crate) linger: Duration,
}

impl Departure {
    /// Another edge accepts from now on.
    pub(crate) fn hand_over(&self) {
        // First why, then that: workers look at the reason when they hear of the departure.
        self.handed_over.cancel();
        self.begun.cancel();
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.is_cancelled()
    }

    /// Ready once another edge accepts.
    pub(crate) async fn handed_over(&self) {
        self.handed_over.cancelled().await;
    }

    /// Asked once the departure began.
    pub(crate) fn grace(&self, limits: &Limits) -> Grace {
        if self.is_handed_over() {
            Grace {
                limit: limits.handed_over,
                linger: limits.handed_over_linger,
            }
        } else {
            Grace {
                limit: limits.shutdown,
                linger: limits.linger,
            }
        }
    }
}
