//! The words of zarpar as values: names, records, state machines, the route table,
//! `zarpar.toml`. Nothing here does I/O or looks at a clock, so every rule in this crate can be
//! tested with plain values, and every other crate may depend on it.
#![warn(missing_docs)]

mod event;
mod explain;
mod instance;
mod name;
mod phase;
mod project;
mod record;
mod repository;
mod size;
mod source;
mod span;
mod ssh_key;
mod static_index;
mod table;
mod timestamp;
mod wildcard;

pub use event::{Event, EventKind};
pub use explain::explain;
pub use instance::{
    Instance, LABEL_APP, LABEL_DEPLOYMENT, LABEL_INSTANCE, LABEL_PROCESS, LABEL_RELEASE,
};
pub use name::{
    AppName, BranchName, CommitId, DeploymentId, EnvKey, HostName, ImageReference, NameError,
    ProcessName, ReleaseNumber,
};
pub use phase::{Outcome, Phase, PhaseError, PhaseEvent, WorkPhase};
pub use project::{
    BuildConfig, DeployConfig, DuringMigrations, HealthConfig, MountConfig, ProjectConfig,
    ProjectError, ReleaseConfig, StatusRange, WebConfig,
};
pub use record::{
    Access, App, AppSettings, Deployment, DeploymentKind, PushedBranch, Release, ReleaseError,
    ReleaseState, Scope, Target, Token,
};
pub use repository::{Provider, ProviderError, RepositoryUrl, RepositoryUrlError, Transport};
pub use size::{SizeError, parse_size, show_size};
pub use source::{Delivery, DeliveryId, DeliveryIdError, DeliveryState, Source};
pub use span::{LifetimeError, SpanError, parse_lifetime, parse_span, show_span};
pub use ssh_key::{PublicKey, PublicKeyError, Role, RoleError, SshKey};
pub use static_index::{StaticEntry, StaticIndex, StaticIndexError, is_hashed_name};
pub use table::{
    ConsoleRoute, EDGE_KEY_HEADER, MAX_HOLD_MS, MediaRoute, Route, RouteTable, StaticRoute,
    TableError,
};
pub use timestamp::Timestamp;
pub use wildcard::names_cover;
