//! What a commit would unpack to, looked at before anything is unpacked: git knows the size of
//! every file without reading it, so 300 MB of zeros that came as 290 kB cost nothing to refuse.
//! The list is read as git writes it and never held, and git is ended with the first entry that
//! is too much, so a tree that names itself a billion times costs no more than the limit.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use zarpar_model::{AppName, CommitId, show_size};

use crate::git::{GitError, GitLimits};
use crate::quarantine::Quarantine;
use crate::repository::Repositories;

/// Files and folders of a commit. Debian's largest source packages have about 100,000.
const ENTRIES: usize = 200_000;
/// Folders within folders.
const DEPTH: usize = 64;
/// The longest path in bytes: Linux's PATH_MAX.
const PATH: u64 = 4096;
/// What an entry has before its path: mode, kind, id and size.
const HEAD: u64 = 80;
/// The mode of an entry that is a commit of another repository.
const SUBMODULE: &[u8] = b"160000 ";
/// The longest look; 200,000 entries take about a second.
const LOOK: Duration = Duration::from_secs(60);
/// Bytes of git's error output that are kept.
const ERROR_OUTPUT: u64 = 500;

/// Why a commit is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// One file alone.
    #[error(
        "the file `{path}` is too large: it has {}, and {} are allowed\nhint: take it out of the commit (`git rm --cached`, then `git commit --amend`), or allow more with `max_file` under `[git]` of the server's configuration", show_size(*size), show_size(*limit)
    )]
    File {
        /// Where it is, escaped.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The largest that is allowed, in bytes.
        limit: u64,
    },
    /// All files together.
    #[error(
        "the files of the commit have more than {} together\nhint: what the site does not need does not belong in its repository; or allow more with `max_expanded` under `[git]` of the server's configuration", show_size(*limit)
    )]
    Expanded {
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// Too many files and folders.
    #[error(
        "the commit has more than {ENTRIES} files and folders\nhint: `node_modules`, `.venv` and the like belong in `.gitignore`"
    )]
    Entries,
    /// A folder too deep, or a path too long.
    #[error(
        "`{path}` is too deep: a file may be in {DEPTH} folders, and its path have {PATH} bytes\nhint: move it up and push again"
    )]
    Depth {
        /// The start of it, escaped.
        path: String,
    },
    /// A submodule, whose files are in another repository.
    #[error(
        "`{path}` is a git submodule, and a push does not carry the files of submodules\nhint: put the files into this repository (`git rm --cached`, then `git add`), or install them as a dependency"
    )]
    Submodule {
        /// Where it is, escaped.
        path: String,
    },
    /// It cannot be read as a commit.
    #[error(
        "the push is of something that has no files: {message}\nhint: push a commit: `git push REMOTE HEAD:BRANCH`"
    )]
    NoTree {
        /// What git said.
        message: String,
    },
    /// It takes too long.
    #[error(
        "the files of the commit could not be listed within {} s\nhint: is the server's disk busy? Push again later", LOOK.as_secs()
    )]
    Slow,
    /// Git.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Repositories {
    /// Whether the files of a commit are within the limits, also while a push has its objects in
    /// quarantine.
    ///
    /// # Errors
    /// [`TreeError`].
    pub async fn check_tree(
        &self,
        app: &AppName,
        commit: &CommitId,
        quarantine: Option<&Quarantine>,
    ) -> Result<(), TreeError> {
        self.check_tree_in(&self.path(app), commit, quarantine)
            .await
    }

    /// The same in a repository that is no app's yet.
    pub(crate) async fn check_tree_in(
        &self,
        repository: &Path,
        commit: &CommitId,
        quarantine: Option<&Quarantine>,
    ) -> Result<(), TreeError> {
        let mut command = self.git().command(repository);
        command
            .arg("--git-dir")
            .arg(repository)
            .args(["ls-tree", "-r", "-t", "-l", "-z", "--full-tree"])
            .arg(commit.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Dropping it is how the look ends early.
            .kill_on_drop(true);
        if let Some(quarantine) = quarantine {
            command
                .env("GIT_OBJECT_DIRECTORY", quarantine.path(repository))
                .env(
                    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                    repository.join("objects"),
                );
        }
        let child = command.spawn().map_err(GitError::Start)?;
        self.git().bound(&child);
        let look = look(child, &self.git().config.limits);
        tokio::time::timeout(LOOK, look)
            .await
            .unwrap_or(Err(TreeError::Slow))
    }
}

async fn look(mut child: Child, limits: &GitLimits) -> Result<(), TreeError> {
    let missing = || GitError::Start(std::io::Error::other("git started without its pipes"));
    let listed = child.stdout.take().ok_or_else(missing)?;
    let mut errors = child.stderr.take().ok_or_else(missing)?;
    add_up(BufReader::new(listed), limits).await?;
    let mut said = Vec::new();
    let _ = (&mut errors)
        .take(ERROR_OUTPUT)
        .read_to_end(&mut said)
        .await;
    if child.wait().await.map_err(GitError::Start)?.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    Err(TreeError::NoTree {
        message: said.trim().chars().flat_map(char::escape_debug).collect(),
    })
}

async fn add_up(mut listed: BufReader<ChildStdout>, limits: &GitLimits) -> Result<(), TreeError> {
    let (mut entry, mut entries, mut sum) = (Vec::new(), 0, 0u64);
    loop {
        entry.clear();
        let count = (&mut listed)
            .take(HEAD + PATH + 1)
            .read_until(0, &mut entry)
            .await
            .map_err(GitError::Start)?;
        if count == 0 {
            return Ok(());
        }
        // `<mode> <kind> <id> <size>\t<path>\0`, the size right-aligned and `-` for what is no file
        let tab = entry.iter().position(|byte| *byte == b'\t');
        let (head, path) = entry.split_at(tab.unwrap_or(entry.len()));
        let whole = path.last() == Some(&0);
        let path = path
            .get(1..path.len() - usize::from(whole))
            .unwrap_or_default();
        let shown = || {
            let path = String::from_utf8_lossy(path);
            path.chars()
                .take(200)
                .flat_map(char::escape_debug)
                .collect::<String>()
        };
        if !whole || path.iter().filter(|byte| **byte == b'/').count() > DEPTH {
            return Err(TreeError::Depth { path: shown() });
        }
        if head.starts_with(SUBMODULE) {
            return Err(TreeError::Submodule { path: shown() });
        }
        entries += 1;
        if entries > ENTRIES {
            return Err(TreeError::Entries);
        }
        let size = head.rsplit(|byte| *byte == b' ').next();
        let size = size.and_then(|size| std::str::from_utf8(size).ok()?.parse::<u64>().ok());
        let size = size.unwrap_or(0);
        if size > limits.max_file {
            return Err(TreeError::File {
                path: shown(),
                size,
                limit: limits.max_file,
            });
        }
        sum = sum.saturating_add(size);
        if sum > limits.max_expanded {
            return Err(TreeError::Expanded {
                limit: limits.max_expanded,
            });
        }
    }
}
