//! The file that sshd reads. Our lines in it are made anew from the store; every other line is
//! the admin's and stays as it is. It is replaced whole, by a file that is complete on disk, so
//! sshd reads the old one or the new one.
//!
//! The folder may belong to another user, and we may be root. So nothing is opened by a path
//! below it that this user could bend: no link is followed, and what is read is a plain file of
//! theirs with one name.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

/// The largest file that is taken for one of keys, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;
/// What a new file is called until it is whole.
const NEW: &str = ".authorized_keys.zarpar";

/// Whom a file is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where the lines are.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyFile<'p> {
    pub(super) path: &'p Path,
    /// Whom the file is given, when that is not ourselves.
    pub(super) owner: Option<Owner>,
    /// Whose file may be read.
    pub(super) uid: u32,
}

impl KeyFile<'_> {
    /// Makes the file hold `lines`, besides those that are not ours: without an end of the quoted
    /// command that is one of `endings`.
    pub(super) fn agree(&self, endings: &[String], lines: &[String]) -> anyhow::Result<()> {
        let folder = self.path.parent().context("expected the path of a file")?;
        let name = self
            .path
            .file_name()
            .context("expected the path of a file")?;
        let Some(folder) = self.folder(folder, !lines.is_empty())? else {
            return Ok(());
        };
        let before = self.read(&folder, Path::new(name))?;
        let after = merge(&before, endings, lines);
        if before == after {
            return Ok(());
        }
        self.replace(&folder, Path::new(name), &after)
    }

    /// The folder, made when it is `needed`; `None` when it is neither there nor needed.
    fn folder(&self, path: &Path, needed: bool) -> anyhow::Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            anyhow::bail!("expected a folder below another one");
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
            Err(Errno::NOENT) if !needed => return Ok(None),
            parent => parent.with_context(|| format!("cannot open `{}`", parent_of(path)))?,
        };
        let open = || openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty());
        match open() {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) if !needed => Ok(None),
            Err(Errno::NOENT) => {
                mkdirat(&parent, name, Mode::RWXU)?;
                let folder = open()?;
                self.give(&folder)?;
                Ok(Some(folder))
            }
            Err(error) => Err(error).context("expected a folder that is no link"),
        }
    }

    fn read(&self, folder: &OwnedFd, name: &Path) -> anyhow::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            file => file.context("expected a file that is no link")?,
        };
        let about = fstat(&file)?;
        let plain = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        anyhow::ensure!(
            plain && about.st_nlink == 1 && (about.st_uid == self.uid || about.st_uid == 0),
            "expected a plain file of the SSH user, with one name"
        );
        let mut text = Vec::new();
        File::from(file).take(LARGEST + 1).read_to_end(&mut text)?;
        anyhow::ensure!(
            text.len() as u64 <= LARGEST,
            "expected a file of at most {LARGEST} bytes"
        );
        Ok(text)
    }

    fn replace(&self, folder: &OwnedFd, name: &Path, text: &[u8]) -> anyhow::Result<()> {
        // One that a crash left; a new one is made in any case.
        match unlinkat(folder, NEW, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => return Err(error.into()),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(
            folder,
            NEW,
            flags | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        self.give(&file)?;
        let mut file = File::from(file);
        file.write_all(text)?;
        file.sync_all()?;
        renameat(folder, NEW, folder, name)?;
        rustix::fs::fsync(folder)?;
        Ok(())
    }

    fn give(&self, file: &OwnedFd) -> anyhow::Result<()> {
        if let Some(Owner { uid, gid }) = self.owner {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }
}

fn parent_of(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// The lines that are not ours, in their order and to the byte, then ours.
fn merge(before: &[u8], endings: &[String], lines: &[String]) -> Vec<u8> {
    let ours = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        line.starts_with("restrict,command=\"")
            && line.contains(" shell --key ")
            && endings.iter().any(|ending| line.contains(ending))
    };
    let mut after = Vec::new();
    for line in before.split_inclusive(|byte| *byte == b'\n') {
        if !ours(line) {
            after.extend_from_slice(line);
        }
    }
    if !lines.is_empty() && after.last().is_some_and(|byte| *byte != b'\n') {
        after.push(b'\n');
    }
    for line in lines {
        after.extend_from_slice(line.as_bytes());
        after.push(b'\n');
    }
    after
}

#[cfg(test)]
mod tests;
