//! Every git process that zarpar starts for a push or fetch, in one place: fixed arguments, an
//! emptied environment, fixed configuration, bounded memory, a process group of its own. Nothing
//! from outside becomes an argument; the repository's path is ours.

mod fetch;
mod limits;
mod run;
mod version;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::{Child, Command};
use zarpar_model::BranchName;

pub(crate) use fetch::{ForgeFetch, fetched};
pub use limits::GitLimits;
pub(crate) use run::{background, converse, finish};

use crate::receives::{Receives, Served};

/// What git processes need to know.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// `HOME` of the processes; git looks for nothing there, but some versions insist on one.
    pub home: PathBuf,
    /// The folder with the hooks.
    pub hooks: PathBuf,
    /// The control socket that the hooks talk to.
    pub control_socket: PathBuf,
    /// What a push may ask of this machine.
    pub limits: GitLimits,
}

/// Where git processes are started, and which of them take in a push; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    pub(crate) config: GitConfig,
    pub(crate) receives: Receives,
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

impl Git {
    pub(crate) fn new(config: GitConfig) -> Git {
        Git {
            config,
            receives: Receives::default(),
        }
    }

    /// Starts a service on a repository, speaking on its pipes.
    pub(crate) fn serve(
        &self,
        service: Service,
        repository: &Path,
        dialogue: Dialogue,
        protocol: Option<&str>,
        hook_env: &[(&str, &str)],
    ) -> Result<Served, GitError> {
        let mut command = self.command(repository);
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
            .env(zarpar_hooks::ENV_SOCKET, &self.config.control_socket);
        // What a client says becomes a variable, so only the three versions may pass.
        if let Some(protocol @ ("version=0" | "version=1" | "version=2")) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let receive = (service == Service::ReceivePack && dialogue != Dialogue::Advertise)
            .then(|| self.receives.begin(repository));
        if let Some(receive) = &receive {
            command.env(zarpar_hooks::ENV_RECEIVE, receive.id().to_string());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(GitError::Start)?;
        self.bound(&child);
        let limits = self.config.limits.clone();
        Ok(Served::new(child, repository, receive, limits))
    }

    /// Bounds the memory of a git process that has not read anything yet, and so of those that
    /// it will start: a belt for what git's own limits leave open.
    pub(crate) fn bound(&self, child: &Child) {
        let memory = self.config.limits.memory();
        let limit = Rlimit {
            current: Some(memory),
            maximum: Some(memory),
        };
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id
            && let Err(error) = prlimit(Some(id), Resource::Data, limit)
        {
            tracing::warn!(%error, "the memory of a git process cannot be bounded");
        }
    }

    /// Makes a bare repository whose first branch is the deploy branch.
    pub(crate) async fn init(
        &self,
        repository: &Path,
        branch: &BranchName,
    ) -> Result<(), GitError> {
        let mut command = self.command(repository);
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
        let mut command = self.command(repository);
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

    /// `git` with everything fixed but the subcommand, for work on one repository.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the receiver that starts git"
    )]
    pub(crate) fn command(&self, repository: &Path) -> Command {
        let mut command = Command::new("git");
        let limits = &self.config.limits;
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.config.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            // Objects are here or they are not; none is asked for elsewhere.
            .env("GIT_NO_LAZY_FETCH", "1")
            // Refused in one line, before the memory is touched.
            .env("GIT_ALLOC_LIMIT", limits.allocation().to_string())
            // A Ctrl-C at the server's terminal must not cut a push in the middle.
            .process_group(0)
            .current_dir(&self.config.home);
        // git compares with the real path; one that is not made yet is nobody else's.
        let real = repository.canonicalize();
        let real = real.as_deref().unwrap_or(repository);
        let settings = [
            format!("safe.directory={}", real.display()),
            format!("core.hooksPath={}", self.config.hooks.display()),
            // Whoever fetches something allows the one protocol of it.
            "protocol.allow=never".to_owned(),
            // Larger blobs are streamed to disk instead of held in memory for a delta.
            "core.bigFileThreshold=8m".to_owned(),
            "core.deltaBaseCacheLimit=16m".to_owned(),
            "core.packedGitLimit=128m".to_owned(),
            "core.fsmonitor=false".to_owned(),
            // A branch that moved has moved after a power cut, too.
            "core.fsync=objects,derived-metadata,reference".to_owned(),
            "gc.auto=0".to_owned(),
            "maintenance.auto=false".to_owned(),
            "pack.threads=1".to_owned(),
            "pack.windowMemory=16m".to_owned(),
            "pack.deltaCacheSize=16m".to_owned(),
            // Keep the pack as it came: one file instead of thousands, and the same for a retry.
            "receive.unpackLimit=1".to_owned(),
            "fetch.unpackLimit=1".to_owned(),
            format!("receive.maxInputSize={}", limits.max_pack),
            "transfer.fsckObjects=true".to_owned(),
            // Mistakes of old tools that real histories have and that do no harm.
            "receive.fsck.badTimezone=ignore".to_owned(),
            "receive.fsck.missingSpaceBeforeDate=ignore".to_owned(),
            "receive.fsck.zeroPaddedFilemode=ignore".to_owned(),
            // What keeps the objects of releases is no client's business.
            "transfer.hideRefs=refs/zarpar".to_owned(),
            "receive.advertisePushOptions=false".to_owned(),
            "receive.denyDeletes=true".to_owned(),
            // The deploy branch is checked out nowhere; a force push is the owner's decision.
            "receive.denyNonFastForwards=false".to_owned(),
            "receive.autogc=false".to_owned(),
            // The control plane alone moves branches (`proc-receive`, `builder/src/branch.rs`).
            "receive.procReceiveRefs=refs/heads".to_owned(),
            "receive.keepAlive=5".to_owned(),
            "uploadpack.allowAnySHA1InWant=false".to_owned(),
        ];
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command
    }
}
