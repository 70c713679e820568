//! Which pushes are on their way into which repository, in memory alone: a receive is over when
//! its git has ended, and none outlives this process, because git ends when its pipes close. What
//! is kept here tells a push that still arrives, and so has time limits, from one whose hook waits
//! for a deployment; and whether temporary files of a repository may be somebody's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::git::GitLimits;
use crate::leftovers;

/// Pushes that arrive at once. Checking a pack may take git a hundred MB, and a small server has
/// 1 GB; those that wait for a deployment are here already and count no more.
const AT_ONCE: usize = 2;

/// The pushes on their way; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Receives {
    book: Arc<Mutex<Book>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    at_work: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    repository: PathBuf,
    whole: CancellationToken,
    /// While it arrives.
    turn: Option<OwnedSemaphorePermit>,
}

impl Default for Receives {
    fn default() -> Receives {
        Receives {
            book: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
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
        let entry = Entry {
            repository: repository.to_owned(),
            whole: whole.clone(),
            turn: None,
        };
        book.at_work.insert(id, entry);
        Receive {
            id,
            whole,
            receives: self.clone(),
        }
    }

    /// All of a push is here and git has checked it: its hook says so.
    pub(crate) fn is_whole(&self, id: u64) {
        if let Some(entry) = self.book().at_work.get_mut(&id) {
            entry.whole.cancel();
            entry.turn = None;
        }
    }

    /// Begins work of our own in a repository, unless somebody is at work there.
    pub(crate) fn begin_alone(&self, repository: &Path) -> Option<Receive> {
        let busy = self.book().any(repository);
        (!busy).then(|| self.begin(repository))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn any(&self, repository: &Path) -> bool {
        self.at_work
            .values()
            .any(|entry| entry.repository == repository)
    }
}

impl Receive {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it may arrive at once.
    pub(crate) fn take_turn_now(&self) -> bool {
        let turn = self.receives.turns.clone().try_acquire_owned();
        turn.map(|turn| self.keep(turn)).is_ok()
    }

    /// Ends when it may arrive: those that came before it are here.
    pub(crate) async fn take_turn(&self) {
        // Nobody closes it.
        if let Ok(turn) = self.receives.turns.clone().acquire_owned().await {
            self.keep(turn);
        }
    }

    fn keep(&self, turn: OwnedSemaphorePermit) {
        if let Some(entry) = self.receives.book().at_work.get_mut(&self.id) {
            entry.turn = Some(turn);
        }
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
