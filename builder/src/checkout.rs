//! One commit as the builder sees it: the list of its files, read from the repository's objects
//! with gix. No work tree is written; contents are streamed when the context is packed
//! (`context.rs`). What the list promises: paths are relative, without `.`, `..` or `.git`
//! parts, and there is no submodule in it.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use zarpar_model::{AppName, CommitId};

/// The files of a commit.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Where the contents are.
    pub source: Source,
    /// When it was committed, Unix seconds; every file of the context gets this time.
    pub time: u64,
    /// Every file, in the order of the tree.
    pub files: Vec<File>,
}

/// Where the contents of files are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a bare repository, by blob id.
    Repository(PathBuf),
    /// In a folder, by path.
    Folder(PathBuf),
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct File {
    /// The path, in bytes as git has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// How its content is found: the blob's id of 40 hexadecimal digits, or the path below the
    /// folder.
    pub blob: String,
}

/// What git knows about a file's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Mode 644.
    Plain,
    /// Mode 755.
    Executable,
    /// A symbolic link; the blob is its target.
    Link,
}

/// Why a commit cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The repository or an object of it.
    #[error(
        "cannot read commit `{commit}` of `{app}`\nhint: push again; if it stays, look at `zarpar doctor`"
    )]
    Read {
        /// The app.
        app: AppName,
        /// The commit.
        commit: CommitId,
        /// What gix said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A folder that cannot be read.
    #[error("cannot read the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A submodule, whose files are in another repository.
    #[error(
        "`{path}` is a git submodule, and a push does not carry the files of submodules\nhint: put the files into this repository (`git rm --cached {path}`, then `git add`), or install them as a dependency"
    )]
    Submodule {
        /// Where it is.
        path: String,
    },
    /// A name that no file may have.
    #[error(
        "the commit has a file named `{path}`, which cannot be unpacked safely\nhint: rename it and push again"
    )]
    Path {
        /// The literal.
        path: String,
    },
}

/// Largest file that planning reads whole, in bytes: a Dockerfile, `zarpar.toml`, requirements.
const PLANNING_LIMIT: usize = 1024 * 1024;

impl Checkout {
    /// Reads the tree of `commit` from the bare repository. Blocks on the disk.
    ///
    /// # Errors
    /// [`CheckoutError`].
    pub fn read(
        repository: &Path,
        app: &AppName,
        commit: &CommitId,
    ) -> Result<Checkout, CheckoutError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| CheckoutError::Read {
            app: app.clone(),
            commit: commit.clone(),
            source,
        };
        let repo = open(repository).map_err(failed)?;
        let id = gix::ObjectId::from_hex(commit.as_str().as_bytes())
            .map_err(|error| failed(error.into()))?;
        let object = repo.find_commit(id).map_err(|error| failed(error.into()))?;
        let time = object.time().map_err(|error| failed(error.into()))?;
        let root = object.tree_id().map_err(|error| failed(error.into()))?;
        let mut checkout = Checkout {
            source: Source::Repository(repository.to_owned()),
            time: u64::try_from(time.seconds).unwrap_or(0),
            files: Vec::new(),
        };
        checkout.walk(&repo, root.detach(), &mut Vec::new(), &failed)?;
        Ok(checkout)
    }

    /// The files of a folder as they are now, committed or not, for a look at what a push would
    /// do. The contents are found by path, so this list cannot be streamed as a context.
    ///
    /// # Errors
    /// [`CheckoutError::Folder`].
    pub fn folder(path: &Path) -> Result<Checkout, CheckoutError> {
        let mut checkout = Checkout {
            source: Source::Folder(path.to_owned()),
            time: 0,
            files: Vec::new(),
        };
        let failed = |source| CheckoutError::Folder {
            path: path.to_owned(),
            source,
        };
        let mut waiting = vec![PathBuf::new()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(path.join(&folder)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                let name = folder.join(entry.file_name());
                // Neither git's own files nor those of a virtual environment would be pushed.
                let skipped =
                    entry.file_name() == ".git" || path.join(&name).join("pyvenv.cfg").exists();
                if kind.is_dir() && !skipped {
                    waiting.push(name);
                } else if kind.is_file() {
                    checkout.files.push(File {
                        path: name.as_os_str().as_encoded_bytes().to_vec(),
                        kind: FileKind::Plain,
                        blob: name.to_string_lossy().into_owned(),
                    });
                }
            }
        }
        checkout.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(checkout)
    }

    fn walk(
        &mut self,
        repo: &gix::Repository,
        tree: gix::ObjectId,
        prefix: &mut Vec<u8>,
        failed: &impl Fn(Box<dyn std::error::Error + Send + Sync>) -> CheckoutError,
    ) -> Result<(), CheckoutError> {
        let tree = repo.find_tree(tree).map_err(|error| failed(error.into()))?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = entry.filename();
            let length = prefix.len();
            prefix.extend_from_slice(name);
            let shown = || prefix.as_bstr().to_str_lossy().escape_debug().to_string();
            // git's own fsck refuses these on a push; a repository may be older than the check.
            if matches!(name.as_bytes(), b"" | b"." | b"..")
                || name.eq_ignore_ascii_case(b".git")
                || name.contains(&b'/')
            {
                return Err(CheckoutError::Path { path: shown() });
            }
            let kind = match entry.mode().kind() {
                EntryKind::Tree => None,
                EntryKind::Blob => Some(FileKind::Plain),
                EntryKind::BlobExecutable => Some(FileKind::Executable),
                EntryKind::Link => Some(FileKind::Link),
                EntryKind::Commit => return Err(CheckoutError::Submodule { path: shown() }),
            };
            match kind {
                Some(kind) => self.files.push(File {
                    path: prefix.clone(),
                    kind,
                    blob: entry.object_id().to_string(),
                }),
                None => {
                    prefix.push(b'/');
                    self.walk(repo, entry.object_id(), prefix, failed)?;
                }
            }
            prefix.truncate(length);
        }
        Ok(())
    }

    /// The file at `path`.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path.as_bytes())
    }

    /// The text of a small file; `None` when the commit has none there, or it is no text of at
    /// most 1 MiB.
    pub fn text(&self, path: &str) -> Option<String> {
        let file = self.find(path).filter(|file| file.kind != FileKind::Link)?;
        let repository = match &self.source {
            Source::Repository(repository) => repository,
            Source::Folder(folder) => return std::fs::read_to_string(folder.join(&file.blob)).ok(),
        };
        let repo = open(repository).ok()?;
        let id = gix::ObjectId::from_hex(file.blob.as_bytes()).ok()?;
        let header = repo.find_header(id).ok()?;
        if header.size() > PLANNING_LIMIT as u64 {
            return None;
        }
        String::from_utf8(repo.find_blob(id).ok()?.take_data()).ok()
    }

    /// The same commit seen from a folder of it; files outside are gone.
    pub fn below(mut self, folder: &str) -> Checkout {
        let prefix = format!("{}/", folder.trim_matches('/'));
        if prefix != "/" && prefix != "./" {
            self.files
                .retain(|file| file.path.starts_with(prefix.as_bytes()));
            for file in &mut self.files {
                file.path.drain(..prefix.len());
            }
        }
        self
    }
}

pub(crate) fn open(
    repository: &Path,
) -> Result<gix::Repository, Box<dyn std::error::Error + Send + Sync>> {
    // Isolated: neither the environment nor the user's git configuration has a say in a build.
    Ok(gix::open_opts(repository, gix::open::Options::isolated())?)
}
