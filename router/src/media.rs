//! Uploaded files. Strangers choose names and content, and the app's container may put links,
//! pipes and devices into the folder, so a file is opened beneath the root without following any
//! link, looked at before it is opened for reading, and never shown as a page of the site.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY};
use http::{HeaderMap, HeaderValue, Method, Response};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use zarpar_model::MediaRoute;

use crate::content_type::{self, Danger};
use crate::file_reply::{ServedFile, Source, is_read, serve};
use crate::pages::Page;
use crate::reply::ReplyBody;

/// The guide's Nginx: `expires 7d`.
const WEEK: &str = "public, max-age=604800";

/// The uploaded files of one route.
#[derive(Debug)]
pub(crate) struct Media {
    url: Box<str>,
    root: PathBuf,
}

impl Media {
    pub(crate) fn new(route: &MediaRoute) -> Media {
        Media {
            url: route.url.as_str().into(),
            root: route.root.clone(),
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
        if path
            .split(|&byte| byte == b'/')
            .any(|part| part.starts_with(b"."))
        {
            return Page::NotFound.reply();
        }
        let (file, stat) = match open(&self.root, Path::new(OsStr::from_bytes(path))) {
            Ok(Some(found)) => found,
            Ok(None) => return Page::NotFound.reply(),
            Err(error) => {
                tracing::error!(%error, root = %self.root.display(), "cannot open an uploaded file");
                return Page::NotFound.reply();
            }
        };
        let content_type = content_type::of(path);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let modified = u64::try_from(stat.st_mtime).unwrap_or(0);
        let served = ServedFile {
            source: Source::Disk(file),
            size,
            modified,
            etag: format!("\"{modified:x}-{:x}-{size:x}\"", stat.st_mtime_nsec),
            content_type,
            cache_control: WEEK,
        };
        let mut response = serve(method, headers, served);
        disarm(response.headers_mut(), content_type);
        response
    }
}

/// Takes the site's origin away from what could run scripts in it.
fn disarm(headers: &mut HeaderMap, content_type: &str) {
    let policy = match content_type::danger(content_type) {
        Danger::None => return,
        // Its own style may stay: it is an image still.
        Danger::Image => "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        Danger::Page => {
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            "sandbox; default-src 'none'"
        }
    };
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
}

/// A regular file beneath `root`; `None` when there is none at this path.
fn open(root: &Path, path: &Path) -> io::Result<Option<(File, Stat)>> {
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = match find(&root, path) {
        Ok(found) => found,
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::ISDIR
            | Errno::INVAL,
        ) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    // Opened for reading only now: opening a pipe waits, opening a device may do anything.
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = rustix::fs::openat(
        CWD,
        again,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
    )?;
    Ok(Some((File::from(file), stat)))
}

fn find(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // Linux before 5.6, or a sandbox that forbids the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, path),
        other => other,
    }
}

/// The same with the calls of older kernels: each part opened from the one before, never
/// through a link. The path has no `..`.
fn walk(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let open = |from: &OwnedFd, part: &OsStr, more: OFlags| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        rustix::fs::openat(from, part, flags, Mode::empty())
    };
    let name = path.file_name().ok_or(Errno::NOENT)?;
    let mut folder: Option<OwnedFd> = None;
    for part in path.parent().into_iter().flat_map(Path::iter) {
        folder = Some(open(
            folder.as_ref().unwrap_or(root),
            part,
            OFlags::DIRECTORY,
        )?);
    }
    open(folder.as_ref().unwrap_or(root), name, OFlags::empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_of_opening_stay_beneath_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("media");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/c.txt"), b"c").unwrap();
        std::fs::write(folder.path().join("secret"), b"s").unwrap();
        symlink("../secret", root.join("file-link")).unwrap();
        symlink("..", root.join("folder-link")).unwrap();
        let opened = File::open(&root).unwrap().into();
        let is_file = |found: Result<OwnedFd, Errno>| {
            found.is_ok_and(|found| {
                let stat = rustix::fs::fstat(found).unwrap();
                FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            })
        };
        for (path, expected) in [
            ("a/b/c.txt", true),
            ("a/b", false),
            ("file-link", false),
            ("folder-link/secret", false),
            ("a/b/c.txt/d", false),
            ("nothing", false),
        ] {
            let path = Path::new(path);
            assert_eq!(is_file(find(&opened, path)), expected, "{path:?}");
            assert_eq!(is_file(walk(&opened, path)), expected, "{path:?}");
        }
    }
}
