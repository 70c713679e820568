//! Which commit the deploy branch names, and who moves it.
//!
//! **The rule.** The control plane alone moves the branch (git hands it every command, see
//! `hooks/src/proc_receive.rs`), and it does so as the last part of a deployment that is live,
//! before the next one of the app begins. So the branch names what the last live push deployed,
//! and there is no moment at which two pushes move it.
//!
//! Git gives each reference to one of several pushes that saw the same old commit; the others
//! lose. Here a push may wait for minutes, so the comparison is made when its turn comes: the
//! branch is where the pusher saw it (also a forced push goes on then), or what it names
//! meanwhile is contained in the pushed commit, so that nothing anybody pushed is lost. A push
//! that would lose something ends there, in words, before any work; its commit is never live.
//!
//! What can never happen: a push that was live without its branch, or told to be rejected while
//! its commit is live. What a crash leaves behind: a live push whose branch did not move yet;
//! recovery moves it.

use std::fs::File;
use std::path::Path;

use gix::refs::transaction::{PreviousValue, RefEdit};
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;
use zarpar_model::{
    App, AppName, BranchName, CommitId, DeploymentKind, EventKind, Outcome, PushedBranch, Release,
};

use crate::Builder;
use crate::error::DeployError;

/// How far the clocks of the people who commit may be apart, in seconds.
const SKEW: i64 = 24 * 60 * 60;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a push may not go on, or a branch did not move.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// Another push was live meanwhile, and this one would lose its commits.
    #[error(
        "`{branch}` moved to {tip} since `git push` looked, and the pushed commit does not contain that\nhint: `git pull --rebase REMOTE {branch}`, then push again"
    )]
    Moved {
        /// The branch.
        branch: BranchName,
        /// What it names now, seven digits.
        tip: String,
    },
    /// The repository.
    #[error(
        "cannot read or move the branch `{branch}` of `{app}`\nhint: is the disk full? `df -h`"
    )]
    Repository {
        /// The app.
        app: AppName,
        /// The branch.
        branch: BranchName,
        /// What the system or gix said.
        source: Cause,
    },
}

impl Builder {
    /// Whether a push of `commit` may go on, now that its turn has come.
    ///
    /// # Errors
    /// [`BranchError`].
    pub fn may_move(
        &self,
        app: &AppName,
        commit: &CommitId,
        pushed: &PushedBranch,
    ) -> Result<(), BranchError> {
        self.in_repository(app, &pushed.name, |repository| {
            let Some(tip) = tip(repository, &pushed.name)? else {
                return Ok(None);
            };
            let free = tip == object_id(&pushed.old)? || contains(repository, commit, tip)?;
            Ok((!free).then(|| tip.to_string()[..7].to_owned()))
        })?
        .map_or(Ok(()), |tip| {
            Err(BranchError::Moved {
                branch: pushed.name.clone(),
                tip,
            })
        })
    }

    /// Moves the branch to a commit that is live, durably.
    ///
    /// # Errors
    /// [`BranchError::Repository`].
    pub fn move_branch(
        &self,
        app: &AppName,
        branch: &BranchName,
        commit: &CommitId,
    ) -> Result<(), BranchError> {
        self.in_repository(app, branch, |repository| {
            let edit = RefEdit::update(
                gix::refs::FullName::try_from(branch.reference())?,
                object_id(commit)?,
                PreviousValue::Any,
                "",
            );
            let us = gix::actor::SignatureRef {
                name: "zarpar".into(),
                email: "".into(),
                time: "0 +0000",
            };
            repository.edit_references_as(Some(edit), Some(us))?;
            // Git syncs a reference before it is in place; an empty one after a power cut would
            // make the repository unreadable.
            let path = repository.git_dir().join(branch.reference());
            File::open(&path)?.sync_all()?;
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
            Ok(())
        })
    }

    /// Whether the branch names this commit.
    ///
    /// # Errors
    /// [`BranchError::Repository`].
    pub fn is_tip(
        &self,
        app: &AppName,
        branch: &BranchName,
        commit: &CommitId,
    ) -> Result<bool, BranchError> {
        self.in_repository(app, branch, |repository| {
            Ok(tip(repository, branch)? == Some(object_id(commit)?))
        })
    }

    /// After a release is live: its branch, when a push made it.
    pub(crate) fn move_pushed(&self, deployment: &zarpar_model::Deployment) {
        let DeploymentKind::Push {
            commit,
            branch: Some(pushed),
        } = &deployment.kind
        else {
            return;
        };
        if let Err(error) = self.move_branch(&deployment.app, &pushed.name, commit) {
            tracing::error!(app = %deployment.app, %error, "the branch could not be moved, the next start does it");
            self.journal.tell(
                deployment.id,
                EventKind::Note {
                    text: zarpar_model::explain(&error),
                },
            );
        }
    }

    /// Recovery: a push that is live has its branch.
    pub(crate) fn recover_branch(&self, app: &App, active: &Release) -> Result<(), DeployError> {
        let Some(deployment) = self.store.deployment(active.deployment)? else {
            return Ok(());
        };
        if let DeploymentKind::Push {
            commit,
            branch: Some(pushed),
        } = &deployment.kind
            && deployment.phase.outcome() == Some(Outcome::Live)
            && !self.is_tip(&app.name, &pushed.name, commit)?
            && self.may_move(&app.name, commit, pushed).is_ok()
        {
            self.move_branch(&app.name, &pushed.name, commit)?;
        }
        Ok(())
    }

    fn in_repository<T>(
        &self,
        app: &AppName,
        branch: &BranchName,
        work: impl FnOnce(&gix::Repository) -> Result<T, Cause>,
    ) -> Result<T, BranchError> {
        let path = self.repository(app);
        tokio::task::block_in_place(|| work(&crate::checkout::open(&path)?)).map_err(|source| {
            BranchError::Repository {
                app: app.clone(),
                branch: branch.clone(),
                source,
            }
        })
    }
}

fn tip(repository: &gix::Repository, branch: &BranchName) -> Result<Option<gix::ObjectId>, Cause> {
    let found = repository.try_find_reference(branch.reference().as_str())?;
    Ok(found.and_then(|reference| reference.try_id().map(gix::Id::detach)))
}

/// Whether `tip` is `commit` or one of its ancestors. Commits a day older than `tip` are not looked
/// at, so that a long history costs nothing.
fn contains(
    repository: &gix::Repository,
    commit: &CommitId,
    tip: gix::ObjectId,
) -> Result<bool, Cause> {
    let seconds = repository
        .find_commit(tip)?
        .time()?
        .seconds
        .saturating_sub(SKEW);
    let walk = repository
        .rev_walk([object_id(commit)?])
        .sorting(Sorting::ByCommitTimeCutoff {
            order: CommitTimeOrder::NewestFirst,
            seconds,
        })
        .all()?;
    for found in walk {
        if found?.id == tip {
            return Ok(true);
        }
    }
    Ok(false)
}

fn object_id(commit: &CommitId) -> Result<gix::ObjectId, Cause> {
    Ok(gix::ObjectId::from_hex(commit.as_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A commit with these parents, so many seconds after a moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the commits of the test are made by real git"
    )]
    fn commit(folder: &Path, seconds: i64, parents: &[&CommitId]) -> CommitId {
        let git = |words: &[&str]| {
            let date = format!("{} +0000", 1_790_000_000 + seconds);
            let output = std::process::Command::new("git")
                .args(words)
                .current_dir(folder)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .envs([("GIT_AUTHOR_NAME", "Ana"), ("GIT_COMMITTER_NAME", "Ana")])
                .envs([("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_EMAIL", "a@b")])
                .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q", "--bare"]);
        let tree = git(&["mktree"]);
        let mut words = vec!["commit-tree", "-m", "x", &tree];
        words.extend(parents.iter().flat_map(|parent| ["-p", parent.as_str()]));
        git(&words).parse().unwrap()
    }

    #[test]
    fn what_a_push_would_lose_is_seen_through_merges_and_wrong_clocks() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let base = commit(folder, 0, &[]);
        let one = commit(folder, 100, &[&base]);
        let other = commit(folder, 200, &[&base]);
        let merged = commit(folder, 300, &[&other, &one]);
        let early = commit(folder, -3600, &[&one]);
        let repository = crate::checkout::open(folder).unwrap();
        let has = |commit: &CommitId, tip: &CommitId| {
            contains(&repository, commit, object_id(tip).unwrap()).unwrap()
        };
        for tip in [&base, &one, &other, &merged] {
            assert!(has(&merged, tip), "{tip}");
        }
        assert!(has(&early, &one), "a clock that is an hour late");
        assert!(!has(&one, &other) && !has(&other, &one) && !has(&base, &one));
    }
}
