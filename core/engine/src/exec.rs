//! Running one more command inside a running container.
//!
//! The command is a list of arguments; no shell sees it unless it names one.
//! Dropping an [`Exec`] hangs up, which does not end the command: the engine has
//! no call for that.

use std::fmt;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::ResizeExecOptions;
use futures_util::TryStreamExt;

use crate::attach::to_chunks;
use crate::label::checked;
use crate::{Engine, EngineError, Input, LogStream};

/// Pauses between two looks at a command whose output ended before it did.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// User to run as; `None` is the container's.
    pub user: Option<String>,
    /// Where to run; `None` is the container's.
    pub working_dir: Option<String>,
    /// Whether it reads from [`Exec::input`].
    pub stdin: bool,
    /// Whether it gets a terminal; then stdout and stderr are one.
    pub tty: bool,
}

/// A command under way.
pub struct Exec {
    /// For [`Engine::exec_exit_code`].
    pub id: String,
    /// What it writes; ends when all its writers have closed.
    pub output: LogStream,
    /// What it reads.
    pub input: Input,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts a command in a running container.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Conflict`] when the container does not run.
    /// A program that is not there is no error here: its output says so, its exit code is 126 or 127.
    pub async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Exec, EngineError> {
        let program = spec.command.first().map_or("", String::as_str);
        let what = format!("run `{program}` in container `{container}`");
        let container = checked(&what, container)?;
        let tty = spec.tty;
        let options = CreateExecOptions {
            attach_stdin: Some(spec.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            env: Some(
                spec.env
                    .into_iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            cmd: Some(spec.command),
            user: spec.user,
            working_dir: spec.working_dir,
            ..Default::default()
        };
        let id = self
            .ask(&what, self.docker.create_exec(container, options))
            .await?
            .id;
        let start = StartExecOptions {
            tty,
            ..Default::default()
        };
        match self
            .ask(&what, self.docker.start_exec(&id, Some(start)))
            .await?
        {
            StartExecResults::Attached { output, input } => Ok(Exec {
                id,
                output: to_chunks(what, output),
                input,
            }),
            StartExecResults::Detached => Err(EngineError::broken(&what, "no output attached")),
        }
    }

    /// Waits, however long, until a command has ended, and gives its exit code.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when its container is gone.
    pub async fn exec_exit_code(&self, exec: &str) -> Result<i64, EngineError> {
        let what = format!("ask for the exit code of `{exec}`");
        let exec = checked(&what, exec)?;
        let mut pause = FIRST_PAUSE;
        loop {
            let state = self.ask(&what, self.docker.inspect_exec(exec)).await?;
            match state.exit_code {
                Some(code) if state.running != Some(true) => return Ok(code),
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs a command to its end and gives its exit code and both outputs in the order
    /// they came, no more than `limit_bytes` of them (the rest is read and dropped).
    ///
    /// # Errors
    /// As [`Engine::exec`].
    pub async fn exec_output<S: AsRef<str>>(
        &self,
        container: &str,
        command: &[S],
        limit_bytes: usize,
    ) -> Result<(i64, Vec<u8>), EngineError> {
        let command = command.iter().map(|part| part.as_ref().to_owned());
        let spec = ExecSpec {
            command: command.collect(),
            ..Default::default()
        };
        let mut exec = self.exec(container, spec).await?;
        let mut kept = Vec::new();
        while let Some(chunk) = exec.output.try_next().await? {
            let room = limit_bytes - kept.len();
            kept.extend(chunk.bytes.iter().take(room));
        }
        Ok((self.exec_exit_code(&exec.id).await?, kept))
    }

    /// Tells a command's terminal its size.
    ///
    /// # Errors
    /// When it has ended or has no terminal.
    pub async fn resize_exec_tty(
        &self,
        exec: &str,
        columns: u16,
        rows: u16,
    ) -> Result<(), EngineError> {
        let what = format!("resize the terminal of `{exec}`");
        let exec = checked(&what, exec)?;
        let options = ResizeExecOptions {
            h: i32::from(rows),
            w: i32::from(columns),
        };
        self.ask(&what, self.docker.resize_exec(exec, options))
            .await
    }
}
