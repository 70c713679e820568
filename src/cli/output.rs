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

/// Bytes as they are.
pub(crate) fn bytes(data: &[u8]) {
    let mut out = io::stdout().lock();
    end_when_closed(out.write_all(data).and_then(|()| out.flush()));
}

/// Bytes as they are, on standard error.
pub(crate) fn error_bytes(data: &[u8]) {
    let mut out = io::stderr().lock();
    end_when_closed(out.write_all(data).and_then(|()| out.flush()));
}

#[expect(
    clippy::exit,
    reason = "nobody reads any more, and nothing is half done"
)]
fn end_when_closed(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(1);
    }
}
