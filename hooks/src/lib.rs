//! What git calls during a push. Both hooks are links to the zarpar binary, told apart by their
//! name. `pre-receive` asks the control plane whether the references may move at all; `update`
//! asks it to deploy, shows the deployment to the pusher, and lets the branch move only when the
//! release is live. The hooks keep no state; when one dies, git refuses the reference.
#![warn(missing_docs)]

mod install;
mod render;
mod run;

pub use install::install;
pub use render::render;
pub use run::{Hook, run};

/// The variable with the app's name, set by whoever starts `git receive-pack`.
pub const ENV_APP: &str = "ZARPAR_HOOK_APP";
/// The variable with the pusher's name.
pub const ENV_BY: &str = "ZARPAR_HOOK_BY";
/// The variable with the path of the control socket.
pub const ENV_SOCKET: &str = "ZARPAR_HOOK_SOCKET";
/// The variable with the number under which whoever started `git receive-pack` knows this push.
pub const ENV_RECEIVE: &str = "ZARPAR_HOOK_RECEIVE";
