//! The client's end of the control socket.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{ClientFrame, Frame, LineError, LineReader, LineWriter, Request};

/// Why a request got no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("expected `{program}` to answer on `{}`, but it does not\nhint: start it with `{program}`, or name its data folder with `--data DIR` or `ZARPAR_DATA`", socket.display())]
    NotRunning {
        /// The command that would listen.
        program: &'static str,
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket belongs to somebody else.
    #[error("no permission to use `{}`\nhint: run the command as the user of `{program}`, for example with `sudo`", socket.display())]
    Permission {
        /// The command that listens.
        program: &'static str,
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The peer answered that it did not do it.
    #[error("{text}")]
    Refused {
        /// For people, with a hint.
        text: String,
        /// The exit code.
        code: u8,
    },
    /// The peer went away in the middle.
    #[error(
        "`zarpar serve` ended before it answered\nhint: what was accepted goes on when it starts again; look with `zarpar deployments APP`"
    )]
    Closed,
    /// An answer to another question.
    #[error(
        "unexpected answer `{0}`\nhint: do client and server have the same version? `zarpar --version`"
    )]
    Unexpected(String),
    /// The connection or its format.
    #[error(transparent)]
    Line(#[from] LineError),
}

impl ClientError {
    pub(crate) fn not_running(
        program: &'static str,
        socket: &Path,
        source: io::Error,
    ) -> ClientError {
        let socket = socket.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ClientError::Permission {
                program,
                socket,
                source,
            }
        } else {
            ClientError::NotRunning {
                program,
                socket,
                source,
            }
        }
    }

    pub(crate) fn unexpected(answer: &impl Debug) -> ClientError {
        ClientError::Unexpected(format!("{answer:?}").chars().take(200).collect())
    }
}

/// One request and its answer.
#[derive(Debug)]
pub struct Client {
    reader: LineReader<OwnedReadHalf>,
    writer: LineWriter<OwnedWriteHalf>,
}

impl Client {
    /// Connects and sends the request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send(socket: &Path, request: &Request) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| ClientError::not_running("zarpar serve", socket, error))?;
        let (reader, writer) = stream.into_split();
        let mut client = Client {
            reader: LineReader::new(reader),
            writer: LineWriter::new(writer),
        };
        client.writer.send(request).await?;
        Ok(client)
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the control plane went away before `Done`.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        self.reader.next().await?.ok_or(ClientError::Closed)
    }

    /// The reader and the writer apart, for a command that has input.
    pub fn into_parts(self) -> (LineReader<OwnedReadHalf>, LineWriter<OwnedWriteHalf>) {
        (self.reader, self.writer)
    }

    /// Sends a frame to a command that runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn input(&mut self, frame: &ClientFrame) -> Result<(), ClientError> {
        Ok(self.writer.send(frame).await?)
    }

    /// Asks one question that has one answer.
    ///
    /// # Errors
    /// [`ClientError`], [`ClientError::Refused`] with the server's words.
    pub async fn ask<T: DeserializeOwned>(
        socket: &Path,
        request: &Request,
    ) -> Result<T, ClientError> {
        let mut client = Client::send(socket, request).await?;
        loop {
            match client.next().await? {
                Frame::Reply(value) => {
                    return serde_json::from_value(value).map_err(|error| {
                        LineError::Format {
                            message: error.to_string(),
                        }
                        .into()
                    });
                }
                Frame::Refused { text, code } => return Err(ClientError::Refused { text, code }),
                Frame::Note(_) => {}
                other => return Err(ClientError::unexpected(&other)),
            }
        }
    }
}
