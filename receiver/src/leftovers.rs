//! What a git process that was killed leaves in a repository: folders of quarantined objects and
//! packs that were not finished. None of it is named by anything, so it can be removed as soon as
//! nobody is at work on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is left in a repository, or somebody's at this moment.
///
/// # Errors
/// When a folder cannot be read; one that is not there is empty.
pub(crate) fn find(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let objects = repository.join("objects");
    let mut found = Vec::new();
    // Older versions of git say `incoming-`.
    look(&objects, &["tmp_objdir-", "incoming-"], &mut found)?;
    // `.tmp-` is what a repack writes.
    look(&objects.join("pack"), &["tmp_", ".tmp-"], &mut found)?;
    Ok(found)
}

/// The locks of references and of the repository's own files (`refs/heads/main.lock`): somebody's
/// at this moment, or of a process that was killed while it had them.
///
/// # Errors
/// When a folder cannot be read; one that is not there is empty.
pub(crate) fn locks(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![
        (repository.to_owned(), false),
        (repository.join("refs"), true),
    ];
    while let Some((folder, deep)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && deep {
                folders.push((entry.path(), true));
            } else if !is_folder && entry.path().extension().is_some_and(|end| end == "lock") {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Removes what was found and was not touched for `age`. Returns how much that was.
///
/// # Errors
/// When something cannot be removed; what is gone meanwhile is none.
pub(crate) fn remove(found: &[PathBuf], age: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for path in found {
        match remove_one(path, age) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            gone => removed += usize::from(gone?),
        }
    }
    Ok(removed)
}

fn remove_one(path: &Path, age: Duration) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    // A time in the future is no reason to keep it for ever.
    let untouched = SystemTime::now().duration_since(metadata.modified()?);
    if untouched.unwrap_or(age) < age {
        return Ok(false);
    }
    if metadata.is_dir() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(true)
}

fn look(folder: &Path, prefixes: &[&str], found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if prefixes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
        {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn locks_of_references_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "refs/heads/main.lock",
            "refs/zarpar/releases/v1.lock",
            "packed-refs.lock",
            "refs/heads/main",
            "objects/info/x.lock",
            "HEAD",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = locks(folder.path()).unwrap();
        found.sort();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "packed-refs.lock",
                "refs/heads/main.lock",
                "refs/zarpar/releases/v1.lock"
            ]
        );
        assert!(locks(&folder.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn only_what_is_old_and_temporary_goes() {
        let folder = tempfile::tempdir().unwrap();
        let objects = folder.path().join("objects");
        for name in ["tmp_objdir-incoming-aB3xYz/pack", "incoming-aB3xYz", "ab"] {
            fs::create_dir_all(objects.join(name)).unwrap();
        }
        fs::create_dir_all(objects.join("pack")).unwrap();
        for name in [
            "pack/tmp_pack_x",
            "pack/.tmp-12-pack-0.pack",
            "pack/pack-0.pack",
            "ab/cdef",
        ] {
            fs::write(objects.join(name), "x").unwrap();
        }
        let found = find(folder.path()).unwrap();
        assert_eq!(remove(&found, Duration::from_secs(3600)).unwrap(), 0);
        assert_eq!(remove(&found, Duration::ZERO).unwrap(), 4);
        assert!(objects.join("pack/pack-0.pack").exists() && objects.join("ab/cdef").exists());
        assert_eq!(remove(&found, Duration::ZERO).unwrap(), 0);
        assert!(find(folder.path()).unwrap().is_empty());
        assert!(find(&folder.path().join("none")).unwrap().is_empty());
    }
}
