//! One static set in memory: all paths in one text, one fixed-size record a file, found by
//! binary search. 10,000 files take about 1 MB, and tables that name the same set share it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zarpar_model::{StaticEntry, StaticIndex, StaticIndexError};

/// The files of one set.
#[derive(Debug)]
pub(crate) struct StaticSet {
    paths: Box<str>,
    /// Sorted by path.
    records: Box<[Record]>,
}

#[derive(Debug)]
struct Record {
    start: u32,
    length: u32,
    entry: StaticEntry,
}

/// Why a set cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StaticSetError {
    #[error("expected the id of a static set (hexadecimal digits), found `{0}`")]
    Id(String),
    #[error("cannot read the static index `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("the static index `{path}` is damaged")]
    Damaged {
        path: PathBuf,
        source: StaticIndexError,
    },
}

impl StaticSet {
    /// Reads `<root>/sets/<id>`.
    pub(crate) fn load(root: &Path, id: &str) -> Result<StaticSet, StaticSetError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StaticSetError::Id(id.escape_debug().to_string()));
        }
        let path = root.join("sets").join(id);
        let text = fs::read_to_string(&path).map_err(|source| StaticSetError::Read {
            path: path.clone(),
            source,
        })?;
        StaticSet::parse(&text).map_err(|source| StaticSetError::Damaged { path, source })
    }

    fn parse(text: &str) -> Result<StaticSet, StaticIndexError> {
        let mut paths = String::with_capacity(text.len() / 2);
        let mut records = Vec::new();
        StaticIndex::visit(text, |path, entry| {
            // An index of 4 GiB is none; `visit` gave us its text in memory already.
            let start =
                u32::try_from(paths.len()).map_err(|_| StaticIndexError::Path(path.into()))?;
            let length =
                u32::try_from(path.len()).map_err(|_| StaticIndexError::Path(path.into()))?;
            paths.push_str(path);
            records.push(Record {
                start,
                length,
                entry,
            });
            Ok(())
        })?;
        let paths = paths.into_boxed_str();
        records.sort_by(|a, b| a.path(&paths).cmp(b.path(&paths)));
        Ok(StaticSet {
            paths,
            records: records.into_boxed_slice(),
        })
    }

    /// One file.
    pub(crate) fn get(&self, path: &str) -> Option<&StaticEntry> {
        let found = self
            .records
            .binary_search_by(|record| record.path(&self.paths).cmp(path))
            .ok()?;
        Some(&self.records[found].entry)
    }
}

impl Record {
    fn path<'a>(&self, paths: &'a str) -> &'a str {
        let start = self.start as usize;
        &paths[start..start + self.length as usize]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_file_is_found_and_nothing_else() {
        let index: StaticIndex = (0..1000u32)
            .map(|number| {
                let entry = StaticEntry {
                    sha256: [7; 32],
                    size: u64::from(number),
                    mtime: 0,
                    immutable: false,
                };
                (format!("css/{number}.css"), entry)
            })
            .collect();
        let set = StaticSet::parse(&index.to_text()).unwrap();
        for (path, entry) in index.iter() {
            assert_eq!(set.get(path), Some(entry));
        }
        for path in ["", "css", "css/", "css/1000.css", "css/1.css ", "zzz"] {
            assert_eq!(set.get(path), None, "{path}");
        }
        let bytes = set.paths.len() + set.records.len() * size_of::<Record>();
        assert!(bytes / 1000 <= 120, "{} bytes a file", bytes / 1000);
    }

    #[test]
    fn an_id_is_no_path() {
        for id in ["", "../x", "a/b", "."] {
            assert!(matches!(
                StaticSet::load(Path::new("/nonexistent"), id),
                Err(StaticSetError::Id(_))
            ));
        }
    }
}
