//! A client's bytes on their way to git. Of a push nothing but its beginning is read until it is
//! its turn, so that no more packs are checked at once than the machine has memory for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use super::Outputs;
use super::progress::Progress;
use crate::receives::Receive;

/// Bytes of input that are read at once, as much as a pipe holds.
const READ: usize = 64 * 1024;
/// What a push waits for its turn.
pub(super) const TURN: Duration = Duration::from_secs(60);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// Git has all of it.
    All,
    /// Others did not end in time.
    Crowded,
}

/// Feeds git `input`, at most `limit` bytes of it. Over SSH the turn begins with the client's first
/// byte, because it may run a hook of its own for minutes before.
pub(super) async fn feed(
    input: impl AsyncRead + Unpin,
    limit: u64,
    mut stdin: ChildStdin,
    progress: &Progress,
    receive: Option<&Receive>,
    outputs: &Outputs,
) -> io::Result<Fed> {
    let mut input = input.take(limit);
    let mut piece = vec![0; READ];
    let mut waits = receive;
    loop {
        let count = input.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        progress.heard();
        if let Some(receive) = waits.take()
            && !turn_of(receive, outputs).await
        {
            return Ok(Fed::Crowded);
        }
        progress.heard();
        stdin.write_all(&piece[..count]).await?;
    }
    if input.limit() == 0 {
        return Err(io::Error::other("the request is larger than it may be"));
    }
    stdin.shutdown().await?;
    Ok(Fed::All)
}

/// Waits until a push may arrive, and says so where there is a line to say it on; `false` when it
/// took too long.
async fn turn_of(receive: &Receive, outputs: &Outputs) -> bool {
    if receive.take_turn_now() {
        return true;
    }
    if let Some(err) = &outputs.err {
        let _ = err.try_send("waiting: other pushes are arriving\n".into());
    }
    tokio::time::timeout(TURN, receive.take_turn())
        .await
        .is_ok()
}
