//! A git process and all of its children, which end together: with their work, with the time
//! limit, or when nobody waits any more.

use std::io;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// What is kept of a process's last words, in bytes.
const WORDS: usize = 4096;

/// Ends the group when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already when all went well.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command that leads a process group. `None` when it succeeded, else its last words.
pub(super) async fn run(mut command: Command) -> io::Result<Option<String>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let mut group = Group(group);
    let said = match child.stderr.take() {
        Some(stderr) => last_words(stderr).await?,
        None => String::new(),
    };
    let status = child.wait().await?;
    // Its number may be another process's from now on.
    group.0 = None;
    Ok((!status.success()).then_some(said))
}

/// The end of what is written, however much it is; without control characters, since a far end
/// may have its say in it.
async fn last_words(mut pipe: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let length = pipe.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..length]);
        let excess = kept.len().saturating_sub(WORDS);
        kept.drain(..excess);
    }
    let text = String::from_utf8_lossy(&kept);
    Ok(text
        .chars()
        .map(|c| if c == '\r' { '\n' } else { c })
        .filter(|c| *c == '\n' || !c.is_control())
        .collect())
}
