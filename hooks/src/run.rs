//! The two hooks themselves.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zarpar_control::{Client, ClientError, Frame, Incoming, RefUpdate, Request};
use zarpar_model::{AppName, CommitId, EventKind, Outcome};

use crate::{ENV_APP, ENV_BY, ENV_RECEIVE, ENV_SOCKET, proc_receive, quarantine, render};

/// References that a `pre-receive` hook reads at most: more than one is refused anyway, and git
/// does not mind a hook that reads no further.
const REFERENCES: usize = 50;

/// Which hook git calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before any reference moves: all of them on standard input.
    PreReceive,
    /// Instead of git, which would move the reference: the commands on standard input, what
    /// became of them on standard output.
    ProcReceive,
}

/// Why a hook refuses.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error(
        "this hook is called by zarpar's own git alone; the variable `{0}` is missing\nhint: push to `http://TOKEN@HOST:PORT/git/APP.git`"
    )]
    Variable(&'static str),
    #[error("git called the hook in an unexpected way: {0}")]
    Call(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write beside the pushed objects\nhint: is the disk full? `df -h`")]
    Objects(#[source] std::io::Error),
    #[error("cannot start")]
    Start(#[source] std::io::Error),
}

impl Hook {
    /// The hook that a program name stands for; `None` for the plain binary.
    pub fn from_name(name: &OsStr) -> Option<Hook> {
        match Path::new(name).file_name()?.to_str()? {
            "pre-receive" => Some(Hook::PreReceive),
            "proc-receive" => Some(Hook::ProcReceive),
            _ => None,
        }
    }
}

/// Runs a hook; its output is what the pusher sees, its exit code what git obeys.
pub fn run(hook: Hook) -> ExitCode {
    let result = match hook {
        Hook::PreReceive => pre_receive(),
        Hook::ProcReceive => proc_receive(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            show(&error);
            ExitCode::FAILURE
        }
    }
}

fn show(error: &HookError) {
    for line in error.to_string().lines() {
        say(&format!(" !     {line}"));
    }
}

fn pre_receive() -> Result<u8, HookError> {
    let (app, socket) = surroundings()?;
    if let Some(quarantine) = std::env::var_os("GIT_QUARANTINE_PATH") {
        quarantine::level_keep_files(Path::new(&quarantine)).map_err(HookError::Objects)?;
    }
    let mut updates = Vec::new();
    for line in std::io::stdin().lock().lines().take(REFERENCES + 1) {
        let line = line.map_err(HookError::Start)?;
        let mut words = line.splitn(3, ' ');
        match (
            words.next().map(str::parse),
            words.next().map(str::parse),
            words.next(),
        ) {
            (Some(Ok(old)), Some(Ok(new)), Some(reference)) => updates.push(RefUpdate {
                old,
                new,
                reference: reference.to_owned(),
            }),
            _ => return Err(HookError::Call(format!("`{}`", line.escape_debug()))),
        }
    }
    let request = Request::CheckPush {
        app,
        updates,
        incoming: incoming(),
    };
    converse(&socket, &request, |_| ())
}

/// What git and whoever started it say about the objects that came.
fn incoming() -> Incoming {
    let quarantine = std::env::var_os("GIT_QUARANTINE_PATH");
    Incoming {
        receive: std::env::var(ENV_RECEIVE)
            .ok()
            .and_then(|id| id.parse().ok()),
        quarantine: quarantine
            .as_deref()
            .and_then(|path| Path::new(path).file_name()?.to_str())
            .map(str::to_owned),
    }
}

fn proc_receive() -> Result<u8, HookError> {
    let (app, socket) = surroundings()?;
    let by = std::env::var(ENV_BY).map_err(|_| HookError::Variable(ENV_BY))?;
    let (mut from, mut to) = (std::io::stdin().lock(), std::io::stdout().lock());
    let commands = proc_receive::commands(&mut from, &mut to)
        .map_err(|error| HookError::Call(error.to_string()))?;
    let [command] = commands.as_slice() else {
        return Err(HookError::Call(format!("{} commands", commands.len())));
    };
    let id = |text: &str| {
        text.parse::<CommitId>()
            .map_err(|_| HookError::Call(format!("object `{}`", text.escape_debug())))
    };
    let (old, commit) = (id(&command.old)?, id(&command.new)?);
    let request = Request::Push {
        app,
        commit,
        by,
        old: Some(old),
    };
    let mut outcome = None;
    let code = converse(&socket, &request, |found| outcome = Some(found));
    let refused = match (&code, outcome) {
        (Ok(0), _) => None,
        (_, Some(Outcome::Superseded)) => Some("superseded by a newer push"),
        (_, Some(Outcome::Cancelled)) => Some("cancelled"),
        (_, Some(Outcome::Failed)) => Some("the deployment failed"),
        // Live, and then the branch did not move, or the control plane ended.
        (_, Some(Outcome::Live)) => Some("live, but the branch did not move"),
        (_, None) => Some("refused"),
    };
    if let Err(error) = &code {
        show(error);
    }
    // Whoever reads this is gone when it cannot be written.
    let _ = proc_receive::report(&mut to, &command.reference, refused);
    Ok(0)
}

fn surroundings() -> Result<(AppName, PathBuf), HookError> {
    let app = std::env::var(ENV_APP)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(HookError::Variable(ENV_APP))?;
    let socket = std::env::var_os(ENV_SOCKET).ok_or(HookError::Variable(ENV_SOCKET))?;
    Ok((app, socket.into()))
}

fn converse(
    socket: &Path,
    request: &Request,
    mut ended: impl FnMut(Outcome),
) -> Result<u8, HookError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HookError::Start)?;
    runtime.block_on(async {
        let mut client = Client::send(socket, request).await?;
        loop {
            match client.next().await? {
                Frame::Event(event) => {
                    if let EventKind::Finished { outcome, .. } = event.kind {
                        ended(outcome);
                    }
                    render(&event).iter().for_each(|line| say(line));
                }
                Frame::Note(text) => text.lines().for_each(|line| say(&format!("       {line}"))),
                Frame::Done { code } => return Ok(code),
                Frame::Refused { text, .. } => {
                    text.lines().for_each(|line| say(&format!(" !     {line}")));
                    return Ok(1);
                }
                Frame::Output { .. } | Frame::Reply(_) | Frame::Open => {}
            }
        }
    })
}

/// One line to the pusher: git passes our error output on. When nobody reads any more, the deployment goes on all the same, so
/// a failed write is no reason to stop.
fn say(line: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
