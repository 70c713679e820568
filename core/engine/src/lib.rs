//! The Docker Engine as zarpar sees it: images, containers, exec, networks,
//! volumes and archives, over the engine's own HTTP API.
//!
//! This is the only crate that names bollard, and no bollard type appears in
//! its public items. It keeps no state beyond the address of the engine: every
//! call opens its own connection, and dropping a future or a stream closes that
//! connection, which the engine takes as a cancellation.
//! No container made here ever publishes a port on the host.

mod archive;
mod attach;
mod body;
mod build;
mod connect;
mod container;
mod error;
mod exec;
mod image;
mod label;
mod lifecycle;
mod network;
mod progress;
mod spec;
mod subnet;
mod transport;
mod volume;

pub use archive::ByteStream;
pub use attach::{Attached, Input, LogChunk, LogOptions, LogStream, OutputKind};
pub use build::{BuildError, BuildRequest};
pub use connect::{Engine, EngineInfo};
pub use container::{Container, ContainerSummary};
pub use error::EngineError;
pub use exec::{Exec, ExecSpec};
pub use image::{Image, ImageSummary};
pub use label::Label;
pub use network::Network;
pub use progress::{BuildLine, BuildLineKind};
pub use spec::{ContainerSpec, RestartPolicy};
pub use volume::Volume;
