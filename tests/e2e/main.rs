//! End to end: the real binary, real git, a real Docker Engine and a real Postgres.
//!
//! Each test has a server of its own (`World`): data folder, ports, Docker labels. Tests run one
//! after the other, because a build takes all of a small machine and the timings of two would
//! disturb each other.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr
)]

mod acme;
mod architecture;
mod cancel;
mod clients;
mod console_host;
mod crashes;
mod crowd;
mod edge;
mod failures;
mod fetch_ssh;
mod foresight;
mod forge;
mod hold;
mod hostile;
mod http;
mod image;
mod laptop;
mod load;
mod memory;
mod project;
mod refusals;
mod ssh;
mod sshd;
mod tricks;
mod upgrade;
mod voyage;
mod webhooks;
mod world;
