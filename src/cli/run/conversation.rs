//! The two directions of a `run` command. Neither waits for the other: a command that prints
//! much before it reads must not stop, and what the control plane says last is read even when
//! it takes no input any more.

use std::pin::pin;
use std::process::ExitCode;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zarpar_control::{Bytes64, Client, ClientError, ClientFrame, Frame, LineError, LineWriter};

use super::terminal::{self, Terminal};
use crate::cli::client::show;
use crate::cli::output;

/// Most bytes of input in one frame.
const PIECE: usize = 16 * 1024;

/// Carries input and output until the command ends; gives its exit code.
pub(super) async fn converse(
    client: Client,
    stdin: impl AsyncRead + Unpin,
    mut terminal: Option<Terminal>,
) -> Result<ExitCode, ClientError> {
    let raw = terminal.is_some();
    let (mut frames, mut input) = client.into_parts();
    // Borrowed, so that the writing half stays open to the end: closing it says the client went.
    let mut sending = pin!(send(&mut input, stdin, raw));
    let mut open = true;
    loop {
        tokio::select! {
            frame = frames.next::<Frame>() => match frame? {
                Some(Frame::Done { code }) => return Ok(ExitCode::from(code)),
                Some(Frame::Refused { text, code }) => return Err(ClientError::Refused { text, code }),
                // A raw terminal goes to the start of a line only when told.
                Some(Frame::Note(text)) if raw => output::note(&format!("{}\r", text.replace('\n', "\r\n"))),
                Some(frame) => if show(frame).is_err() {
                    return Ok(ExitCode::FAILURE);
                },
                None => return Err(ClientError::Closed),
            },
            _ = &mut sending, if open => open = false,
            code = terminal::ended(&mut terminal) => return Ok(ExitCode::from(code)),
        }
    }
}

async fn send(
    input: &mut LineWriter<impl AsyncWrite + Unpin>,
    mut stdin: impl AsyncRead + Unpin,
    raw: bool,
) -> Result<(), LineError> {
    let mut resized = match raw {
        true => Some(signal(SignalKind::window_change())?),
        false => None,
    };
    if raw && let Some(size) = terminal::size() {
        input.send(&size).await?;
    }
    let mut piece = vec![0; PIECE];
    let mut open = true;
    loop {
        tokio::select! {
            count = stdin.read(&mut piece), if open => match count {
                Ok(count @ 1..) => input.send(&ClientFrame::Input(Bytes64(piece[..count].to_vec()))).await?,
                _ => {
                    open = false;
                    input.send(&ClientFrame::Eof).await?;
                }
            },
            Some(()) = next(&mut resized) => if let Some(size) = terminal::size() {
                input.send(&size).await?;
            },
            else => return Ok(()),
        }
    }
}

async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::net::UnixListener;
    use tokio::time::timeout;
    use zarpar_control::{LineReader, Request};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A control plane that says `frames` before it reads any input, then counts the input.
    async fn talk(
        frames: Vec<Frame>,
        reads_input: bool,
        stdin: &[u8],
    ) -> (Result<ExitCode, ClientError>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let peer = async {
            let (reader, writer) = listener.accept().await.unwrap().0.into_split();
            let (mut reader, mut writer) = (LineReader::new(reader), LineWriter::new(writer));
            reader.next::<Request>().await.unwrap().unwrap();
            for frame in &frames {
                writer.send(frame).await.unwrap();
            }
            let mut bytes = 0;
            if !reads_input {
                return bytes;
            }
            loop {
                match reader.next::<ClientFrame>().await.unwrap().unwrap() {
                    ClientFrame::Input(Bytes64(data)) => bytes += data.len(),
                    ClientFrame::Eof => {
                        writer.send(&Frame::Done { code: 7 }).await.unwrap();
                        return bytes;
                    }
                    ClientFrame::Resize { .. } => {}
                }
            }
        };
        let client = async {
            let client = Client::send(&socket, &Request::AppList).await?;
            converse(client, stdin, None).await
        };
        let (bytes, result) = timeout(DEADLINE, async { tokio::join!(peer, client) })
            .await
            .expect("both directions go on");
        (result, bytes)
    }

    #[tokio::test]
    async fn output_is_read_while_input_waits() {
        // Each direction is more than the socket holds.
        let frames = vec![Frame::Reply("x".repeat(64 * 1024).into()); 64];
        let stdin = vec![b'y'; 4 * 1024 * 1024];
        let (result, bytes) = talk(frames, true, &stdin).await;
        assert_eq!(result.unwrap(), ExitCode::from(7));
        assert_eq!(bytes, stdin.len());
    }

    #[tokio::test]
    async fn a_refusal_is_heard_although_the_input_breaks() {
        let refused = Frame::Refused {
            text: "no such app".to_owned(),
            code: 2,
        };
        let (result, _) = talk(vec![refused], false, &vec![b'y'; 4 * 1024 * 1024]).await;
        assert!(
            matches!(result, Err(ClientError::Refused { code: 2, .. })),
            "{result:?}"
        );
    }
}
