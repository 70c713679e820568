//! The HTTP road as strangers and clients see it: the real routes on a real socket, real
//! repositories and the real git, with hooks that let everything pass.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

mod admission;
mod bodies;
mod places;
mod world;
