//! The static files of a route. What is below the prefix is answered here, also with 404: the
//! app is never asked for a file it may not have any more. A file may have compressed variants
//! beside it, made at release time; nothing is compressed here. Small ones that are asked for often are
//! in memory (`hot_files`).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{RANGE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response};
use zarpar_model::{StaticEntry, StaticRoute};

use crate::accept_encoding::{Coding, is_compressible, preferred};
use crate::content_type;
use crate::file_body::FileBody;
use crate::file_reply::{ServedFile, Source, is_read, serve_coded};
use crate::hot_files::{HotFiles, Key};
use crate::pages::Page;
use crate::reply::{Content, ReplyBody};
use crate::static_set::StaticSet;

const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The guide's Nginx: `expires 30d`.
const MONTH: &str = "public, max-age=2592000";

/// The static files of one route.
#[derive(Debug)]
pub(crate) struct StaticFiles {
    url: Box<str>,
    blobs: PathBuf,
    /// Of the folder, for contents in memory.
    number: u64,
    /// Newest first.
    sets: Box<[Arc<StaticSet>]>,
}

impl StaticFiles {
    pub(crate) fn new(route: &StaticRoute, sets: Vec<Arc<StaticSet>>) -> StaticFiles {
        let mut number = DefaultHasher::new();
        route.root.hash(&mut number);
        StaticFiles {
            url: route.url.as_str().into(),
            blobs: route.root.join("blobs"),
            number: number.finish(),
            sets: sets.into_boxed_slice(),
        }
    }

    /// The prefix.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Answers for a path below the prefix.
    pub(crate) fn reply(
        &self,
        method: &Method,
        headers: &HeaderMap,
        path: &[u8],
        hot: &HotFiles,
    ) -> Response<ReplyBody> {
        if !is_read(method) {
            return Page::MethodNotAllowed.reply();
        }
        let Some(entry) = self.find(path) else {
            return Page::NotFound.reply();
        };
        let digest = hex(&entry.sha256);
        let content_type = content_type::of(path);
        let is_compressible = is_compressible(content_type);
        // A range is one of the file as it is.
        let variant = if is_compressible && !headers.contains_key(RANGE) {
            self.variant(headers, entry, &digest, hot)
        } else {
            None
        };
        let (source, size, coding) = match variant {
            Some((source, size, coding)) => (source, size, Some(coding)),
            None => match self.plain(entry, &digest, hot) {
                Ok(source) => (source, entry.size, None),
                Err(error) => {
                    tracing::error!(%error, blob = digest, "a static file is missing on disk");
                    return Page::NotFound.reply();
                }
            },
        };
        let tag = &digest[..32];
        let served = ServedFile {
            source,
            size,
            modified: entry.mtime,
            etag: match coding {
                Some(coding) => format!("\"{tag}-{}\"", coding.token()),
                None => format!("\"{tag}\""),
            },
            content_type,
            cache_control: if entry.immutable { FOR_EVER } else { MONTH },
        };
        let mut response = serve_coded(method, headers, served, coding);
        if is_compressible {
            let vary = HeaderValue::from_static("accept-encoding");
            response.headers_mut().insert(VARY, vary);
        }
        response
    }

    /// A small file of the newest set, whole; `None` when there is none or it is larger than
    /// 256 KiB, which no page is.
    pub(crate) fn page(&self, path: &str) -> Option<Content> {
        let entry = self.sets.first()?.get(path)?;
        if entry.size > 256 * 1024 {
            return None;
        }
        let file = open(&self.blobs, &hex(&entry.sha256), "").ok()?;
        Some(Content::File(FileBody::new(file, 0..entry.size)))
    }

    /// The first variant that the client wants and that is there, and its size in bytes.
    fn variant(
        &self,
        headers: &HeaderMap,
        entry: &StaticEntry,
        digest: &str,
        hot: &HotFiles,
    ) -> Option<(Source, u64, Coding)> {
        preferred(headers).find_map(|coding| {
            let key = self.key(entry, Some(coding));
            if let Some(content) = hot.get(&key) {
                let size = content.len() as u64;
                return Some((Source::Memory(content), size, coding));
            }
            let file = open(&self.blobs, digest, coding.suffix()).ok()?;
            let size = file.metadata().ok()?.len();
            Some((kept(hot, key, file, size), size, coding))
        })
    }

    /// The file as it is.
    fn plain(&self, entry: &StaticEntry, digest: &str, hot: &HotFiles) -> io::Result<Source> {
        let key = self.key(entry, None);
        match hot.get(&key) {
            Some(content) => Ok(Source::Memory(content)),
            None => {
                let file = open(&self.blobs, digest, "")?;
                Ok(kept(hot, key, file, entry.size))
            }
        }
    }

    fn key(&self, entry: &StaticEntry, coding: Option<Coding>) -> Key {
        Key {
            folder: self.number,
            sha256: entry.sha256,
            coding,
        }
    }

    fn find(&self, path: &[u8]) -> Option<&StaticEntry> {
        let path = std::str::from_utf8(path).ok()?;
        self.sets.iter().find_map(|set| set.get(path))
    }
}

/// Where to send it from: memory, once it was asked for twice.
fn kept(hot: &HotFiles, key: Key, file: File, size: u64) -> Source {
    match hot.admit(key, &file, size) {
        Some(content) => Source::Memory(content),
        None => Source::Disk(file),
    }
}

/// A content, or with a suffix what stands beside it.
fn open(blobs: &Path, digest: &str, suffix: &str) -> io::Result<File> {
    let mut path = OsString::with_capacity(blobs.as_os_str().len() + 74);
    path.push(blobs);
    for part in ["/", &digest[..2], "/", digest, suffix] {
        path.push(part);
    }
    OpenOptions::new()
        .read(true)
        .custom_flags(
            // A content is a file, never a link to one.
            i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0),
        )
        .open(path)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
