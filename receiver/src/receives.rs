//! Which pushes are on their way into which repository, in memory alone: a receive is over when
//! its git has ended, and none outlives this process, because git ends when its pipes close. What
//! is kept here tells a push that still arrives, and so has time limits, from one whose hook waits
//! for a deployment; and whether temporary files of a repository may be somebody's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::git::GitLimits;
use crate::leftovers;

/// The pushes on their way; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receives(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    last: u64,
    at_work: HashMap<u64, (PathBuf, CancellationToken)>,
}

/// One push on its way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Receive {
    id: u64,
    whole: CancellationToken,
    receives: Receives,
}

/// A git service that was started, with what bounds it.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) repository: PathBuf,
    /// Present when it takes in a push.
    pub(crate) receive: Option<Receive>,
    pub(crate) limits: GitLimits,
}

impl Receives {
    /// A push into a repository begins.
    pub(crate) fn begin(&self, repository: &Path) -> Receive {
        let mut book = self.book();
        book.last += 1;
        let (id, whole) = (book.last, CancellationToken::new());
        let entry = (repository.to_owned(), whole.clone());
        book.at_work.insert(id, entry);
        Receive {
            id,
            whole,
            receives: self.clone(),
        }
    }

    /// All of a push is here and git has checked it: its hook says so.
    pub(crate) fn is_whole(&self, id: u64) {
        if let Some((_, whole)) = self.book().at_work.get(&id) {
            whole.cancel();
        }
    }

    /// Begins work of our own in a repository, unless somebody is at work there.
    pub(crate) fn begin_alone(&self, repository: &Path) -> Option<Receive> {
        let busy = self.book().any(repository);
        (!busy).then(|| self.begin(repository))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn any(&self, repository: &Path) -> bool {
        self.at_work.values().any(|(path, _)| path == repository)
    }
}

impl Receive {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ends when all of the push is here.
    pub(crate) async fn whole(&self) {
        self.whole.cancelled().await;
    }

    /// Ends this push, whose git was killed: the temporary files that nobody needs any more. They
    /// are looked for while no other push can begin, so none is of one.
    pub(crate) fn end_killed(self, repository: &Path) -> Vec<PathBuf> {
        let mut book = self.receives.book();
        book.at_work.remove(&self.id);
        let found = if book.any(repository) {
            Vec::new()
        } else {
            leftovers::find(repository).unwrap_or_default()
        };
        // Dropping `self` needs the book.
        drop(book);
        found
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        self.receives.book().at_work.remove(&self.id);
    }
}

impl Served {
    pub(crate) fn new(
        child: Child,
        repository: &Path,
        receive: Option<Receive>,
        limits: GitLimits,
    ) -> Served {
        Served {
            child,
            repository: repository.to_owned(),
            receive,
            limits,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_a_killed_push_go_with_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("objects/tmp_objdir-incoming-aB3xYz");
        std::fs::create_dir_all(&left).unwrap();
        let receives = Receives::default();
        let first = receives.begin(folder.path());
        let second = receives.begin(folder.path());
        assert!(receives.begin_alone(folder.path()).is_none());
        receives.is_whole(second.id());
        assert!(second.whole.is_cancelled() && !first.whole.is_cancelled());
        assert!(first.end_killed(folder.path()).is_empty());
        assert_eq!(second.end_killed(folder.path()), [left]);
        let alone = receives.begin_alone(folder.path()).unwrap();
        assert!(receives.begin_alone(folder.path()).is_none());
        drop(alone);
        assert!(receives.begin_alone(folder.path()).is_some());
    }
}
