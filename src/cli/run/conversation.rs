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

/// What a shell shows for a program that SIGHUP ended, 128 + 1.
const HANGUP: u8 = 129;
/// Most bytes of input in one frame.
const PIECE: usize = 16 * 1024;

/// What is on our side of the command.
pub(super) enum Side {
    /// Files and pipes.
    Pipes,
    /// A terminal.
    Terminal(Terminal),
    /// Pipes to a terminal at the other end of ssh.
    FarTerminal,
}

/// Carries input and output until the command ends; gives its exit code.
pub(super) async fn converse(
    client: Client,
    stdin: impl AsyncRead + Unpin,
    side: Side,
) -> Result<ExitCode, ClientError> {
    let raw = !matches!(side, Side::Pipes);
    let far = matches!(side, Side::FarTerminal);
    let mut terminal = match side {
        Side::Terminal(terminal) => Some(terminal),
        Side::Pipes | Side::FarTerminal => None,
    };
    let sized = terminal.is_some();
    let (mut frames, mut input) = client.into_parts();
    // Borrowed, so that the writing half stays open to the end: closing it says the client went.
    let mut sending = pin!(send(&mut input, stdin, sized, far));
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
            sent = &mut sending, if open => {
                open = false;
                // A terminal has no end of its own, so the laptop is gone; the command must not stay.
                if far && sent.is_ok() {
                    return Ok(ExitCode::from(HANGUP));
                }
            },
            code = terminal::ended(&mut terminal) => return Ok(ExitCode::from(code)),
        }
    }
}

async fn send(
    input: &mut LineWriter<impl AsyncWrite + Unpin>,
    mut stdin: impl AsyncRead + Unpin,
    sized: bool,
    far: bool,
) -> Result<(), LineError> {
    let mut resized = match sized {
        true => Some(signal(SignalKind::window_change())?),
        false => None,
    };
    if sized && let Some(size) = terminal::size() {
        input.send(&size).await?;
    }
    let mut piece = vec![0; PIECE];
    let mut open = true;
    loop {
        tokio::select! {
            count = stdin.read(&mut piece), if open => match count {
                Ok(count @ 1..) => input.send(&ClientFrame::Input(Bytes64(piece[..count].to_vec()))).await?,
                _ if far => return Ok(()),
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
        talk_beside(Side::Pipes, frames, reads_input, stdin).await
    }

    async fn talk_beside(
        side: Side,
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
                let Some(frame) = reader.next::<ClientFrame>().await.unwrap() else {
                    return bytes;
                };
                match frame {
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
            converse(client, stdin, side).await
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

    #[tokio::test]
    async fn a_far_terminal_that_ends_ends_the_command() {
        let (result, bytes) = talk_beside(Side::FarTerminal, Vec::new(), true, b"ls\r").await;
        assert_eq!(result.unwrap(), ExitCode::from(HANGUP));
        assert_eq!(bytes, 3);
    }
}
