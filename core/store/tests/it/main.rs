//! The store with real files: what it keeps, and what it keeps through kills, damage and a full
//! disk. Each module says which promise it tests.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests kill and mount in processes of their own"
)]

/// A store in a folder of its own, and records to put into it.
mod world;

/// Sources of code and deliveries of webhooks: once each, bounded, sealed.
mod deliveries;
/// A disk that is full.
mod full_disk;
/// A process that is killed while it writes.
mod killing;
/// Every operation, its refusals, and what is there after opening again.
mod operations;
/// Deployments and releases through their lives.
mod releases;
/// Damage to the state folder, and coming back from the export.
mod restoring;
/// Keys, sealed values, and who may hold the store.
mod sealing;
