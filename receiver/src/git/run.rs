//! The ways to run a git command that serves nobody: to its end, with something to read, behind
//! everything else.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::GitError;

/// Runs a command to its end; what it printed.
pub(crate) async fn finish(name: &'static str, command: Command) -> Result<String, GitError> {
    converse(name, command, b"").await
}

/// The same with something to read, which it must take before it prints more than a pipe holds.
pub(crate) async fn converse(
    name: &'static str,
    mut command: Command,
    input: &[u8],
) -> Result<String, GitError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(GitError::Start)?;
    let stdin = child.stdin.take();
    let (fed, output) = tokio::join!(feed(stdin, input), child.wait_with_output());
    let output = output.map_err(GitError::Start)?;
    if output.status.success() {
        fed.map_err(GitError::Start)?;
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr)
        .trim()
        .chars()
        .take(500)
        .collect();
    Err(GitError::Failed {
        command: name,
        status: output.status,
        message,
    })
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> std::io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    match stdin.write_all(input).await {
        // A command that reads nothing may have ended.
        Err(_) if input.is_empty() => Ok(()),
        fed => fed,
    }
}

/// Runs a command that nobody waits for, behind everything else, and not for longer than `limit`.
pub(crate) async fn background(
    name: &'static str,
    mut command: Command,
    limit: Duration,
) -> Result<(), GitError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(GitError::Start)?;
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Err(error) = setpriority_process(id, 19) {
        tracing::debug!(%error, "git works at the usual priority");
    }
    let mut said = Vec::new();
    let work = async {
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(500).read_to_end(&mut said).await;
        }
        child.wait().await.map_err(GitError::Start)
    };
    let status = match tokio::time::timeout(limit, work).await {
        Ok(status) => status?,
        Err(_) => {
            if let Some(id) = id {
                let _ = kill_process_group(id, Signal::TERM);
            }
            child.wait().await.map_err(GitError::Start)?
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(GitError::Failed {
        command: name,
        status,
        message: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}
