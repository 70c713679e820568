//! How code arrives: bare repositories, git's own server commands, the smart HTTP road with
//! tokens, and the one door [`Intake`] through which every deployment is asked for.
//!
//! What can never happen: an argument for git that came from outside; a push or fetch without a
//! token for that app; a deployment that was acknowledged and is not durable. A crash leaves at
//! most git's own temporary files, which git removes, or else the next start.
#![warn(missing_docs)]

mod admission;
mod attempts;
mod auth;
mod check;
mod client_address;
mod deploy_key;
mod exchange;
mod fetch;
mod forge;
mod git;
mod intake;
mod kept;
mod leftovers;
mod quarantine;
mod reader;
mod receives;
mod repack;
mod repository;
mod request_body;
mod smart_http;
mod ssh;
mod tree;
mod webhook;

pub use auth::{hash_token, new_token};
pub use check::{Refusal, check_push};
pub use client_address::ClientAddress;
pub use deploy_key::DeployKey;
pub use fetch::{
    Credentials, FetchError, FetchRules, FetchSource, Network, NetworkError, fetch, fingerprint,
    git_ssh, host_keys, is_git_ssh, remove_unfinished,
};
pub use forge::{Forge, ForgeError, Report, ReportState, report};
pub use git::{GitConfig, GitError, GitLimits};
pub use intake::{Intake, IntakeError, Submission};
pub use kept::Kept;
pub use quarantine::{Quarantine, QuarantineError};
pub use reader::admit_reader;
pub use repack::{RepackRules, Repacked};
pub use repository::Repositories;
pub use smart_http::{ReceiverState, routes};
pub use ssh::{Session, Visit, VisitError};
pub use tree::TreeError;
pub use webhook::{Taken, WebhookState, new_webhook_secret, webhook_routes};
