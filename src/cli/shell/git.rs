//! The pipe between sshd and git on the server: bytes both ways, and git's exit code.

use std::io;
use std::process::ExitCode;

use tokio::io::{AsyncWriteExt, BufReader};
use zarpar_control::{ClientError, Frame, GitPiece, LineError, Request, read_piece};

use crate::cli::Remote;
use crate::cli::client::{block_on, send};
use crate::cli::output;

/// Bytes that are read at once, as much as a pipe holds.
const READ: usize = 64 * 1024;

pub(super) fn serve(remote: &Remote, request: &Request) -> ExitCode {
    block_on(async {
        let mut client = send(remote, request).await?;
        match client.next().await? {
            Frame::Open => {}
            Frame::Refused { text, code } => return Err(ClientError::Refused { text, code }),
            other => {
                let shown = format!("{other:?}").chars().take(200).collect();
                return Err(ClientError::Unexpected(shown));
            }
        }
        let (mut reader, writer) = client.into_parts();
        let mut writer = writer.into_inner();
        let feeding = async {
            let mut input = BufReader::with_capacity(READ, tokio::io::stdin());
            if tokio::io::copy_buf(&mut input, &mut writer).await.is_ok() {
                let _ = writer.shutdown().await;
            }
            // git's exit code is the end, not the client's last byte.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            code = print(reader.get_mut()) => Ok(ExitCode::from(code.map_err(LineError::Io)?)),
            () = feeding => Ok(ExitCode::FAILURE),
        }
    })
}

async fn print(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<u8> {
    // Not a write that blocks: a client that sends before it reads must not wait for itself.
    let mut out = tokio::io::stdout();
    let mut buffer = Vec::new();
    loop {
        match read_piece(reader, &mut buffer).await? {
            GitPiece::Out(bytes) => {
                out.write_all(bytes).await?;
                out.flush().await?;
            }
            GitPiece::Err(bytes) => output::error_bytes(bytes),
            GitPiece::Exit(code) => return Ok(code),
        }
    }
}
