//! Why a deployment failed, in words for the person who pushed: what was expected, the literal,
//! and the next thing to try.

use std::time::Duration;

use zarpar_control::ClientError;
use zarpar_engine::{BuildError, EngineError};
use zarpar_model::{Deployment, DeploymentKind, ImageReference, WorkPhase, show_span};
use zarpar_services::ServiceError;
use zarpar_store::StoreError;

use crate::branch::BranchError;
use crate::checkout::CheckoutError;
use crate::plan::PlanError;
use crate::static_store::StaticError;

/// A failed deployment.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The commit cannot be read.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// Somebody ended it.
    #[error("cancelled by {by}")]
    Cancelled {
        /// Who.
        by: String,
    },
    /// The branch moved on, or cannot be read.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// There is nothing to build.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image did not build.
    #[error(
        "the image did not build\nhint: build it on your machine with `docker build .`, mend it, commit and push again"
    )]
    Build(#[source] BuildError),
    /// An image that was built elsewhere is not there.
    #[error(
        "there is no image `{reference}`, neither in its registry nor on this server\nhint: is the name right? `docker images` on the server lists what is there; a private registry wants `docker login` there"
    )]
    Pull {
        /// The literal.
        reference: ImageReference,
        /// What the registry said; nothing when it was not asked, for the id of an image.
        source: Option<EngineError>,
    },
    /// An image that this server built for another app.
    #[error(
        "the image `{reference}` was built here for another app\nhint: push its commit to `{app}`, which builds it there"
    )]
    ForeignImage {
        /// The app it was asked for.
        app: String,
        /// The literal.
        reference: ImageReference,
    },
    /// A release task ended with an error.
    #[error(
        "`{task}` ended with exit code {code}; the release that is live was not touched\nhint: mend it, commit and push again; `zarpar run {app} -- COMMAND` runs a command in the live release"
    )]
    Task {
        /// The app.
        app: String,
        /// The task.
        task: String,
        /// Its exit code.
        code: i64,
    },
    /// A command in `zarpar.toml` that cannot be split into words.
    #[error(
        "the command `{command}` in `zarpar.toml` has a quote without an end\nhint: no shell reads it; quote words as in a shell, one command a task"
    )]
    Command {
        /// The literal.
        command: String,
    },
    /// A container of the new release ended by itself.
    #[error(
        "the new release ended with exit code {code} before it answered{reason}\nhint: its last lines, if it printed any, are above; does its command go on running? A missing variable is set with `zarpar env set {app} NAME=VALUE`"
    )]
    Ended {
        /// The app.
        app: String,
        /// Its exit code.
        code: i64,
        /// More, such as that its memory ran out.
        reason: &'static str,
    },
    /// The new release did not become healthy.
    #[error("expected {expected} from `{url}` within {}, last found: {found}\nhint: {hint}", show_span(*limit))]
    Unhealthy {
        /// Which answers would be right.
        expected: String,
        /// What was asked for.
        url: String,
        /// The time it had.
        limit: Duration,
        /// The last answer, or why there was none.
        found: String,
        /// What to do.
        hint: String,
    },
    /// The image of a kept release is gone.
    #[error(
        "the image of {release} is gone from the engine, so it cannot start\nhint: deploy it again: `zarpar deploy {app} {again}`"
    )]
    ImageGone {
        /// The app.
        app: String,
        /// The release.
        release: String,
        /// Its commit, or `--image` with its reference.
        again: String,
    },
    /// A record that must be there is not.
    #[error("`{app}` has no {what}\nhint: `zarpar releases {app}` lists what there is")]
    Missing {
        /// The app.
        app: String,
        /// What is missing.
        what: String,
    },
    /// Static files could not be kept.
    #[error(transparent)]
    Static(#[from] StaticError),
    /// The database does not come up.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The edge does not take the new table.
    #[error("the edge does not take the new route; the release before it still answers")]
    Edge(#[source] ClientError),
    /// Docker.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The logs of deployments.
    #[error("the logs of deployments cannot be kept\nhint: is the disk full? `df -h`")]
    Journal(#[from] std::io::Error),
    /// A task of ours ended with a panic.
    #[error(
        "zarpar itself failed here: {0}\nhint: this is a bug; the release that is live was not touched, please report it"
    )]
    Bug(String),
}

impl DeployError {
    /// The message with its causes, hints last.
    pub fn explain(&self) -> String {
        zarpar_model::explain(self)
    }
}

/// What the log says of a cancelled deployment; `during` is the step that was at work.
pub(crate) fn cancelled(deployment: &Deployment, by: &str, during: Option<WorkPhase>) -> String {
    let work = match during {
        Some(phase) => format!(
            "while it was {phase}; what it had made was removed, and the release that was live was not touched"
        ),
        None => "while it waited, so it never began".to_owned(),
    };
    let again = match &deployment.kind {
        DeploymentKind::Push { commit, .. } => {
            format!("push again, or `zarpar deploy {} {commit}`", deployment.app)
        }
        DeploymentKind::Image { reference } => {
            format!("`zarpar deploy {} --image {reference}`", deployment.app)
        }
        DeploymentKind::Deploy { commit } => {
            format!("`zarpar deploy {} {commit}`", deployment.app)
        }
        DeploymentKind::Rollback { to } => format!("`zarpar rollback {} {to}`", deployment.app),
        DeploymentKind::Restart => format!("say again what restarted `{}`", deployment.app),
    };
    format!("by {by} {work}\nhint: to deploy it after all: {again}")
}
