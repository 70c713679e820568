//! Small files that survive a crash whole.
//!
//! Kept: one JSON file each, replaced whole (written beside, fsynced, renamed, folder fsynced),
//! readable by the owner alone. What can never happen: half a file under the real name. A crash
//! leaves the old file or the new one, and perhaps a `.new` that the next write replaces.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::persist::{with_suffix, write_whole};

/// Writes `value` to `name` in `folder`, which is made when missing.
pub(crate) fn save(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    write_whole(&folder.join(name), &serde_json::to_vec_pretty(value)?)
}

/// What `name` in `folder` holds; the default when it is missing. A file that cannot be used is
/// moved aside as `.damaged` and reported: an edge that does not start is the worse outage.
pub(crate) fn load<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> T {
    let path = folder.join(name);
    let reason = match fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => return value,
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
        Err(error) => error.to_string(),
    };
    let aside = with_suffix(&path, ".damaged");
    tracing::error!(
        reason,
        path = %path.display(),
        kept = %aside.display(),
        "expected a file that zarpar wrote; starting without it"
    );
    if let Err(error) = fs::rename(&path, &aside) {
        tracing::error!(%error, path = %path.display(), "cannot move a damaged file aside");
    }
    T::default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_value_survives_privately_and_a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("acme");
        let value = BTreeMap::from([("a".to_owned(), 1)]);
        save(&inner, "x.json", &value).unwrap();
        let path = inner.join("x.json");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(load::<BTreeMap<String, i32>>(&inner, "x.json"), value);
        fs::write(&path, b"{\"a\": ").unwrap();
        assert!(load::<BTreeMap<String, i32>>(&inner, "x.json").is_empty());
        assert!(!path.exists());
        assert!(inner.join("x.json.damaged").exists());
    }
}
