//! Repositories made small and quick again. Every push leaves a pack of its own (see
//! `receive.unpackLimit` in `git.rs`), so after some pushes they are joined: mostly only those of
//! similar size, now and then all of them, when what nothing refers to any more is dropped once it
//! is old enough. Safe beside pushes and fetches, because a push brings everything that no visible
//! reference has, and git looks again for an object whose pack is gone; yet it is not begun while
//! a push is on its way.

use std::path::Path;
use std::time::{Duration, SystemTime};

use zarpar_model::AppName;

use crate::git::{GitError, background};
use crate::repository::Repositories;

/// The longest that one may take; one that is ended leaves the repository as it was.
const LIMIT: Duration = Duration::from_secs(3600);
/// A file in the repository whose time says when all packs were joined.
const MARK: &str = "zarpar-repacked";

/// When what is done.
#[derive(Debug, Clone)]
pub struct RepackRules {
    /// Packs from which on they are joined.
    pub packs: usize,
    /// How long after the last time all of them are.
    pub all_after: Duration,
    /// How long an object stays that nothing refers to; git's own `gc.pruneExpire` is two weeks.
    pub drop_after: Duration,
}

impl Default for RepackRules {
    fn default() -> RepackRules {
        let day = Duration::from_secs(24 * 3600);
        RepackRules {
            packs: 16,
            all_after: 7 * day,
            drop_after: 14 * day,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repacked {
    /// There are few packs.
    NotNeeded,
    /// A push is on its way; next time.
    Busy,
    /// Packs of similar size were joined.
    Some,
    /// All packs were joined, and old objects dropped.
    All,
}

impl Repositories {
    /// Joins the packs of a repository when it has many. Takes minutes for a large one, at the
    /// lowest priority. Call [`Repositories::keep`] before.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn repack(&self, app: &AppName, rules: &RepackRules) -> Result<Repacked, GitError> {
        let repository = self.path(app);
        if packs(&repository) < rules.packs {
            return Ok(Repacked::NotNeeded);
        }
        let Some(_alone) = self.git().receives.begin_alone(&repository) else {
            return Ok(Repacked::Busy);
        };
        let all = last_time(&repository).is_none_or(|ago| ago >= rules.all_after);
        let mut command = self.git().command(&repository);
        command
            .arg("--git-dir")
            .arg(&repository)
            .args(["repack", "-d", "-q"]);
        if all {
            let expiration = rules.drop_after.as_secs();
            command.args(["-a", "--cruft"]);
            command.arg(format!("--cruft-expiration={expiration}.seconds.ago"));
        } else {
            command.arg("--geometric=2");
        }
        background("repack", command, LIMIT).await?;
        if !all {
            return Ok(Repacked::Some);
        }
        std::fs::write(repository.join(MARK), "").map_err(GitError::Start)?;
        Ok(Repacked::All)
    }
}

/// Packs of objects that something refers to; those of others have a file of times beside them.
fn packs(repository: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(repository.join("objects/pack")) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|end| end == "pack")
                && !path.with_extension("mtimes").exists()
        })
        .count()
}

/// How long ago all packs were joined; `None` when they never were.
fn last_time(repository: &Path) -> Option<Duration> {
    let mark = std::fs::metadata(repository.join(MARK)).ok()?;
    let ago = SystemTime::now().duration_since(mark.modified().ok()?);
    Some(ago.unwrap_or(Duration::ZERO))
}
