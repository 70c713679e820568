//! The bare repositories, `<folder>/<app>.git`.

use std::path::PathBuf;

use zarpar_model::{AppName, BranchName, CommitId};

use crate::git::{GitConfig, GitError};

/// All repositories of this server.
#[derive(Debug, Clone)]
pub struct Repositories {
    folder: PathBuf,
    git: GitConfig,
}

impl Repositories {
    /// Keeps them in `folder`.
    pub fn new(folder: PathBuf, git: GitConfig) -> Repositories {
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
    pub(crate) fn git(&self) -> &GitConfig {
        &self.git
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
