//! One run of a git service with its pipes, whatever road the client came by. Nothing is held
//! whole. The exchange belongs to whoever awaits it, a task, and not to the client: when nobody
//! takes git's output any more it is read and dropped, so git and its hooks never block, and the
//! deployment that a hook follows ends as it would have.

mod feed;
mod hints;
mod progress;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::mpsc;
use zarpar_model::show_span;

use self::feed::{Fed, TURN, feed};
use self::hints::Hints;
use self::progress::Progress;
use crate::git::GitLimits;
use crate::leftovers;
use crate::receives::Served;

/// Bytes of git's outputs that are kept for our log.
const ERROR_OUTPUT: usize = 4096;
/// Bytes of output that are passed on at once.
const PIECE: usize = 16 * 1024;
/// What git gets to end by itself when it is told to.
const KILL: Duration = Duration::from_secs(2);
/// Pieces on their way to a client.
pub(crate) const PIECES: usize = 4;

/// Where git's two outputs go.
pub(crate) struct Outputs {
    /// Standard output.
    pub(crate) out: mpsc::Sender<Bytes>,
    /// Standard error, for a road that has one.
    pub(crate) err: Option<mpsc::Sender<Bytes>>,
}

/// Why an exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Git closed its outputs.
    Done,
    /// The client neither sent nor took anything.
    Idle,
    /// The push was not here in time.
    Late,
    /// Nobody takes what a fetch answers.
    Gone,
    /// As many pushes as may arrive at once did, for too long.
    Crowded,
}

/// Feeds git `input`, at most `limit` bytes of it, and passes on what it writes, until it has
/// ended. `input` may stay open beyond that: a client over SSH closes only after git has. A client
/// that stalls, or a push that is not here in time, ends git and whatever git started; a push that
/// is here and checked has no limit any more, because its hook waits for a deployment.
///
/// # Errors
/// When git was started without its pipes, or its end cannot be learnt.
pub(crate) async fn exchange(
    mut served: Served,
    input: impl AsyncRead + Unpin,
    limit: u64,
    outputs: Outputs,
) -> io::Result<ExitStatus> {
    let child = &mut served.child;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("git started without its pipes"));
    };
    let progress = Progress::new();
    let (mut told, mut said) = (Vec::new(), Vec::new());
    // A fetch that nobody takes is of no use to anybody; a push is, once it is here.
    let goes_on = served.receive.is_some();
    let mut out = Taker::new(Some(&outputs.out), goes_on, served.limits.idle);
    out.hints = goes_on.then(|| Hints::new(&served.limits));
    let err = Taker::new(outputs.err.as_ref(), goes_on, served.limits.idle);
    let printing = async {
        let both = tokio::try_join!(
            drain(stdout, out, &progress, &mut told),
            drain(stderr, err, &progress, &mut said)
        );
        both.map_or(End::Gone, |_| End::Done)
    };
    // git sees its input end in the middle then, and cannot know why.
    let fault = OnceLock::new();
    let feeding = async {
        let receive = served.receive.as_ref();
        match feed(input, limit, stdin, &progress, receive, &outputs).await {
            Ok(Fed::All) => {}
            Ok(Fed::Crowded) => return End::Crowded,
            Err(error) => {
                tracing::info!(%error, "a git client's request ended early");
                let _ = fault.set(error.to_string());
            }
        }
        // What git still writes is what the exchange waits for; a client that has sent all of it
        // has nothing to be slow with.
        if goes_on {
            progress.sent_all();
        }
        std::future::pending::<End>().await
    };
    let end = tokio::select! {
        end = printing => end,
        end = feeding => end,
        end = overdue(&served, outputs.err.is_some(), &progress) => end,
    };
    if end != End::Done {
        end_group(&mut served.child).await;
    }
    let status = served.child.wait().await?;
    let mut said = String::from_utf8_lossy(&said).trim().to_owned();
    if !status.success() {
        tracing::info!(?end, ?status, %said, "git ended with an error");
    }
    if let Some(fault) = fault.get() {
        said.clone_from(fault);
    }
    if let Some(text) = last_words(end, &status, told.is_empty(), &said, &served.limits) {
        let is_push = goes_on && end != End::Done;
        tell(&outputs, &text, is_push).await;
    }
    if let Some(receive) = served.receive.take()
        && (end != End::Done || status.signal().is_some())
    {
        let found = receive.end_killed(&served.repository);
        let removed =
            tokio::task::spawn_blocking(move || leftovers::remove(&found, Duration::ZERO));
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "files of a push that was ended are left, the next start removes them");
        }
    }
    Ok(status)
}

/// Ends when the client or the push is over its time. On a road that has all of it on one
/// connection, a client runs its own `pre-push` hook before it sends anything.
async fn overdue(served: &Served, whole_dialogue: bool, progress: &Progress) -> End {
    let GitLimits { idle, receive, .. } = served.limits;
    let Some(push) = &served.receive else {
        progress.stalled(idle, idle).await;
        return End::Idle;
    };
    let first = if whole_dialogue { receive } else { idle };
    tokio::select! {
        () = push.whole() => std::future::pending().await,
        () = tokio::time::sleep(receive) => End::Late,
        () = progress.stalled(first, idle) => End::Idle,
    }
}

/// Ends git and all that it started. Asked first, because git removes its temporary files then.
async fn end_group(child: &mut Child) {
    let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else {
        return;
    };
    let _ = kill_process_group(group, Signal::TERM);
    let _ = tokio::time::timeout(KILL, child.wait()).await;
    // The leader may be gone and others not; without any this finds nobody.
    let _ = kill_process_group(group, Signal::KILL);
}

/// What the client is told at the end besides git's own words.
fn last_words(
    end: End,
    status: &ExitStatus,
    silent: bool,
    said: &str,
    limits: &GitLimits,
) -> Option<String> {
    match end {
        End::Idle => Some(format!(
            "nothing came or went for {}, so the connection was ended\nhint: try again",
            show_span(limits.idle)
        )),
        End::Late => Some(format!(
            "the push was not here within {}\nhint: push again, on a faster line; `receive_time` under `[git]` of the server's configuration gives it longer",
            show_span(limits.receive)
        )),
        End::Crowded => Some(format!(
            "other pushes were arriving for {}, and only so many may at once\nhint: push again in a minute",
            show_span(TURN)
        )),
        End::Done if silent && !status.success() => {
            let line = said.lines().last().filter(|line| !line.is_empty());
            Some(line.unwrap_or("git ended without an answer").to_owned())
        }
        End::Done | End::Gone => None,
    }
}

/// Text on the error output where there is one, else as git's protocol has it: an error of the
/// side band (gitprotocol-pack(5)) for who sent a push, else an error line
/// (gitprotocol-common(5)).
async fn tell(outputs: &Outputs, text: &str, in_band: bool) {
    let (taker, bytes) = match &outputs.err {
        Some(err) => (err, format!("{text}\n")),
        None if in_band => (&outputs.out, packet(&format!("\u{3}{text}\n"))),
        None => (&outputs.out, packet(&format!("ERR {text}"))),
    };
    // A client that stalled may not take this either.
    let _ = taker.send_timeout(bytes.into(), KILL).await;
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// Who takes an output.
struct Taker<'a> {
    sender: Option<&'a mpsc::Sender<Bytes>>,
    goes_on: bool,
    idle: Duration,
    /// For what git says to who pushes.
    hints: Option<Hints>,
}

/// Nobody takes an output that is for nobody else.
struct Gone;

impl<'a> Taker<'a> {
    fn new(sender: Option<&'a mpsc::Sender<Bytes>>, goes_on: bool, idle: Duration) -> Taker<'a> {
        Taker {
            sender,
            goes_on,
            idle,
            hints: None,
        }
    }

    /// Passes a piece on. Without a client a push goes on: git would block on a full pipe, and
    /// the hook with it.
    async fn take(&mut self, piece: &[u8]) -> Result<(), Gone> {
        let Some(sender) = self.sender else {
            return Ok(());
        };
        let bytes = match &mut self.hints {
            Some(hints) => hints.pass(piece),
            None => Bytes::copy_from_slice(piece),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        match sender.send_timeout(bytes, self.idle).await {
            Ok(()) => Ok(()),
            Err(_) if self.goes_on => {
                self.sender = None;
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }
}

/// Reads to the end; the start of it is kept.
async fn drain(
    mut pipe: impl AsyncRead + Unpin,
    mut taker: Taker<'_>,
    progress: &Progress,
    start: &mut Vec<u8>,
) -> Result<(), Gone> {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let room = ERROR_OUTPUT.saturating_sub(start.len()).min(count);
        start.extend_from_slice(&piece[..room]);
        taker.take(&piece[..count]).await?;
        progress.made();
    }
    if let Some(rest) = taker.hints.take().map(Hints::rest) {
        taker.take(&rest).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
