//! The two outputs. A reader that went away (`zarpar logs | head`) ends the program quietly, as
//! with every other tool.

use std::io::{self, Write};

use serde::Serialize;

/// A line on standard output.
pub(crate) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// A line for people on standard error.
pub(crate) fn note(text: &str) {
    error_bytes(format!("{text}\n").as_bytes());
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("zarpar: {error}")),
    }
}

/// Bytes as they are; ends the program when nobody reads. For listings alone, where nothing is
/// left to put back.
#[expect(
    clippy::exit,
    reason = "nobody reads any more, and nothing is half done"
)]
pub(crate) fn bytes(data: &[u8]) {
    if try_bytes(data).is_err() {
        std::process::exit(1);
    }
}

/// Bytes as they are.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn try_bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(data)?;
    out.flush()
}

/// Bytes as they are, on standard error. That nobody reads there is no reason to stop.
pub(crate) fn error_bytes(data: &[u8]) {
    let _ = io::stderr().lock().write_all(data);
}
