//! The bare repositories, `<folder>/<app>.git`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zarpar_model::{AppName, BranchName, CommitId};

use crate::git::{Git, GitConfig, GitError};
use crate::leftovers;

/// All repositories of this server.
#[derive(Debug, Clone)]
pub struct Repositories {
    folder: PathBuf,
    git: Git,
}

impl Repositories {
    /// Keeps them in `folder`.
    pub fn new(folder: PathBuf, git: GitConfig) -> Repositories {
        let git = Git::new(git);
        Repositories { folder, git }
    }

    /// Where the repository of an app is.
    pub fn path(&self, app: &AppName) -> PathBuf {
        self.folder.join(format!("{app}.git"))
    }

    /// Where fetches do their work, on the same disk.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.join(".fetch")
    }

    /// How git is started.
    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    /// All of a push is here and git has checked it, so it has no time limit any more: the number
    /// is the one that its hook was started with.
    pub fn received(&self, receive: u64) {
        self.git.receives.is_whole(receive);
    }

    /// What a start of the server does here: says in the log when git is missing or old, and
    /// removes what killed pushes left. What is younger than an hour may belong to one that ends
    /// just now, because its client is gone with the server before.
    pub async fn tidy(&self) {
        self.git.advise().await;
        let folder = self.folder.clone();
        let swept = tokio::task::spawn_blocking(move || sweep(&folder)).await;
        match swept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, "removed what pushes that were ended had left");
            }
            Err(error) => tracing::warn!(%error, "what ended pushes left cannot be removed"),
        }
    }

    /// Removes the locks of references that a process held which was killed, or the power cut. To
    /// be called before anything here is at work, because a lock says nothing of who has it; a
    /// branch with one would never move again.
    ///
    /// # Errors
    /// When a folder cannot be read or a lock not be removed.
    pub fn remove_stale_locks(&self) -> std::io::Result<()> {
        for repository in repositories(&self.folder)? {
            for lock in leftovers::locks(&repository)? {
                tracing::warn!(lock = %lock.display(), "removed a lock that a killed process had left");
                std::fs::remove_file(lock)?;
            }
        }
        Ok(())
    }

    /// Makes the repository of an app; one that is there already is left as it is.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn create(&self, app: &AppName, branch: &BranchName) -> Result<(), GitError> {
        std::fs::create_dir_all(&self.folder).map_err(GitError::Start)?;
        self.git.init(&self.path(app), branch).await
    }

    /// Removes the repository of an app.
    ///
    /// # Errors
    /// When files cannot be removed; a repository that is not there is none.
    pub fn remove(&self, app: &AppName) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.path(app)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The commit that a full id or a branch names; `None` when the repository has none.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn resolve(
        &self,
        app: &AppName,
        revision: &str,
    ) -> Result<Option<CommitId>, GitError> {
        let reference = match (revision.parse::<CommitId>(), revision.parse::<BranchName>()) {
            (Ok(commit), _) => commit.to_string(),
            (_, Ok(branch)) => branch.reference(),
            _ => return Ok(None),
        };
        Ok(self
            .git
            .resolve(&self.path(app), &reference)
            .await?
            .and_then(|id| id.parse().ok()))
    }
}

/// How old what a killed push left must be at the start.
const OLD: Duration = Duration::from_secs(3600);

fn sweep(folder: &Path) -> std::io::Result<usize> {
    let mut removed = 0;
    for repository in repositories(folder)? {
        let found = leftovers::find(&repository)?;
        removed += leftovers::remove(&found, OLD)?;
    }
    Ok(removed)
}

fn repositories(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        // The folder comes with the first app.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}
