//! The two hooks themselves.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zarpar_control::{Client, ClientError, Frame, RefUpdate, Request};
use zarpar_model::{AppName, CommitId};

use crate::{ENV_APP, ENV_BY, ENV_SOCKET, render};

/// References that a `pre-receive` hook reads at most; more are refused anyway.
const REFERENCES: usize = 10_000;

/// Which hook git calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before any reference moves: all of them on standard input.
    PreReceive,
    /// Before one reference moves: its name, old and new object as arguments.
    Update,
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
    #[error("cannot start")]
    Start(#[source] std::io::Error),
}

impl Hook {
    /// The hook that a program name stands for; `None` for the plain binary.
    pub fn from_name(name: &OsStr) -> Option<Hook> {
        match Path::new(name).file_name()?.to_str()? {
            "pre-receive" => Some(Hook::PreReceive),
            "update" => Some(Hook::Update),
            _ => None,
        }
    }
}

/// Runs a hook; its output is what the pusher sees, its exit code what git obeys.
pub fn run(hook: Hook) -> ExitCode {
    let result = match hook {
        Hook::PreReceive => pre_receive(),
        Hook::Update => update(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            for line in error.to_string().lines() {
                say(&format!(" !     {line}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn pre_receive() -> Result<u8, HookError> {
    let (app, socket) = surroundings()?;
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
    converse(&socket, &Request::CheckPush { app, updates })
}

fn update() -> Result<u8, HookError> {
    let (app, socket) = surroundings()?;
    let mut words = std::env::args().skip(1);
    let (Some(_reference), Some(_old), Some(new)) = (words.next(), words.next(), words.next())
    else {
        return Err(HookError::Call(
            "expected reference, old and new object".to_owned(),
        ));
    };
    let commit: CommitId = new
        .parse()
        .map_err(|_| HookError::Call(format!("object `{}`", new.escape_debug())))?;
    let by = std::env::var(ENV_BY).map_err(|_| HookError::Variable(ENV_BY))?;
    converse(&socket, &Request::Push { app, commit, by })
}

fn surroundings() -> Result<(AppName, PathBuf), HookError> {
    let app = std::env::var(ENV_APP)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(HookError::Variable(ENV_APP))?;
    let socket = std::env::var_os(ENV_SOCKET).ok_or(HookError::Variable(ENV_SOCKET))?;
    Ok((app, socket.into()))
}

fn converse(socket: &Path, request: &Request) -> Result<u8, HookError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HookError::Start)?;
    runtime.block_on(async {
        let mut client = Client::send(socket, request).await?;
        loop {
            match client.next().await? {
                Frame::Event(event) => render(&event).iter().for_each(|line| say(line)),
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

/// One line to the pusher. When nobody reads any more, the deployment goes on all the same, so
/// a failed write is no reason to stop.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
