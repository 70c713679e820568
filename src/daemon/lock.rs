//! One process of a kind for a data folder. The kernel holds the lock, so a killed process
//! leaves none behind; the file's text says who has it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

/// What a process that was killed may take to end; with much memory it takes a while.
const DYING: Duration = Duration::from_secs(2);

/// Takes the lock or says who has it. It is held until the file is dropped.
pub(crate) fn acquire(path: &Path, program: &str, data: &Path) -> anyhow::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock `{}`", path.display()))?;
    let began = Instant::now();
    // A killed process closes its sockets some moments before its locks; whoever started us
    // because it was gone is right.
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if began.elapsed() < DYING {
            std::thread::park_timeout(Duration::from_millis(20));
            continue;
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let holder = holder.trim();
        anyhow::bail!(
            "another `{program}` (pid {holder}) uses the data folder `{}`\nhint: stop it first (`kill {holder}`), or name another folder with `--data DIR`",
            data.display()
        );
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}
