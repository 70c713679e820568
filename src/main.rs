//! The one binary. Git calls it as a hook by the name of a link (`pre-receive`, `proc-receive`), and instead
//! of ssh as `git-ssh`; under
//! its own name it parses the command line and dispatches: `serve` and `router` are the two
//! daemons, everything else is a thin client of the control plane's socket.

mod cli;
mod config;
mod daemon;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    if let Some(hook) = zarpar_hooks::Hook::from_name(&called_as) {
        return zarpar_hooks::run(hook);
    }
    if zarpar_receiver::is_git_ssh(&called_as) {
        return zarpar_receiver::git_ssh();
    }
    cli::say(std::env::args_os().skip(1).collect())
}
