//! What a deployment tells while it runs: one event a line, kept in its log and shown to the
//! pusher. The log is read again from its start by whoever follows later, so an event is
//! complete in itself.

use serde::{Deserialize, Serialize};

use crate::{DeploymentId, Outcome, Timestamp, WorkPhase};

/// One thing that happened in a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// It was accepted under this number.
    Accepted {
        /// Its number.
        deployment: DeploymentId,
    },
    /// It waits for another deployment.
    Waiting {
        /// For what, for people.
        reason: String,
    },
    /// A step begins.
    Began {
        /// The step.
        phase: WorkPhase,
    },
    /// A step is done.
    Ended {
        /// The step.
        phase: WorkPhase,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A line of a build or of a release task.
    Output {
        /// The line, without its end.
        text: String,
    },
    /// Something the pusher should know.
    Note {
        /// One sentence.
        text: String,
    },
    /// It ended; always the last event.
    Finished {
        /// How.
        outcome: Outcome,
        /// One or more lines: the URL, or what failed with its `hint:`.
        text: String,
    },
}
