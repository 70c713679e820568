//! A file that only takes up room, so that there is room when the disk is full: it is given up
//! before a write would fail, and then deployments still reach a final state while new work is
//! refused. It is made again, and new work accepted, as soon as the disk has room.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::StoreError;
use crate::folder::parent_of;

/// Below this many free bytes sled and the export are not sure of room: sled takes 512 KiB at a
/// time and an export of a hundred apps is some megabytes.
const LOW: u64 = 8 << 20;

pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// Given up for want of room, and not made again yet.
    released: bool,
}

impl Ballast {
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Ballast {
        Ballast {
            path,
            bytes,
            released: false,
        }
    }

    /// Makes the file if it is not there and the disk has room to spare.
    pub(crate) fn make(&mut self) {
        let whole = |about: fs::Metadata| about.len() == self.bytes;
        let there = fs::metadata(&self.path).is_ok_and(whole);
        if there || self.available().is_some_and(|free| free < self.bytes + LOW) {
            self.released &= !there;
            return;
        }
        let made = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?));
        match made {
            Ok(()) => self.released = false,
            Err(error) => {
                // A file of the right length without blocks behind it would be no ballast.
                let _gone = fs::remove_file(&self.path);
                tracing::warn!(path = %self.path.display(), %error, "no ballast could be made");
            }
        }
    }

    /// Gives up the file.
    pub(crate) fn release(&mut self) {
        if fs::remove_file(&self.path).is_ok() {
            self.released = true;
            tracing::error!(
                path = %self.path.display(),
                "the disk is full; the ballast was given up and new work is refused until there is room"
            );
        }
    }

    /// Before a write that ends work: gives up the file if there is little room.
    pub(crate) fn make_room(&mut self) {
        if self.available().is_some_and(|free| free < LOW) {
            self.release();
        }
    }

    /// Before a write that begins work.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] while there is no room.
    pub(crate) fn admit(&mut self) -> Result<(), StoreError> {
        self.make_room();
        if self.released {
            self.make();
        }
        if self.released || self.available().is_some_and(|free| free < LOW) {
            return Err(StoreError::DiskFull {
                path: parent_of(&self.path).to_owned(),
            });
        }
        Ok(())
    }

    /// Free bytes for an ordinary user; `None` when the file system does not say.
    fn available(&self) -> Option<u64> {
        statvfs(parent_of(&self.path))
            .ok()
            .map(|about| about.f_bavail.saturating_mul(about.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_ballast_takes_up_real_blocks_and_comes_back_after_it_was_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ballast");
        let mut ballast = Ballast::new(path.clone(), 1 << 20);
        ballast.make();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
        ballast.release();
        assert!(!path.exists());
        ballast.admit().unwrap();
        assert!(path.exists(), "there is room, so it is made again");
    }

    #[test]
    fn a_disk_that_is_too_small_for_ballast_is_still_worked_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::new(folder.path().join("ballast"), 1 << 60);
        ballast.make();
        assert!(!folder.path().join("ballast").exists());
        ballast.admit().unwrap();
    }
}
