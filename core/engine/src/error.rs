//! What can go wrong between zarpar and the Docker Engine.
//!
//! Every variant says what was being done, with the literal it was done to;
//! callers branch on `NotFound`, `Conflict` and `Unreachable` without reading
//! messages. The engine's own words are kept, never reworded.

use std::io;
use std::time::Duration;

use bollard::errors::Error;

use crate::transport::DialError;

/// A call to the Docker Engine that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine answered: no socket, nobody listening, no permission.
    #[error("no Docker Engine answers on `{address}`\nhint: {hint}")]
    Unreachable {
        /// Socket path or host and port.
        address: String,
        /// The next command to try.
        hint: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// `DOCKER_HOST` names a way of talking that zarpar does not offer.
    #[error(
        "expected `unix://PATH` or `tcp://HOST:PORT` in DOCKER_HOST, found `{value}`\nhint: unset DOCKER_HOST to use /var/run/docker.sock"
    )]
    Address {
        /// The value of the variable.
        value: String,
    },
    /// A name or id that cannot be one of the engine's (it would change the path of the request).
    #[error("could not {what}: expected letters, digits, `_`, `.` and `-` in `{literal}`")]
    Literal {
        /// What was being done.
        what: String,
        /// The text refused.
        literal: String,
    },
    /// The object does not exist (404).
    #[error("could not {what}: {message}")]
    NotFound {
        /// What was being done.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The object's state does not allow it: name taken, in use, not running (409).
    #[error("could not {what}: {message}")]
    Conflict {
        /// What was being done.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// Any other refusal of the engine.
    #[error("could not {what}: {message}")]
    Api {
        /// What was being done.
        what: String,
        /// HTTP status, or 200 when the engine failed in the middle of an answer.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine did not answer in time.
    #[error("could not {what}: no answer within {} s", after.as_secs())]
    TimedOut {
        /// What was being done.
        what: String,
        /// How long it was given.
        after: Duration,
    },
    /// What zarpar itself was sending failed while being read.
    #[error("could not {what}: what was being sent could not be read")]
    Body {
        /// What was being done.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer was not what the API promises.
    #[error("could not {what}: the conversation with the Docker Engine broke off")]
    Broken {
        /// What was being done.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EngineError {
    /// Whether the object asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The engine's own words, where it said something. Its status does not always fit them:
    /// 20.10 answers 404 when no addresses are left.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::NotFound { message, .. }
            | Self::Conflict { message, .. }
            | Self::Api { message, .. } => message,
            _ => "",
        }
    }

    pub(crate) fn new(what: &str, error: Error) -> Self {
        let what = what.to_owned();
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => match status_code {
                404 => Self::NotFound { what, message },
                409 => Self::Conflict { what, message },
                status => Self::Api {
                    what,
                    status,
                    message,
                },
            },
            Error::DockerStreamError { error } => Self::Api {
                what,
                status: 200,
                message: error,
            },
            Error::IOError { err } => match DialError::find(err) {
                Ok(dial) => Self::unreachable(dial.address, dial.source),
                Err(err) => Self::Broken {
                    what,
                    source: err.into(),
                },
            },
            other => Self::Broken {
                what,
                source: other.into(),
            },
        }
    }

    pub(crate) fn unreachable(address: String, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "run as root, or add the user to the group `docker`: `usermod -aG docker zarpar`"
            }
            io::ErrorKind::TimedOut => {
                "it is there but does not answer; look at `journalctl -u docker`"
            }
            io::ErrorKind::ConnectionRefused => {
                "the socket is there and nobody listens; start it: `systemctl start docker`"
            }
            _ => "install Docker Engine and start it: `systemctl start docker`",
        }
        .to_owned();
        Self::Unreachable {
            address,
            hint,
            source,
        }
    }

    pub(crate) fn broken(what: &str, why: &'static str) -> Self {
        Self::Broken {
            what: what.to_owned(),
            source: why.into(),
        }
    }
}

/// An absent object is an answer, not an error, for a question or a removal.
pub(crate) fn absent_is_none<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
