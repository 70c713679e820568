//! The life of one deployment as one function, [`Phase::next`]. Whatever is persisted as a phase
//! went through it, so a deployment can never skip a step, leave a final state, or end without a
//! reason. After a crash, recovery sends `Fail` or `Continue`; there is no way to unlock by hand.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Phase {
    /// Accepted and durable, waiting for its turn.
    Queued,
    /// A step of the pipeline is at work.
    Working {
        /// Which step.
        phase: WorkPhase,
    },
    /// The release answers requests.
    Live,
    /// A newer deployment of the app was accepted before this one began.
    Superseded,
    /// Somebody ended it before its release was live.
    Cancelled {
        /// Who, as in [`crate::Deployment::by`].
        by: String,
    },
    /// Ended without a new release; the release before it was not touched.
    Failed {
        /// The step that failed.
        phase: WorkPhase,
        /// What happened, for people, with its `hint:`.
        reason: String,
    },
}

/// A step of the pipeline, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkPhase {
    /// The commit's tree is read from the repository.
    CheckingOut,
    /// `zarpar.toml`, Dockerfile and project are looked at.
    Planning,
    /// An image that was built elsewhere is fetched.
    Pulling,
    /// The image is built.
    Building,
    /// Settings are asked, `migrate` and `collectstatic` run.
    Releasing,
    /// The candidate's containers start.
    Starting,
    /// The candidate is asked for its health.
    Probing,
}

/// What can happen to a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseEvent {
    /// A worker took it, or the step at work is done and this one begins.
    Begin(WorkPhase),
    /// The release is recorded as active.
    GoLive,
    /// A newer deployment of the same app was accepted.
    Supersede,
    /// Somebody ended it: who.
    Cancel(String),
    /// It failed, for this reason.
    Fail(String),
}

/// A move the state machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deployment that is {phase} cannot {event}")]
pub struct PhaseError {
    phase: String,
    event: String,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The release answers requests.
    Live,
    /// A newer deployment took its place.
    Superseded,
    /// Somebody ended it.
    Cancelled,
    /// It failed.
    Failed,
}

impl Phase {
    /// The one way from a phase to the next.
    ///
    /// # Errors
    /// [`PhaseError`] for every move that is not drawn in the design: a final phase has no exit,
    /// and a step begins only after an earlier one (a rollback has no checkout, plan or build,
    /// so steps may be left out, never repeated).
    pub fn next(&self, event: PhaseEvent) -> Result<Phase, PhaseError> {
        use Phase::{Cancelled, Failed, Live, Queued, Superseded, Working};
        match (self, event) {
            (Queued, PhaseEvent::Begin(phase)) => Ok(Working { phase }),
            (Queued, PhaseEvent::Supersede) => Ok(Superseded),
            (Queued | Working { .. }, PhaseEvent::Cancel(by)) => Ok(Cancelled { by }),
            (Queued, PhaseEvent::Fail(reason)) => Ok(Failed {
                phase: WorkPhase::CheckingOut,
                reason,
            }),
            (Working { phase }, PhaseEvent::Begin(next)) if next > *phase => {
                Ok(Working { phase: next })
            }
            (
                Working {
                    phase: WorkPhase::Probing,
                },
                PhaseEvent::GoLive,
            ) => Ok(Live),
            (Working { phase }, PhaseEvent::Fail(reason)) => Ok(Failed {
                phase: *phase,
                reason,
            }),
            (phase, event) => Err(PhaseError {
                phase: phase.to_string(),
                event: format!("{event:?}"),
            }),
        }
    }

    /// How it ended; `None` while it has not.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Phase::Queued | Phase::Working { .. } => None,
            Phase::Live => Some(Outcome::Live),
            Phase::Superseded => Some(Outcome::Superseded),
            Phase::Cancelled { .. } => Some(Outcome::Cancelled),
            Phase::Failed { .. } => Some(Outcome::Failed),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Queued => f.pad("queued"),
            Phase::Working { phase } => f.pad(phase.as_str()),
            Phase::Live => f.pad("live"),
            Phase::Superseded => f.pad("superseded"),
            Phase::Cancelled { .. } => f.pad("cancelled"),
            Phase::Failed { phase, .. } => f.pad(&format!("failed ({})", phase.as_str())),
        }
    }
}

impl WorkPhase {
    /// The word the pusher reads: `building`.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkPhase::CheckingOut => "checking out",
            WorkPhase::Planning => "planning",
            WorkPhase::Pulling => "pulling",
            WorkPhase::Building => "building",
            WorkPhase::Releasing => "releasing",
            WorkPhase::Starting => "starting",
            WorkPhase::Probing => "probing",
        }
    }
}

impl fmt::Display for WorkPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STEPS: [WorkPhase; 6] = [
        WorkPhase::CheckingOut,
        WorkPhase::Planning,
        WorkPhase::Building,
        WorkPhase::Releasing,
        WorkPhase::Starting,
        WorkPhase::Probing,
    ];

    #[test]
    fn a_push_walks_every_step_to_live() {
        let mut phase = Phase::Queued;
        for step in STEPS {
            phase = phase.next(PhaseEvent::Begin(step)).unwrap();
        }
        assert_eq!(phase.next(PhaseEvent::GoLive).unwrap(), Phase::Live);
    }

    #[test]
    fn only_a_probed_release_goes_live() {
        assert!(Phase::Queued.next(PhaseEvent::GoLive).is_err());
        for phase in &STEPS[..5] {
            assert!(
                Phase::Working { phase: *phase }
                    .next(PhaseEvent::GoLive)
                    .is_err()
            );
        }
    }

    #[test]
    fn no_final_phase_has_an_exit_and_no_step_is_repeated() {
        let finals = [
            Phase::Live,
            Phase::Superseded,
            Phase::Cancelled {
                by: "cli:ana".into(),
            },
            Phase::Failed {
                phase: WorkPhase::Building,
                reason: "x".into(),
            },
        ];
        for phase in finals {
            assert!(phase.outcome().is_some());
            for event in [
                PhaseEvent::GoLive,
                PhaseEvent::Supersede,
                PhaseEvent::Cancel("cli:ana".into()),
                PhaseEvent::Fail("y".into()),
            ] {
                assert!(phase.next(event).is_err());
            }
            for step in STEPS {
                assert!(phase.next(PhaseEvent::Begin(step)).is_err());
            }
        }
        let building = Phase::Working {
            phase: WorkPhase::Building,
        };
        assert!(
            building
                .next(PhaseEvent::Begin(WorkPhase::Building))
                .is_err()
        );
        assert!(
            building
                .next(PhaseEvent::Begin(WorkPhase::Planning))
                .is_err()
        );
        assert!(
            building.next(PhaseEvent::Supersede).is_err(),
            "work that began is never overtaken"
        );
    }
}
