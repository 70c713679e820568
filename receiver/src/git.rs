//! Every git process that zarpar starts for a push or fetch, in one place: fixed arguments, an
//! emptied environment, fixed configuration, a process group of its own. Nothing from outside
//! becomes an argument; the repository's path is ours.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};
use zarpar_model::BranchName;

/// What git processes need to know.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// `HOME` of the processes; git looks for nothing there, but some versions insist on one.
    pub home: PathBuf,
    /// The folder with the hooks.
    pub hooks: PathBuf,
    /// The control socket that the hooks talk to.
    pub control_socket: PathBuf,
    /// The largest pack that a push may send, in bytes.
    pub max_pack: u64,
}

/// A git process that failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started.
    #[error("cannot start `git`\nhint: install it with `apt-get install git`")]
    Start(#[source] std::io::Error),
    /// It ended with an error.
    #[error("`git {command}` ended with {status}: {message}")]
    Failed {
        /// The subcommand.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        message: String,
    },
}

/// The two services of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    ReceivePack,
    UploadPack,
}

impl Service {
    /// Exactly these two names are known.
    pub(crate) fn from_name(name: &str) -> Option<Service> {
        match name {
            "git-receive-pack" => Some(Service::ReceivePack),
            "git-upload-pack" => Some(Service::UploadPack),
            _ => None,
        }
    }

    /// The name as it stands in URLs and content types.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::ReceivePack => "git-receive-pack",
            Service::UploadPack => "git-upload-pack",
        }
    }
}

/// How a service talks on its pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialogue {
    /// What it has, for one HTTP request.
    Advertise,
    /// The answer to one HTTP request.
    Stateless,
    /// All of it on one connection, as over SSH.
    Whole,
}

impl GitConfig {
    /// Starts a service on a repository, speaking on its pipes.
    pub(crate) fn serve(
        &self,
        service: Service,
        repository: &Path,
        dialogue: Dialogue,
        protocol: Option<&str>,
        hook_env: &[(&str, &str)],
    ) -> Result<Child, GitError> {
        let mut command = self.command();
        command.arg(&service.name()["git-".len()..]);
        if dialogue != Dialogue::Whole {
            command.arg("--stateless-rpc");
        }
        if dialogue == Dialogue::Advertise {
            command.arg("--http-backend-info-refs");
        }
        command.arg("--").arg(repository);
        command
            .envs(hook_env.iter().copied())
            .env(zarpar_hooks::ENV_SOCKET, &self.control_socket);
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map_err(GitError::Start)
    }

    /// Makes a bare repository whose first branch is the deploy branch.
    pub(crate) async fn init(
        &self,
        repository: &Path,
        branch: &BranchName,
    ) -> Result<(), GitError> {
        let mut command = self.command();
        command.args([
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--object-format=sha1",
        ]);
        command
            .arg(format!("--initial-branch={branch}"))
            .arg("--")
            .arg(repository);
        finish("init", command).await.map(drop)
    }

    /// The commit a reference points to; `None` when there is no such reference.
    pub(crate) async fn resolve(
        &self,
        repository: &Path,
        reference: &str,
    ) -> Result<Option<String>, GitError> {
        let mut command = self.command();
        command.arg("--git-dir").arg(repository).args([
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
        ]);
        command.arg(format!("{reference}^{{commit}}"));
        match finish("rev-parse", command).await {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the receiver that starts git"
    )]
    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            // A Ctrl-C at the server's terminal must not cut a push in the middle.
            .process_group(0)
            .current_dir(&self.home);
        let settings = [
            "safe.directory=*".to_owned(),
            format!("core.hooksPath={}", self.hooks.display()),
            // Larger blobs are streamed to disk instead of held in memory for a delta.
            "core.bigFileThreshold=8m".to_owned(),
            "pack.threads=1".to_owned(),
            "pack.windowMemory=16m".to_owned(),
            // Keep the pack as it came: one file instead of thousands, and the same for a retry.
            "receive.unpackLimit=1".to_owned(),
            format!("receive.maxInputSize={}", self.max_pack),
            "transfer.fsckObjects=true".to_owned(),
            "receive.advertisePushOptions=false".to_owned(),
            "receive.denyDeletes=true".to_owned(),
            // The deploy branch is checked out nowhere; a force push is the owner's decision.
            "receive.denyNonFastForwards=false".to_owned(),
            "receive.autogc=false".to_owned(),
            "uploadpack.allowAnySHA1InWant=false".to_owned(),
        ];
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command
    }
}

async fn finish(name: &'static str, mut command: Command) -> Result<String, GitError> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(GitError::Start)?;
    if output.status.success() {
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
