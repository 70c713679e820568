//! What git calls during a push. Both hooks are links to the zarpar binary, told apart by their
//! name. `pre-receive` asks the control plane whether the references may move at all; `proc-receive`
//! asks it to deploy and to move the branch once the release is live, and shows the deployment to
//! the pusher. The hooks keep no state; when one dies, git refuses the reference.
#![warn(missing_docs)]

mod install;
mod proc_receive;
mod quarantine;
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
