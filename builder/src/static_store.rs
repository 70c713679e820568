//! Static files of an app, by content: `<root>/blobs/<hh>/<sha256>` and `<root>/sets/<id>`, the
//! index of a set. A blob is written under another name, then renamed; all new ones are synced
//! at once before the index is written, so what an index names is there and whole. A crash
//! leaves at most blobs that no index names, some of them cut short; those are told by their
//! size and written anew, and [`StaticStore::prune`] removes what is not named. Beside a blob are
//! its compressed variants and what belongs to them (`precompress/variants.rs`), which go with it.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tar::{Archive, Builder, EntryType, Header};
use tokio_util::io::{ReaderStream, StreamReader};
use zarpar_model::{StaticEntry, StaticIndex, StaticIndexError};

/// Files up to this size are hashed before they are written, so that one that is already there
/// costs no write.
const SMALL: u64 = 256 * 1024;

/// The static files of one app.
#[derive(Debug, Clone)]
pub struct StaticStore {
    root: PathBuf,
}

/// Why static files cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// The disk or the stream.
    #[error("static files cannot be kept in `{}`\nhint: is the disk full? `df -h`", root.display())]
    Io {
        /// The app's folder.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or index that cannot be used.
    #[error(transparent)]
    Index(#[from] StaticIndexError),
}

impl StaticStore {
    /// Keeps files in `root`.
    pub fn new(root: PathBuf) -> StaticStore {
        StaticStore { root }
    }

    /// The folder, for the edge.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes a folder in as the engine's archive stream gives it (its own name is the first
    /// part of each path), and returns the id of the set; `None` when it holds no file. A file
    /// that is the same as in the set `before` keeps the time it has there: every collection
    /// writes all files anew, and `Last-Modified` is to say when a file changed. So a set in
    /// which nothing changed has the id of `before`.
    ///
    /// # Errors
    /// [`StaticError`].
    pub async fn collect(
        &self,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
        before: Option<&str>,
    ) -> Result<Option<String>, StaticError> {
        let mut index = self.read_archive(archive).await?;
        if index.is_empty() {
            return Ok(None);
        }
        // A set that cannot be read has no times to keep.
        if let Some(before) = before.and_then(|set| self.index(set).ok()) {
            index.keep_times_of(&before);
        }
        let id = index.set_id();
        if before == Some(id.as_str()) {
            return Ok(Some(id)); // durable since the release that brought it
        }
        let text = index.to_text();
        let sets = self.root.join("sets");
        let path = sets.join(&id);
        let write = move || -> io::Result<()> {
            fs::create_dir_all(&sets)?;
            let folder = fs::File::open(&sets)?;
            // One sync of the file system instead of one for each of some hundred small files:
            // 20 ms against seconds on a slow disk.
            rustix::fs::syncfs(&folder)?;
            if !is_there(&path, text.len() as u64) {
                write(&path, text.as_bytes())?;
                rustix::fs::syncfs(&folder)?;
            }
            Ok(())
        };
        tokio::task::block_in_place(write).map_err(|source| self.failed(source))?;
        Ok(Some(id))
    }

    async fn read_archive(
        &self,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
    ) -> Result<StaticIndex, StaticError> {
        let failed = |source| self.failed(source);
        let mut index = StaticIndex::default();
        let mut archive = Archive::new(StreamReader::new(archive));
        let mut entries = archive.entries().map_err(failed)?;
        while let Some(entry) = entries.next().await {
            let mut entry = entry.map_err(failed)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map_err(failed)?.to_string_lossy().into_owned();
            // `staticfiles/css/site.css` → `css/site.css`
            let Some((_, path)) = path.trim_start_matches("./").split_once('/') else {
                continue;
            };
            let path = path.to_owned();
            let size = entry.effective_size();
            let mtime = entry.header().mtime().map_err(failed)?;
            let sha256 = self.keep(&mut entry, size).await.map_err(failed)?;
            index.insert(
                &path,
                StaticEntry {
                    sha256,
                    size,
                    mtime,
                    immutable: false,
                },
            )?;
        }
        index.mark_hashed();
        Ok(index)
    }

    async fn keep(
        &self,
        content: &mut (impl AsyncRead + Unpin),
        size: u64,
    ) -> io::Result<[u8; 32]> {
        if size <= SMALL {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            content.read_to_end(&mut bytes).await?;
            let hash: [u8; 32] = Sha256::digest(&bytes).into();
            let path = self.blob(&hash);
            if !is_there(&path, size) {
                tokio::task::block_in_place(|| {
                    fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                    write(&path, &bytes)
                })?;
            }
            return Ok(hash);
        }
        fs::create_dir_all(&self.root)?;
        let tmp = self.root.join(format!("large-{}.tmp", std::process::id()));
        let mut file = tokio::fs::File::create(&tmp).await?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = content.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            file.write_all(&piece[..count]).await?;
        }
        file.flush().await?;
        let hash: [u8; 32] = hasher.finalize().into();
        let path = self.blob(&hash);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        fs::rename(&tmp, &path)?;
        Ok(hash)
    }

    /// The set as an archive whose paths start with `prefix`, owned by `uid` and `gid`: what a
    /// container needs to find the files (and Django its manifest) in `STATIC_ROOT`.
    ///
    /// # Errors
    /// [`StaticError`] when the index cannot be read; the stream carries later errors.
    pub fn archive(
        &self,
        set: &str,
        prefix: String,
        uid: u32,
        gid: u32,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, StaticError> {
        let index = self.index(set)?;
        let store = self.clone();
        let (writer, reader) = tokio::io::duplex(64 * 1024);
        let mut packing = tokio::task::JoinSet::new();
        packing.spawn(async move { store.pack(&index, &prefix, uid, gid, writer).await });
        Ok(
            ReaderStream::new(reader).chain(futures_util::stream::once(async move {
                match packing.join_next().await {
                    Some(Ok(Ok(()))) | None => Ok(Bytes::new()),
                    Some(Ok(Err(error))) => Err(error),
                    Some(Err(error)) => Err(io::Error::other(error)),
                }
            })),
        )
    }

    async fn pack(
        &self,
        index: &StaticIndex,
        prefix: &str,
        uid: u32,
        gid: u32,
        writer: impl AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<()> {
        let mut tar = Builder::new_non_terminated(writer);
        let header = |kind: EntryType, mode: u32, size: u64, mtime: u64| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header.set_mtime(mtime);
            header.set_uid(uid.into());
            header.set_gid(gid.into());
            header
        };
        tar.append_data(
            &mut header(EntryType::Directory, 0o755, 0, 0),
            format!("{prefix}/"),
            tokio::io::empty(),
        )
        .await?;
        for (path, entry) in index.iter() {
            let file = tokio::fs::File::open(self.blob(&entry.sha256)).await?;
            let mut header = header(EntryType::Regular, 0o644, entry.size, entry.mtime);
            tar.append_data(&mut header, format!("{prefix}/{path}"), file)
                .await?;
        }
        tar.finish().await?;
        tar.into_inner().await?.shutdown().await
    }

    /// Whether a set is there.
    pub(crate) fn has(&self, set: &str) -> bool {
        self.root.join("sets").join(set).exists()
    }

    pub(crate) fn index(&self, set: &str) -> Result<StaticIndex, StaticError> {
        let text = fs::read_to_string(self.root.join("sets").join(set))
            .map_err(|source| self.failed(source))?;
        Ok(StaticIndex::from_text(&text)?)
    }

    /// Removes every set that is not in `kept`, and every blob that no kept set names.
    ///
    /// # Errors
    /// [`StaticError`]; nothing a kept set names is ever removed, because an index that cannot
    /// be read stops the work.
    pub fn prune(&self, kept: &HashSet<String>) -> Result<(), StaticError> {
        let failed = |source| self.failed(source);
        let mut named: HashSet<[u8; 32]> = HashSet::new();
        for set in kept {
            named.extend(self.index(set)?.iter().map(|(_, entry)| entry.sha256));
        }
        for set in list(&self.root.join("sets")).map_err(failed)? {
            if !set
                .file_name()
                .is_some_and(|name| name.to_str().is_some_and(|name| kept.contains(name)))
            {
                fs::remove_file(&set).map_err(failed)?;
            }
        }
        let names: HashSet<PathBuf> = named.iter().map(|hash| self.blob(hash)).collect();
        for folder in list(&self.root.join("blobs")).map_err(failed)? {
            for file in list(&folder).map_err(failed)? {
                if !belongs(&file, &names) {
                    // A compressor may give its work another name meanwhile.
                    fs::remove_file(&file)
                        .or_else(absent_is_fine)
                        .map_err(failed)?;
                }
            }
        }
        if kept.is_empty() {
            self.remove_all().map_err(failed)?;
        }
        Ok(())
    }

    /// A compressor looks before each file whether its set is still there, so it can put
    /// something in the way a few times at most.
    fn remove_all(&self) -> io::Result<()> {
        let mut attempts = 0..8;
        loop {
            match fs::remove_dir_all(&self.root) {
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty
                        && attempts.next().is_some() => {}
                result => return result.or_else(absent_is_fine),
            }
        }
    }

    pub(crate) fn blob(&self, hash: &[u8; 32]) -> PathBuf {
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.root.join("blobs").join(&name[..2]).join(name)
    }

    pub(crate) fn failed(&self, source: io::Error) -> StaticError {
        StaticError::Io {
            root: self.root.clone(),
            source,
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    fs::File::create(&tmp)?.write_all(bytes)?;
    fs::rename(&tmp, path)
}

/// Whether a file of this name is whole: its name says its content, so its size is enough.
fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == size)
}

/// Whether a file is one of these blobs, or stands beside one: `<sha256>.br`, `<sha256>.none`,
/// and `<sha256>.br-tmp`, which may be in the making. `<sha256>.tmp` is a blob's own, left by a
/// crash: nobody collects while this is asked.
fn belongs(file: &Path, blobs: &HashSet<PathBuf>) -> bool {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    match name.split_once('.') {
        Some((_, "tmp")) => false,
        Some((digest, _)) => blobs.contains(&file.with_file_name(digest)),
        None => blobs.contains(file),
    }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) => absent_is_fine(error).map(|()| Vec::new()),
    }
}

pub(crate) fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// The engine's archive stream with its errors as those of a reader.
pub(crate) fn as_io<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    stream: impl Stream<Item = Result<Bytes, E>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream.map_err(io::Error::other)
}
