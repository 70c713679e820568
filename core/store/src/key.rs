//! The key file: 32 random bytes, readable by its owner alone. It is made once, and only while
//! nothing is sealed yet: a fresh key over old sealed values would look like success and lose
//! them. It appears under its name whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::folder::{parent_of, sync_folder, with_suffix};
use crate::rows::{Changes, Rows, Table};
use crate::sealed::Sealer;
use crate::{StoreError, counters};

/// The row of [`Table::Meta`] that tells whether a key is the right one.
const CHECK: &str = "key_check";

/// Reads or makes the key, and proves it against the check value in `rows`.
pub(crate) fn unlock(path: &Path, rows: &Rows) -> Result<Sealer, StoreError> {
    let mut holds_sealed = false;
    rows.each(Table::Env, "", |_, _| {
        holds_sealed = true;
        Ok(())
    })?;
    let key = match read_key(path)? {
        Some(key) => key,
        None if holds_sealed => {
            return Err(StoreError::KeyMissing {
                path: path.to_owned(),
            });
        }
        None => make_key(path)?,
    };
    let sealer = Sealer::new(&key);
    let check: Option<String> = rows.get(Table::Meta, CHECK)?;
    let right = check
        .and_then(|text| STANDARD.decode(text).ok())
        .is_some_and(|sealed| sealer.open("", CHECK, &sealed).is_ok());
    if right {
        return Ok(sealer);
    }
    if holds_sealed {
        return Err(StoreError::WrongKey {
            path: path.to_owned(),
        });
    }
    let mut changes = Changes::default();
    let sealed = sealer.seal("", CHECK, b"")?;
    changes.put(Table::Meta, CHECK, &STANDARD.encode(sealed))?;
    // The export must have it too, so it must be seen to be behind.
    let generation = counters::export_generation(rows)? + 1;
    counters::put_export_generation(&mut changes, generation)?;
    rows.write(&changes)?;
    rows.sync()?;
    Ok(sealer)
}

fn read_key(path: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file("read", path)(error)),
    };
    let about = file.metadata().map_err(StoreError::file("read", path))?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::KeyExposed {
            path: path.to_owned(),
            mode,
        });
    }
    if about.len() != 32 {
        return Err(StoreError::KeyLength {
            path: path.to_owned(),
            found: about.len(),
        });
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)
        .map_err(StoreError::file("read", path))?;
    Ok(Some(key))
}

fn make_key(path: &Path) -> Result<[u8; 32], StoreError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
    let folder = parent_of(path);
    fs::create_dir_all(folder).map_err(StoreError::file("create", folder))?;
    // The lock on the store is held, so a file of this name was left by a crash.
    let unfinished = with_suffix(path, ".new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(StoreError::file("remove", &unfinished)(error));
        }
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(&key)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(StoreError::file("create", path))?;
    sync_folder(folder)?;
    Ok(key)
}
