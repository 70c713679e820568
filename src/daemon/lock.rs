//! One process of a kind for a data folder. The kernel holds the lock, so a killed process
//! leaves none behind; the file's text says who has it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

/// Takes the lock or says who has it. It is held until the file is dropped.
pub(crate) fn acquire(path: &Path, program: &str, data: &Path) -> anyhow::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock `{}`", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
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
