//! One run of a git service with its pipes, whatever road the client came by. Nothing is held
//! whole. The exchange belongs to whoever awaits it, a task, and not to the client: when nobody
//! takes git's output any more it is read and dropped, so git and its hooks never block, and the
//! deployment that a hook follows ends as it would have.

use std::io;
use std::process::ExitStatus;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;

/// Bytes of git's error output that reach our log.
const ERROR_OUTPUT: usize = 4096;
/// Bytes of output that are passed on at once.
const PIECE: usize = 16 * 1024;
/// Bytes of input that are read at once, as much as a pipe holds.
const READ: usize = 64 * 1024;
/// Pieces on their way to a client.
pub(crate) const PIECES: usize = 4;

/// Where git's two outputs go.
pub(crate) struct Outputs {
    /// Standard output.
    pub(crate) out: mpsc::Sender<Bytes>,
    /// Standard error, for a road that has one.
    pub(crate) err: Option<mpsc::Sender<Bytes>>,
}

/// Feeds git `input`, at most `limit` bytes of it, and passes on what it writes, until it has
/// ended. `input` may stay open beyond that: a client over SSH closes only after git has.
///
/// # Errors
/// When git was started without its pipes, or its end cannot be learnt.
pub(crate) async fn exchange(
    mut child: Child,
    input: impl AsyncRead + Unpin,
    limit: u64,
    outputs: Outputs,
) -> io::Result<ExitStatus> {
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("git started without its pipes"));
    };
    let mut said = Vec::new();
    let printing = async {
        tokio::join!(
            drain(stdout, Some(outputs.out), None),
            drain(stderr, outputs.err, Some(&mut said))
        );
    };
    let feeding = async {
        if let Err(error) = feed(input, limit, stdin).await {
            tracing::info!(%error, "a git client's request ended early");
        }
        // What git still writes is what the exchange waits for.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = printing => {}
        () = feeding => {}
    }
    let status = child.wait().await?;
    if !status.success() {
        tracing::info!(?status, said = %String::from_utf8_lossy(&said).trim(), "git ended with an error");
    }
    Ok(status)
}

async fn feed(input: impl AsyncRead + Unpin, limit: u64, mut stdin: ChildStdin) -> io::Result<()> {
    let mut input = BufReader::with_capacity(READ, input.take(limit));
    tokio::io::copy_buf(&mut input, &mut stdin).await?;
    if input.get_ref().limit() == 0 {
        return Err(io::Error::other("the request is larger than a fetch needs"));
    }
    stdin.shutdown().await
}

/// Reads to the end. A client that is gone is no reason to stop: git would block on a full pipe,
/// and the hook with it.
async fn drain(
    mut pipe: impl AsyncRead + Unpin,
    taker: Option<mpsc::Sender<Bytes>>,
    mut start: Option<&mut Vec<u8>>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        if let Some(start) = &mut start {
            let room = ERROR_OUTPUT.saturating_sub(start.len()).min(count);
            start.extend_from_slice(&piece[..room]);
        }
        if let Some(taker) = &taker {
            let _ = taker.send(Bytes::copy_from_slice(&piece[..count])).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    fn program(script: &str) -> Child {
        tokio::process::Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    async fn bounded(work: impl Future<Output = io::Result<ExitStatus>>) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(20), work)
            .await
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn an_input_that_stays_open_does_not_hold_the_end_up() {
        let child = program(
            "import sys; print(sys.stdin.readline(), end=''); print('e', file=sys.stderr); exit(3)",
        );
        let (mut ours, theirs) = tokio::io::duplex(64);
        ours.write_all(b"uno\n").await.unwrap();
        let (out, mut taken) = mpsc::channel(PIECES);
        let (err, mut errors) = mpsc::channel(PIECES);
        let outputs = Outputs {
            out,
            err: Some(err),
        };
        let status = bounded(exchange(child, theirs, u64::MAX, outputs)).await;
        assert_eq!(status.code(), Some(3));
        assert_eq!(taken.recv().await.unwrap(), "uno\n");
        assert_eq!(errors.recv().await.unwrap(), "e\n");
        drop(ours);
    }

    #[tokio::test]
    async fn without_a_client_the_program_ends_as_it_would_have() {
        // More than a pipe holds, on both outputs.
        let child = program(
            "import sys; [f.write('x' * 300000) for f in (sys.stdout, sys.stderr)]; exit(5)",
        );
        let (out, taken) = mpsc::channel(PIECES);
        drop(taken);
        let outputs = Outputs { out, err: None };
        let status = bounded(exchange(child, tokio::io::empty(), 1, outputs)).await;
        assert_eq!(status.code(), Some(5));
    }
}
