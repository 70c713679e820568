//! Asking the control plane: one request, one answer, one exit code.

use std::io;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use zarpar_control::{Client, ClientError, Frame, LineError, OutputStream, Request};

use super::{Remote, output};
use crate::config::{Layout, default_data};
use crate::report::fail;

/// Runs one command's work.
pub(crate) fn block_on(work: impl Future<Output = Result<ExitCode, ClientError>>) -> ExitCode {
    match on_this_thread(work) {
        Ok(Ok(code)) => code,
        Ok(Err(error @ ClientError::Refused { code, .. })) => fail(&error, code),
        Ok(Err(error)) => fail(&error, 1),
        Err(error) => fail(&error, 1),
    }
}

/// Waits for a future. What is left of its work, such as a read of the terminal that nobody waits
/// for, does not hold the program up.
pub(crate) fn on_this_thread<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

/// The socket of the control plane.
pub(crate) fn socket(remote: &Remote) -> std::path::PathBuf {
    Layout::new(remote.data.clone().unwrap_or_else(default_data)).control_socket()
}

/// Connects and sends the request, in the name of a key when it came by one.
///
/// # Errors
/// [`ClientError`].
pub(crate) async fn send(remote: &Remote, request: &Request) -> Result<Client, ClientError> {
    let Some(road) = &remote.as_key else {
        return Client::send(&socket(remote), request).await;
    };
    let request = Request::AsKey {
        key: road.key.clone(),
        request: Box::new(request.clone()),
    };
    match Client::send(&road.socket, &request).await {
        // Where the server has its things is none of the client's business.
        Err(ClientError::NotRunning { .. } | ClientError::Permission { .. }) => {
            Err(ClientError::Refused {
                text: "zarpar does not answer on this server now\nhint: try again, or ask its admin whether `zarpar serve` runs".to_owned(),
                code: 1,
            })
        }
        sent => sent,
    }
}

/// Asks a question that has one answer and shows it; notes on the way are shown as they come.
pub(crate) fn ask<T: DeserializeOwned>(
    remote: &Remote,
    request: &Request,
    show: impl FnOnce(T),
) -> ExitCode {
    block_on(async {
        let mut client = send(remote, request).await?;
        let value = loop {
            match client.next().await? {
                Frame::Reply(value) => break value,
                Frame::Note(text) => output::note(&text),
                Frame::Refused { text, code } => return Err(ClientError::Refused { text, code }),
                other => {
                    return Err(ClientError::Unexpected(
                        format!("{other:?}").chars().take(200).collect(),
                    ));
                }
            }
        };
        show(
            serde_json::from_value(value).map_err(|error| LineError::Format {
                message: error.to_string(),
            })?,
        );
        Ok(ExitCode::SUCCESS)
    })
}

/// Sends a request and shows what comes, until its end.
pub(crate) fn follow(remote: &Remote, request: &Request) -> ExitCode {
    block_on(async {
        let mut client = send(remote, request).await?;
        loop {
            match client.next().await? {
                Frame::Done { code } => return Ok(ExitCode::from(code)),
                Frame::Refused { text, code } => return Err(ClientError::Refused { text, code }),
                // Nobody reads any more; what was asked goes on without a reader.
                frame => {
                    if show(frame).is_err() {
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
        }
    })
}

/// One frame on the terminal. An error means that nobody reads standard output any more.
pub(crate) fn show(frame: Frame) -> io::Result<()> {
    match frame {
        Frame::Event(event) => {
            for line in zarpar_hooks::render(&event) {
                output::try_bytes(format!("{line}\n").as_bytes())?;
            }
        }
        Frame::Output {
            stream: OutputStream::Out,
            data,
        } => output::try_bytes(&data.0)?,
        Frame::Output {
            stream: OutputStream::Err,
            data,
        } => output::error_bytes(&data.0),
        Frame::Note(text) => output::note(&text),
        Frame::Reply(_) | Frame::Open | Frame::Done { .. } | Frame::Refused { .. } => {}
    }
    Ok(())
}
