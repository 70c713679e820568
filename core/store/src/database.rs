//! Opening sled where it may meet damage, a full disk, or a process that is still ending. Which
//! of these it is decides what happens next, and sled tells it by error kinds, texts and panics.
//! Only damage is ever a reason to restore: a lock or a full disk loses nothing.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use zarpar_model::{App, AppName, Deployment, Release, SshKey, Token};

use crate::StoreError;
use crate::ballast::Ballast;
use crate::folder::parent_of;
use crate::lock::wait_for_holder;
use crate::rows::{Rows, Table, parse};

/// Opens the database in `dir`; `Break` says what is damaged.
pub(crate) fn open_database(
    dir: &Path,
    deadline: Instant,
    ballast: &mut Ballast,
) -> Result<ControlFlow<String, Rows>, StoreError> {
    let mut room_was_made = false;
    loop {
        remove_unfinished_snapshots(dir)?;
        let error = match Rows::open(dir) {
            Ok(Ok(rows)) => return Ok(ControlFlow::Continue(rows)),
            Ok(Err(error)) => error,
            Err(_) => return Ok(ControlFlow::Break("the database panicked".to_owned())),
        };
        match &error {
            // Sled gives its lock the kind `Other` and a text, nothing better.
            sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
                if Instant::now() >= deadline {
                    return Err(StoreError::Locked {
                        dir: dir.to_owned(),
                        pid: None,
                    });
                }
                wait_for_holder();
            }
            // Opening writes a snapshot, so a full disk keeps the database shut.
            sled::Error::Io(io) if io.kind() == ErrorKind::StorageFull && !room_was_made => {
                ballast.release();
                room_was_made = true;
            }
            sled::Error::Io(io) if io.kind() == ErrorKind::StorageFull => {
                return Err(StoreError::DiskFull {
                    path: parent_of(dir).to_owned(),
                });
            }
            sled::Error::Io(io)
                if !matches!(
                    io.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput
                ) =>
            {
                return Err(StoreError::Database {
                    action: "open",
                    source: error.into(),
                });
            }
            damage => return Ok(ControlFlow::Break(damage.to_string())),
        }
    }
}

/// Reads all rows, since sled finds damage only where it reads.
pub(crate) fn look_at_every_row(rows: &Rows) -> Result<(), StoreError> {
    rows.each(Table::Apps, "", |key, bytes| {
        parse::<App>(Table::Apps, key, bytes).map(drop)
    })?;
    rows.each(Table::Releases, "", |key, bytes| {
        parse::<Release>(Table::Releases, key, bytes).map(drop)
    })?;
    rows.each(Table::Deployments, "", |key, bytes| {
        parse::<Deployment>(Table::Deployments, key, bytes).map(drop)
    })?;
    rows.each(Table::DeploymentIds, "", |key, bytes| {
        parse::<AppName>(Table::DeploymentIds, key, bytes).map(drop)
    })?;
    rows.each(Table::Tokens, "", |key, bytes| {
        parse::<Token>(Table::Tokens, key, bytes).map(drop)
    })?;
    rows.each(Table::Keys, "", |key, bytes| {
        parse::<SshKey>(Table::Keys, key, bytes).map(drop)
    })?;
    rows.each(Table::Env, "", |_, _| Ok(()))
}

/// A start that was killed leaves half a snapshot, which sled 0.34 takes for the newest one and
/// refuses; the one before it is still there.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::file("read", dir))? {
        let path = entry.map_err(StoreError::file("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path).map_err(StoreError::file("remove", &path))?;
        }
    }
    Ok(())
}
