//! The two git processes of a fetch: one that speaks with a forge and may touch nothing but a
//! scratch repository, and one that takes the result over without any network.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use zarpar_model::{BranchName, CommitId, RepositoryUrl};

use super::{Git, GitError, finish};

/// What a process that speaks with a stranger may have in memory of its own, in bytes: an answer
/// without an end is gathered in memory before git looks at it.
const MEMORY: u64 = 128 * 1024 * 1024;
/// The time between our own limit and the one that holds when we are gone.
const GRACE: Duration = Duration::from_secs(5);

/// Commits of a repository that a forge is told of, the youngest ones; a request names no more
/// than 256 of them anyway before it asks what the forge makes of it.
const TIPS: &str = "--count=64";

/// A fetch from a forge into an empty repository of its own.
pub(crate) struct ForgeFetch<'a> {
    pub(crate) repository: &'a Path,
    pub(crate) url: &'a RepositoryUrl,
    pub(crate) branch: &'a BranchName,
    /// `KEY=VALUE` of git's configuration: the transport and where it goes. Never a secret.
    pub(crate) settings: &'a [String],
    /// Further environment; secrets are here.
    pub(crate) env: Vec<(&'static str, OsString)>,
    pub(crate) timeout: Duration,
    pub(crate) max_bytes: u64,
}

/// Where a fetched branch is kept.
pub(crate) fn fetched(branch: &BranchName) -> String {
    format!("refs/zarpar/fetched/{branch}")
}

impl Git {
    /// The process that speaks with a forge, not started. It ends by itself when whoever started
    /// it is killed.
    pub(crate) fn fetch(&self, fetch: &ForgeFetch<'_>) -> Command {
        let mut command = self.command(fetch.repository);
        let settings = [
            "http.followRedirects=false",
            "http.sslVerify=true",
            "http.proxy=",
            "http.lowSpeedLimit=100",
            "http.lowSpeedTime=20",
            "credential.helper=",
            // What a server may send us elsewhere with.
            "transfer.bundleURI=false",
            "fetch.uriProtocols=",
            "fetch.unpackLimit=1",
            "fetch.writeCommitGraph=false",
            "submodule.recurse=false",
        ];
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        for setting in fetch.settings {
            command.arg("-c").arg(setting);
        }
        command.arg("--git-dir").arg(fetch.repository).args([
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--",
        ]);
        command.arg(fetch.url.to_string());
        command.arg(format!(
            "+{}:{}",
            fetch.branch.reference(),
            fetched(fetch.branch)
        ));
        command.envs(fetch.env.iter().map(|(name, value)| (name, value)));
        limited(&command, fetch.timeout + GRACE, fetch.max_bytes)
    }

    /// The youngest commits that references of a repository name.
    pub(crate) async fn tips(&self, repository: &Path) -> Result<Vec<CommitId>, GitError> {
        let mut command = self.command(repository);
        command.arg("--git-dir").arg(repository).args([
            "for-each-ref",
            "--sort=-creatordate",
            "--format=%(objectname)",
            TIPS,
            "refs/heads",
            "refs/zarpar",
        ]);
        let listed = finish("for-each-ref", command).await?;
        Ok(listed.lines().filter_map(|id| id.parse().ok()).collect())
    }

    /// Takes what was fetched into the repository of an app, with whatever marks it as shallow.
    pub(crate) async fn take_over(&self, from: &Path, into: &Path) -> Result<(), GitError> {
        let mut command = self.command(into);
        command.arg("-c").arg("protocol.file.allow=always");
        command.arg("--git-dir").arg(into).args([
            "fetch",
            "--quiet",
            "--update-shallow",
            // A branch `a` of the past is in the way of a branch `a/b`.
            "--prune",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--",
        ]);
        command
            .arg(from)
            .arg("+refs/zarpar/fetched/*:refs/zarpar/fetched/*");
        finish("fetch", command).await.map(drop)
    }
}

/// The same process within limits that hold from its first instant, for all of its children, and
/// without us: `timeout` ends the group, `prlimit` bounds files and memory.
#[expect(
    clippy::disallowed_methods,
    reason = "it starts the command that the one place made, with its environment"
)]
fn limited(command: &Command, time: Duration, max_bytes: u64) -> Command {
    let plain = command.as_std();
    let mut limited = Command::new("timeout");
    limited
        .arg("--signal=KILL")
        .arg(time.as_secs().to_string())
        .arg("prlimit")
        .arg(format!("--fsize={max_bytes}"))
        .arg(format!("--data={MEMORY}"))
        .arg("--core=0")
        .arg("--")
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear()
        .process_group(0);
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    if let Some(folder) = plain.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}
