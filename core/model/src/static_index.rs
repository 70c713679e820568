//! The index of a static set: which path of `STATIC_URL` is which content. It is a text file,
//! sorted by path, so that the same files give the same bytes and its SHA-256 is the set's id.
//!
//! ```text
//! zarpar-static 1
//! <sha256> <size in bytes> <mtime, Unix seconds> <i or -> <path>
//! ```
//! `i` marks a hashed name: the content under it can never change. The path comes last because
//! it may hold spaces; line breaks are refused.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use sha2::{Digest, Sha256};

const HEADER: &str = "zarpar-static 1";

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticEntry {
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Size in bytes.
    pub size: u64,
    /// Last modification, Unix seconds.
    pub mtime: u64,
    /// Whether the name carries the content's hash, so that it may be cached for ever.
    pub immutable: bool,
}

/// The files of one static set by their path below `STATIC_URL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticIndex {
    entries: BTreeMap<String, StaticEntry>,
}

/// Why a text is not an index, or a path cannot be in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticIndexError {
    /// Not written by this version.
    #[error("expected `{HEADER}` as the first line of a static index, found `{0}`")]
    Header(String),
    /// A line that is no entry.
    #[error("line {0} of the static index is not an entry")]
    Line(usize),
    /// A path that could leave the static folder or break the format.
    #[error("the static file name `{0}` is not usable in a URL")]
    Path(String),
}

impl StaticIndex {
    /// Adds a file. `immutable` is decided by [`StaticIndex::mark_hashed`] once all are there.
    ///
    /// # Errors
    /// [`StaticIndexError::Path`] when the path is empty, absolute, has `.`, `..` or empty
    /// parts, or control characters.
    pub fn insert(&mut self, path: &str, entry: StaticEntry) -> Result<(), StaticIndexError> {
        let good = path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.chars().any(char::is_control);
        if !good {
            return Err(StaticIndexError::Path(path.escape_debug().to_string()));
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Marks the files whose name is hashed by Django's rule *and* whose plain name is in the set
    /// too (`ManifestStaticFilesStorage` keeps both). The second half matters: a name that only
    /// looks hashed must not be cached for a year.
    pub fn mark_hashed(&mut self) {
        let hashed: Vec<String> = self
            .entries
            .keys()
            .filter(|path| {
                is_hashed_name(path).is_some_and(|plain| self.entries.contains_key(&plain))
            })
            .cloned()
            .collect();
        for path in hashed {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.immutable = true;
            }
        }
    }

    /// Gives every file that is the same in `before`, by path and content, the time it has there.
    pub fn keep_times_of(&mut self, before: &StaticIndex) {
        for (path, entry) in &mut self.entries {
            if let Some(old) = before.get(path)
                && old.sha256 == entry.sha256
            {
                entry.mtime = old.mtime;
            }
        }
    }

    /// The files in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StaticEntry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// One file.
    pub fn get(&self, path: &str) -> Option<&StaticEntry> {
        self.entries.get(path)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index as text, the same for the same files.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (path, entry) in &self.entries {
            let mark = if entry.immutable { 'i' } else { '-' };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{} {} {} {mark} {path}",
                hex(&entry.sha256),
                entry.size,
                entry.mtime
            );
        }
        text
    }

    /// The id of the set: SHA-256 of [`StaticIndex::to_text`] in hexadecimal.
    pub fn set_id(&self) -> String {
        hex(&Sha256::digest(self.to_text().as_bytes()))
    }

    /// Reads an index.
    ///
    /// # Errors
    /// [`StaticIndexError`] naming the first line that is wrong.
    pub fn from_text(text: &str) -> Result<StaticIndex, StaticIndexError> {
        let mut index = StaticIndex::default();
        StaticIndex::visit(text, |path, entry| index.insert(path, entry))?;
        Ok(index)
    }

    /// Reads an index entry by entry, for readers that keep their own, denser form.
    ///
    /// # Errors
    /// [`StaticIndexError`] naming the first line that is wrong, and whatever `visitor` returns.
    pub fn visit(
        text: &str,
        mut visitor: impl FnMut(&str, StaticEntry) -> Result<(), StaticIndexError>,
    ) -> Result<(), StaticIndexError> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(StaticIndexError::Header(header.chars().take(40).collect()));
        }
        for (number, line) in lines.enumerate() {
            let (path, entry) = read_line(line).ok_or(StaticIndexError::Line(number + 2))?;
            visitor(path, entry)?;
        }
        Ok(())
    }
}

impl FromIterator<(String, StaticEntry)> for StaticIndex {
    fn from_iter<I: IntoIterator<Item = (String, StaticEntry)>>(entries: I) -> StaticIndex {
        StaticIndex {
            entries: entries
                .into_iter()
                .collect::<HashMap<_, _>>()
                .into_iter()
                .collect(),
        }
    }
}

/// The plain name of a name hashed by Django's rule, `css/site.0123456789ab.css` →
/// `css/site.css` (django.contrib.staticfiles.storage: twelve hexadecimal digits of MD5 before
/// the last extension); `None` for every other name.
pub fn is_hashed_name(path: &str) -> Option<String> {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(name_at);
    let is_hash = |text: &str| {
        text.len() == 12
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let (stem, last) = name.rsplit_once('.')?;
    // A file without an extension gets its hash as one: `LICENSE.0123456789ab`.
    if is_hash(last) && !stem.is_empty() {
        return Some(format!("{folder}{stem}"));
    }
    let (plain, hash) = stem.rsplit_once('.')?;
    (is_hash(hash) && !plain.is_empty()).then(|| format!("{folder}{plain}.{last}"))
}

fn read_line(line: &str) -> Option<(&str, StaticEntry)> {
    let mut parts = line.splitn(5, ' ');
    let sha256 = unhex(parts.next()?)?;
    let size = parts.next()?.parse().ok()?;
    let mtime = parts.next()?.parse().ok()?;
    let immutable = match parts.next()? {
        "i" => true,
        "-" => false,
        _ => return None,
    };
    let path = parts.next()?;
    Some((
        path,
        StaticEntry {
            sha256,
            size,
            mtime,
            immutable,
        },
    ))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)] as char,
                DIGITS[usize::from(byte & 15)] as char,
            ]
        })
        .collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(size: u64) -> StaticEntry {
        StaticEntry {
            sha256: [0xab; 32],
            size,
            mtime: 1_700_000_000,
            immutable: false,
        }
    }

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        let mut index = StaticIndex::default();
        index.insert("css/site.css", entry(3)).unwrap();
        index.insert("css/site.0123456789ab.css", entry(3)).unwrap();
        index.insert("img/con espacio.svg", entry(9)).unwrap();
        index.mark_hashed();
        let again = StaticIndex::from_text(&index.to_text()).unwrap();
        assert_eq!(again, index);
        assert!(again.get("css/site.0123456789ab.css").unwrap().immutable);
        assert!(!again.get("css/site.css").unwrap().immutable);
        assert_eq!(again.set_id(), index.set_id());
    }

    #[test]
    fn a_name_that_only_looks_hashed_is_not_cached_for_ever() {
        let mut index = StaticIndex::default();
        index.insert("report.202601010000.pdf", entry(1)).unwrap();
        index.mark_hashed();
        assert!(!index.get("report.202601010000.pdf").unwrap().immutable);
    }

    #[test]
    fn hashed_names_by_djangos_rule() {
        assert_eq!(
            is_hashed_name("a/b.0123456789ab.css").as_deref(),
            Some("a/b.css")
        );
        assert_eq!(
            is_hashed_name("LICENSE.0123456789ab").as_deref(),
            Some("LICENSE")
        );
        assert_eq!(
            is_hashed_name("a/b.min.0123456789ab.js").as_deref(),
            Some("a/b.min.js")
        );
        for plain in [
            "a/b.css",
            "a/b.0123456789AB.css",
            "a/.0123456789ab.css",
            "a.0123456789ab/b",
        ] {
            assert_eq!(is_hashed_name(plain), None, "{plain}");
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let mut index = StaticIndex::default();
        for bad in ["", "/etc/passwd", "../x", "a//b", "a/./b", "a\nb", "a/"] {
            assert!(index.insert(bad, entry(1)).is_err(), "{bad}");
        }
        let text = format!("{HEADER}\n{} 1 1 - ../x\n", "ab".repeat(32));
        assert!(StaticIndex::from_text(&text).is_err());
        assert_eq!(
            StaticIndex::from_text("x"),
            Err(StaticIndexError::Header("x".into()))
        );
        assert_eq!(
            StaticIndex::from_text(&format!("{HEADER}\nzz")),
            Err(StaticIndexError::Line(2))
        );
    }
}
