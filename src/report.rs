//! How an error reaches the terminal: the message with its causes, the hint last, once, here.

use std::error::Error;
use std::process::ExitCode;

/// Bad configuration, as in sysexits(3).
pub(crate) const BAD_CONFIGURATION: u8 = 64;

/// Prints an error and gives the exit code.
#[expect(clippy::print_stderr, reason = "the one place that prints errors")]
pub(crate) fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("zarpar: {}", explain(error));
    ExitCode::from(code)
}

/// The message and its causes; lines that start with `hint:` come last, and none twice.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        for line in error.to_string().lines() {
            let place = if line.starts_with("hint:") {
                &mut hints
            } else {
                &mut lines
            };
            if !place.iter().any(|known| known == line) {
                place.push(line.to_owned());
            }
        }
        next = error.source();
    }
    lines.extend(hints);
    lines.join("\n")
}
