//! How an error reaches the terminal, once, here.

use std::error::Error;
use std::process::ExitCode;

use zarpar_model::explain;

/// Bad configuration, as in sysexits(3).
pub(crate) const BAD_CONFIGURATION: u8 = 64;

/// Prints an error and gives the exit code.
#[expect(clippy::print_stderr, reason = "the one place that prints errors")]
pub(crate) fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("zarpar: {}", explain(error));
    ExitCode::from(code)
}
