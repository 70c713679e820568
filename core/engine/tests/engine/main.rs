//! The engine crate against a real Docker Engine with `python:3.13-slim`.
//!
//! Every object made here carries the label `zarpar.test` with the value of its
//! own test run, and is removed by that label, also when the test fails.
#![allow(clippy::unwrap_used)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test owns its tasks and children"
)]

mod archives;
mod builds;
mod containers;
mod lab;
mod networks_and_volumes;
