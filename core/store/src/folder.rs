//! Folders that must survive a power cut: a name is on disk only once its folder is synced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The folder a file is in; of a bare name it is the current one.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::file("sync", path))
}

/// Makes all files and folders below `path`, and its own name, survive a power cut.
pub(crate) fn sync_tree(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(StoreError::file("read", path))? {
        let entry = entry.map_err(StoreError::file("read", path))?.path();
        if entry.is_dir() {
            sync_tree(&entry)?;
        } else {
            File::open(&entry)
                .and_then(|file| file.sync_all())
                .map_err(StoreError::file("sync", &entry))?;
        }
    }
    sync_folder(path)?;
    sync_folder(parent_of(path))
}

/// The path beside `path` whose name is longer by `suffix`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
