//! The static files of a route. What is below the prefix is answered here, also with 404: the
//! app is never asked for a file it may not have any more.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, Method, Response};
use zarpar_model::{StaticEntry, StaticRoute};

use crate::content_type;
use crate::file_reply::{ServedFile, is_read, serve};
use crate::pages::Page;
use crate::reply::ReplyBody;
use crate::static_set::StaticSet;

const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The guide's Nginx: `expires 30d`.
const MONTH: &str = "public, max-age=2592000";

/// The static files of one route.
#[derive(Debug)]
pub(crate) struct StaticFiles {
    url: Box<str>,
    blobs: PathBuf,
    /// Newest first.
    sets: Box<[Arc<StaticSet>]>,
}

impl StaticFiles {
    pub(crate) fn new(route: &StaticRoute, sets: Vec<Arc<StaticSet>>) -> StaticFiles {
        StaticFiles {
            url: route.url.as_str().into(),
            blobs: route.root.join("blobs"),
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
    ) -> Response<ReplyBody> {
        if !is_read(method) {
            return Page::MethodNotAllowed.reply();
        }
        let Some(entry) = self.find(path) else {
            return Page::NotFound.reply();
        };
        let digest = hex(&entry.sha256);
        let file = match open(&self.blobs, &digest) {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(%error, blob = digest, "a static file is missing on disk");
                return Page::NotFound.reply();
            }
        };
        let served = ServedFile {
            file,
            size: entry.size,
            modified: entry.mtime,
            etag: format!("\"{}\"", &digest[..32]),
            content_type: content_type::of(path),
            cache_control: if entry.immutable { FOR_EVER } else { MONTH },
        };
        serve(method, headers, served)
    }

    fn find(&self, path: &[u8]) -> Option<&StaticEntry> {
        let path = std::str::from_utf8(path).ok()?;
        self.sets.iter().find_map(|set| set.get(path))
    }
}

fn open(blobs: &Path, digest: &str) -> io::Result<File> {
    let mut path = PathBuf::with_capacity(blobs.as_os_str().len() + 70);
    path.push(blobs);
    path.push(&digest[..2]);
    path.push(digest);
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
