//! Fetching from a forge and telling it: real git on both sides, over real TLS, with a server of
//! the test's own.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

mod forge;
mod https;
mod limits;
mod rebinding;
mod reports;
