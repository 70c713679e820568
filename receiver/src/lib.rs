//! How code arrives: bare repositories, git's own server commands, the smart HTTP road with
//! tokens, and the one door [`Intake`] through which every deployment is asked for.
//!
//! What can never happen: an argument for git that came from outside; a push or fetch without a
//! token for that app; a deployment that was acknowledged and is not durable. A crash leaves at
//! most git's own temporary files, which git removes.
#![warn(missing_docs)]

mod auth;
mod check;
mod exchange;
mod git;
mod intake;
mod repository;
mod smart_http;
mod ssh;

pub use auth::{hash_token, new_token};
pub use check::{Refusal, check_push};
pub use git::{GitConfig, GitError};
pub use intake::{Intake, IntakeError, Submission};
pub use repository::Repositories;
pub use smart_http::{ReceiverState, routes};
pub use ssh::{Session, Visit, VisitError};
