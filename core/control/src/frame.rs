//! What goes over the control socket after the request: frames to the client until `Done` or
//! `Refused`, and, for `run`, frames from the client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use zarpar_model::Event;

/// What the control plane sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// An event of a deployment.
    Event(Event),
    /// Bytes for the client's own output: logs, and what a `run` command prints.
    Output {
        /// Which.
        stream: OutputStream,
        /// The bytes.
        data: Bytes64,
    },
    /// A line for people, on standard error.
    Note(String),
    /// The answer of a listing.
    Reply(serde_json::Value),
    /// From here on the connection carries git's bytes, as [`crate::GitPiece`] says.
    Open,
    /// The end; the client exits with this code.
    Done {
        /// The exit code.
        code: u8,
    },
    /// The end: it was not done. The text says what was expected and has a `hint:`.
    Refused {
        /// For people.
        text: String,
        /// The exit code: 1 failed, 2 bad usage.
        code: u8,
    },
}

/// One of the two outputs of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a client sends while its `run` command is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame {
    /// Bytes for the command's standard input.
    Input(Bytes64),
    /// The end of standard input.
    Eof,
    /// The size of the client's terminal.
    Resize {
        /// Columns.
        width: u16,
        /// Lines.
        height: u16,
    },
}

/// Bytes as base64 text, since a line of JSON cannot hold them as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes64(pub Vec<u8>);

impl Serialize for Bytes64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes64, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes64).map_err(D::Error::custom)
    }
}
