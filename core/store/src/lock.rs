//! One process at a time on a state folder. The lock is on a file beside the folder, since the
//! folder itself can be moved aside; the kernel gives it back when the process ends, however it
//! ends. The file holds the process id, for the message alone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::StoreError;

pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path` for the state in `dir`, trying until `deadline`.
    pub(crate) fn acquire(path: &Path, dir: &Path, deadline: Instant) -> Result<Lock, StoreError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::file("open", path))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    wait_for_holder();
                }
                Err(Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    let _unreadable = file.read_to_string(&mut text);
                    return Err(StoreError::Locked {
                        dir: dir.to_owned(),
                        pid: text.trim().parse().ok(),
                    });
                }
                Err(errno) => return Err(StoreError::file("lock", path)(errno.into())),
            }
        }
        // Without the number the lock holds all the same, so a full disk is no reason to stop.
        let _no_number = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }
}

/// Between two tries for a lock; a process that was just killed takes some milliseconds to end.
#[expect(
    clippy::disallowed_methods,
    reason = "no state to wait for: a lock is tried without blocking, to give up at a deadline"
)]
pub(crate) fn wait_for_holder() {
    std::thread::sleep(Duration::from_millis(20));
}
