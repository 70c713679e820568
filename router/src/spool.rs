//! Request bodies on their way to an app that must not wait for them: a body is read whole before
//! a target is held and a connection opened, so a visitor on a slow line costs the app nothing.
//!
//! Kept: a body that is still small in memory, the rest of it in a file without a name in a folder
//! of the edge's own. Three bounds hold over all visitors: memory, bytes on disk, and free space
//! that must be left on the file system. What can never happen: an app that sees part of a body
//! that did not arrive whole, and a file that outlives its request. A crash leaves nothing behind,
//! because the files have no names; where a file system cannot make one without, what is left of
//! the instant between making and unlinking is removed at the next start.

mod budget;
mod gather;
mod piece;
mod whole;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open, statvfs};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::budget::{Budget, Held};
pub(crate) use self::gather::gather;
pub(crate) use self::whole::Whole;
use crate::config::Limits;

/// Writes at a time over all workers. A write can wait for a disk that is busy, so it never runs
/// on a worker itself; each worker has four threads for what waits, and must keep some for the
/// files that visitors ask for.
const WRITERS: usize = 2;
/// Seconds between two lines in the log about bodies that were refused: who fills the disk should
/// not fill the log as well.
const QUIET: u64 = 60;

/// Where bodies wait, one for the whole edge.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Memory one body may take, in bytes.
    in_memory: usize,
    memory: Arc<Budget>,
    disk: Arc<Budget>,
    /// Free bytes to leave on the file system.
    reserve: u64,
    writers: Arc<Semaphore>,
    began: Instant,
    /// When a refusal was last logged, in seconds since `began`, from 1.
    complained: AtomicU64,
}

/// A body's file: without a name, counted, closed where it holds nobody up.
#[derive(Debug)]
struct SpoolFile {
    open: Option<(Arc<File>, Held)>,
    length: u64,
}

/// A body for which there is no room.
#[derive(Debug, thiserror::Error)]
enum SpoolError {
    #[error(
        "request bodies already take all {bound} bytes of disk they may take together\nhint: `ss -tn state established` shows who is connected"
    )]
    Bound { bound: u64 },
    #[error(
        "`{folder}` has {free} bytes free and {reserve} are to be left\nhint: `df -h {folder}` shows the file system"
    )]
    Reserve {
        folder: PathBuf,
        free: u64,
        reserve: u64,
    },
    #[error("a request body cannot be written to a file in `{folder}`")]
    Write { folder: PathBuf, source: io::Error },
}

impl Spool {
    /// Empties the folder, which is the edge's alone. A folder that cannot be made is no reason
    /// not to serve: it is tried again with the first body that needs it.
    pub(crate) fn start(folder: PathBuf, limits: &Limits) -> Spool {
        if let Err(error) = clear(&folder) {
            tracing::error!(%error, folder = %folder.display(), "cannot prepare the folder for request bodies");
        }
        Spool {
            folder,
            in_memory: limits.body_memory,
            memory: Budget::new(limits.bodies_memory),
            disk: Budget::new(limits.bodies_disk),
            reserve: limits.disk_reserve,
            writers: Arc::new(Semaphore::new(WRITERS)),
            began: Instant::now(),
            complained: AtomicU64::new(0),
        }
    }

    /// Appends to a body's file, which is made when there is none yet. The bytes come back, for
    /// their memory to be used again.
    async fn append<B>(
        self: &Arc<Spool>,
        file: Option<SpoolFile>,
        bytes: B,
    ) -> Result<(SpoolFile, B), SpoolError>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let permit = self.writers.clone().acquire_owned().await;
        let spool = self.clone();
        let written = spawn_blocking(move || {
            let _permit = permit;
            let mut file = match file {
                Some(file) => file,
                None => spool.create()?,
            };
            spool.write(&mut file, bytes.as_ref())?;
            Ok((file, bytes))
        });
        match written.await {
            Ok(written) => written,
            Err(error) => Err(self.failed(io::Error::other(error))),
        }
    }

    fn create(&self) -> Result<SpoolFile, SpoolError> {
        let file = match nameless(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&self.folder).and_then(|()| nameless(&self.folder))
            }
            made => made,
        }
        .map_err(|error| self.failed(error))?;
        Ok(SpoolFile {
            open: Some((Arc::new(file), self.disk.hold())),
            length: 0,
        })
    }

    /// The free space is asked each time: it costs a microsecond beside a write, and others write
    /// to the same file system.
    fn write(&self, file: &mut SpoolFile, bytes: &[u8]) -> Result<(), SpoolError> {
        let Some((open, held)) = &mut file.open else {
            return Ok(());
        };
        let size = bytes.len() as u64;
        if !held.more(size) {
            return Err(SpoolError::Bound {
                bound: self.disk.total(),
            });
        }
        let system = statvfs(&self.folder).map_err(|error| self.failed(error.into()))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < self.reserve.saturating_add(size) {
            return Err(SpoolError::Reserve {
                folder: self.folder.clone(),
                free,
                reserve: self.reserve,
            });
        }
        open.write_all_at(bytes, file.length)
            .map_err(|error| self.failed(error))?;
        file.length += size;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SpoolError {
        SpoolError::Write {
            folder: self.folder.clone(),
            source,
        }
    }

    /// Says in the log why a body was refused, at most once a minute.
    fn complain(&self, error: &SpoolError) {
        let now = self.began.elapsed().as_secs() + 1;
        let due = |last| (last == 0 || now >= last + QUIET).then_some(now);
        if self.complained.fetch_update(Relaxed, Relaxed, due).is_ok() {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "request bodies are refused");
        }
    }
}

impl Drop for SpoolFile {
    /// Freeing the pages of a large file takes milliseconds, and visitors wait for a worker.
    fn drop(&mut self) {
        let open = self.open.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(open));
        }
    }
}

/// Makes the folder when it is missing, else removes what is in it.
fn clear(folder: &Path) -> io::Result<()> {
    make(folder)?;
    for entry in fs::read_dir(folder)? {
        match fs::remove_file(entry?.path()) {
            // The edge before this one was faster.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    // Recursive, so one that is there is right.
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file that no other process can open and that is gone with its last descriptor.
fn nameless(folder: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match open(folder, flags | OFlags::TMPFILE | OFlags::EXCL, mode) {
        Ok(file) => Ok(file.into()),
        // Not every file system can (NFS; overlayfs before Linux 6.6).
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => unlinked(folder, flags, mode),
        Err(error) => Err(error.into()),
    }
}

fn unlinked(folder: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // The edge before this one may still be gathering bodies in the same folder.
    let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let path = folder.join(name);
    let file = open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    match fs::remove_file(&path) {
        // An edge that starts just emptied the folder.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(file.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_has_no_name_on_any_file_system() {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            nameless(folder.path()).unwrap(),
            unlinked(folder.path(), OFlags::RDWR, Mode::RUSR).unwrap(),
        ] {
            file.write_all_at(b"body", 0).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 4);
            assert_eq!(names(folder.path()), 0);
        }
    }

    #[tokio::test]
    async fn what_was_left_is_removed_and_a_lost_folder_made_again() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("edge/uploads");
        make(&folder).unwrap();
        fs::write(folder.join("3"), "of a crash").unwrap();
        let spool = Arc::new(Spool::start(folder.clone(), &Limits::default()));
        assert_eq!(names(&folder), 0);
        fs::remove_dir(&folder).unwrap();
        let (file, _) = spool.append(None, b"a ").await.unwrap();
        let (file, _) = spool.append(Some(file), b"body").await.unwrap();
        assert_eq!((file.length, names(&folder)), (6, 0));
    }

    #[test]
    fn a_budget_is_given_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.hold(), budget.hold());
        assert!(one.more(4) && one.more(4) && !other.more(3) && other.more(2));
        drop(one);
        assert!(other.more(8) && !budget.hold().more(1));
    }
}
