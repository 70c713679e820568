//! Managed services of apps. Today that is Postgres: one container and one named volume an app,
//! reachable under the alias `db` on the app's network alone.
//!
//! What can never happen: a password in an argument list or a log; a published port; a volume
//! removed without the owner's word. What a crash leaves behind: at most a stopped container,
//! which [`Postgres::ensure`] starts.
#![warn(missing_docs)]

mod postgres;

pub use postgres::{Postgres, ServiceError};
