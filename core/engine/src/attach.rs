//! What a container writes, and what is written to it: logs and attach.
//!
//! Streams are lazy: the engine is asked at the first poll, a failure is the
//! first item, and dropping the stream hangs up. Nothing is kept in memory
//! beyond one frame (a log line, at most 16 KiB).

use std::fmt;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{AttachContainerOptions, LogsOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncWrite;

use crate::label::checked;
use crate::{Engine, EngineError};

/// Output as it comes.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogChunk, EngineError>> + Send>>;

/// Where input goes; `shutdown` ends it, and the program reads end of file.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A piece of output: a line of the log, or whatever was written at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Which of the two; always stdout where there is a terminal.
    pub stream: OutputKind,
    /// As written, line ends included.
    pub bytes: Bytes,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Which part of a log to read. `Default` is all of it so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Goes on with what comes, until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only from this moment on (whole seconds).
    pub since: Option<SystemTime>,
    /// Each line begins with its time (RFC 3339) and a space.
    pub timestamps: bool,
}

/// Both ends of a running program.
pub struct Attached {
    /// What it writes; ends when the program does.
    pub output: LogStream,
    /// What it reads.
    pub input: Input,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

impl Engine {
    /// A container's log. The first item is [`EngineError::NotFound`] where there is none.
    #[must_use]
    pub fn logs(&self, id: &str, options: LogOptions) -> LogStream {
        let what = format!("read the log of container `{id}`");
        if let Err(error) = checked(&what, id) {
            return Box::pin(stream::once(async { Err(error) }));
        }
        let since = options
            .since
            .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |time| i32::try_from(time.as_secs()).unwrap_or(i32::MAX));
        let options = LogsOptions {
            follow: options.follow,
            stdout: true,
            stderr: true,
            since,
            timestamps: options.timestamps,
            tail: options
                .tail
                .map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            ..Default::default()
        };
        to_chunks(what, self.docker.logs(id, Some(options)))
    }

    /// Attaches to a container, before it starts or while it runs; output written
    /// earlier is not repeated. Without `stdin` the input goes nowhere.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn attach(&self, id: &str, stdin: bool) -> Result<Attached, EngineError> {
        let what = format!("attach to container `{id}`");
        let id = checked(&what, id)?;
        let options = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            stdin,
            ..Default::default()
        };
        let attached = self
            .ask(&what, self.docker.attach_container(id, Some(options)))
            .await?;
        Ok(Attached {
            output: to_chunks(what, attached.output),
            input: attached.input,
        })
    }
}

pub(crate) fn to_chunks(
    what: String,
    output: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
) -> LogStream {
    Box::pin(output.map(move |item| {
        let output = item.map_err(|error| EngineError::new(&what, error))?;
        let stream = match output {
            LogOutput::StdErr { .. } => OutputKind::Stderr,
            _ => OutputKind::Stdout,
        };
        let bytes = output.into_bytes();
        Ok(LogChunk { stream, bytes })
    }))
}
