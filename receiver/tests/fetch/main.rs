//! Fetching from a forge: real git on both sides, over real TLS, from a server of the test's own.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

mod forge;
mod https;
mod limits;
mod rebinding;
