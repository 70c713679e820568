//! The last table on disk.
//!
//! Kept: one JSON file, replaced whole (written beside, fsynced, renamed, folder fsynced). What
//! can never happen: half a table under the real name. A crash leaves the old file or the new
//! one, and perhaps a `.new` that the next write replaces.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zarpar_model::RouteTable;

/// Writes the table durably.
pub(crate) fn save(path: &Path, table: &RouteTable) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(table)?)
}

/// Writes a file that is only for us, so that after a crash the old one or the new one is there,
/// whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let beside = with_suffix(path, ".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// What is done with a file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// It is moved aside as `.damaged`: an edge that does not start is the worse outage.
    MoveAside,
    /// It stays: another edge serves from it.
    Leave,
}

/// The table of the last run; `None` when there is none that can be used.
pub(crate) fn load(path: &Path, damaged: Damaged) -> Option<RouteTable> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "cannot read the last route table");
            return None;
        }
    };
    let reason = match serde_json::from_slice::<RouteTable>(&text) {
        Ok(table) => match table.check() {
            Ok(()) => return Some(table),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    if damaged == Damaged::Leave {
        tracing::error!(reason, path = %path.display(), "the route table cannot be used");
        return None;
    }
    let aside = with_suffix(path, ".damaged");
    tracing::error!(
        reason,
        path = %path.display(),
        kept = %aside.display(),
        "the last route table is damaged, starting without routes"
    );
    if let Err(error) = fs::rename(path, &aside) {
        tracing::error!(%error, "cannot move the damaged route table aside");
    }
    None
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_survives_and_a_damaged_one_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge/table.json");
        assert_eq!(load(&path, Damaged::MoveAside), None);
        let table = RouteTable {
            generation: 7,
            ..RouteTable::default()
        };
        save(&path, &table).unwrap();
        assert_eq!(load(&path, Damaged::MoveAside), Some(table));
        fs::write(&path, b"{\"generation\": 7, \"rou").unwrap();
        assert_eq!(load(&path, Damaged::MoveAside), None);
        assert!(!path.exists());
        assert!(folder.path().join("edge/table.json.damaged").exists());
    }
}
