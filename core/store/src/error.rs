//! What can go wrong with the store, in words for the person who runs the server. A variant
//! carries its context; the cause is its source and never repeated in the text.

use std::io;
use std::path::{Path, PathBuf};

use zarpar_model::{AppName, EnvKey, PhaseError, ReleaseError, ReleaseNumber};

/// An operation on the store that did not happen, or (after a failed write) may not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record that was asked for is not there.
    #[error("no {kind} is named `{name}`\nhint: {hint}", hint = list_hint(kind))]
    NoSuch {
        /// `app`, `deployment`, `release` or `token`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A record of this name is there already.
    #[error("the {kind} `{name}` exists already\nhint: choose another name, or look at {hint}", hint = list_hint(kind))]
    Exists {
        /// `app` or `token`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The same public key under another name: which of the two pushes could not be told.
    #[error(
        "this key is here already, as `{name}`\nhint: `zarpar keys remove {name}` first, to give it another name or role"
    )]
    KeyKnown {
        /// The name it has.
        name: AppName,
    },
    /// A host name belongs to one app at most.
    #[error(
        "the domain `{domain}` belongs to the app `{app}`\nhint: `zarpar domains remove {app} {domain}` frees it"
    )]
    DomainTaken {
        /// The host name.
        domain: String,
        /// The app that has it.
        app: AppName,
    },
    /// More env than a process can be started with.
    #[error(
        "the env of `{app}` would be {bytes} bytes, at most {limit} are kept\nhint: put large values into a file of the image or a volume, and unset one with `zarpar env unset {app} NAME`"
    )]
    EnvTooLarge {
        /// The app.
        app: AppName,
        /// Names and values together, in bytes.
        bytes: usize,
        /// The most there may be, in bytes.
        limit: usize,
    },
    /// A value that no process can be given.
    #[error(
        "the value of `{key}` has a NUL byte, which no environment can hold\nhint: encode it, for example with `base64`"
    )]
    EnvValue {
        /// The variable.
        key: EnvKey,
    },
    /// The release that answers requests cannot be removed.
    #[error(
        "the release `{number}` of `{app}` is active\nhint: `zarpar rollback {app}` makes another one active first"
    )]
    ReleaseActive {
        /// The app.
        app: AppName,
        /// The release.
        number: ReleaseNumber,
    },
    /// A deployment cannot go there from where it is.
    #[error("a deployment cannot make this step")]
    Phase(#[from] PhaseError),
    /// A release cannot go there from where it is.
    #[error("a release cannot make this step")]
    Release(#[from] ReleaseError),
    /// A change that would break, or a record that breaks, what the store promises. It is a
    /// fault of zarpar and not of its user.
    #[error("the state would not hold together: {0}\nhint: `zarpar doctor` shows the whole state")]
    Invariant(String),
    /// Another process has the store open.
    #[error(
        "another `zarpar serve`{holder} holds `{}`\nhint: stop it (`systemctl stop zarpar`), or name another folder with `--data DIR`",
        dir.display(), holder = holder_words(*pid)
    )]
    Locked {
        /// The state folder.
        dir: PathBuf,
        /// The process, when it could be read.
        pid: Option<u32>,
    },
    /// The state cannot be read and there is no export to restore it from.
    #[error(
        "the state in `{}` is damaged ({reason}) and `{}` is not there to restore it from\nhint: put a copy of one of the two back, or move `{}` away to start with nothing",
        dir.display(), export.display(), dir.display()
    )]
    Damaged {
        /// The state folder.
        dir: PathBuf,
        /// Where the export should be.
        export: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The export, which is needed now, cannot be read either.
    #[error(
        "the export `{}` cannot be read: {reason}\nhint: put a copy of it back and start again; the damaged state was not touched",
        path.display()
    )]
    ExportDamaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A later zarpar wrote this state.
    #[error(
        "`{}` was written by a newer zarpar (format {found}, this one knows {known})\nhint: start the newer `zarpar` again",
        path.display()
    )]
    Newer {
        /// The folder or file.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest format known.
        known: u64,
    },
    /// The key is gone, what it sealed is not.
    #[error(
        "the key file `{}` is missing, and the store holds values sealed with it\nhint: restore the key file from your backup; without it no env value can be read again",
        path.display()
    )]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// Others could read the key.
    #[error(
        "the key file `{}` must be readable by its owner alone, found mode {mode:04o}\nhint: `chmod 600 {}`",
        path.display(), path.display()
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no key.
    #[error(
        "the key file `{}` must have 32 bytes, found {found}\nhint: restore the key file from your backup",
        path.display()
    )]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        found: u64,
    },
    /// A key, but not the one the values were sealed with.
    #[error(
        "the key file `{}` is not the one that the stored values were sealed with\nhint: restore the key file from your backup",
        path.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// A sealed value does not open: it was changed or moved to another row.
    #[error(
        "a sealed value of `{app}` ({what}) does not open\nhint: restore the state folder and the key file from the same backup"
    )]
    Unsealable {
        /// The app.
        app: String,
        /// `env`, `secrets` or the release.
        what: String,
    },
    /// The disk is nearly full; running apps are not touched.
    #[error(
        "the disk of `{}` has no room for changes, running apps go on\nhint: free 64 MB there (`docker image prune`, old logs), then try again",
        path.display()
    )]
    DiskFull {
        /// The data folder.
        path: PathBuf,
    },
    /// An earlier write failed, so nothing more is written.
    #[error(
        "the store takes no more changes since a write failed ({reason}); running apps go on\nhint: look at the disk (`df`, `dmesg`), then `systemctl restart zarpar`"
    )]
    Poisoned {
        /// What failed first.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: `create`, `read`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error("cannot {action} the state")]
    Database {
        /// What was tried: `open`, `read` or `write`.
        action: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row is not what it should be.
    #[error("the row `{key}` of `{table}` cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The system gave no random bytes.
    #[error("cannot get random bytes from the system")]
    Random(#[source] io::Error),
}

impl StoreError {
    pub(crate) fn no_such(kind: &'static str, name: impl ToString) -> StoreError {
        StoreError::NoSuch {
            kind,
            name: name.to_string(),
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File {
            action,
            path,
            source,
        }
    }

    /// Whether a full disk is behind it.
    pub(crate) fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let io = match error.downcast_ref::<sled::Error>() {
                Some(sled::Error::Io(io)) => Some(io),
                _ => error.downcast_ref::<io::Error>(),
            };
            if io.is_some_and(|io| io.kind() == io::ErrorKind::StorageFull) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

fn list_hint(kind: &str) -> &'static str {
    match kind {
        "app" => "`zarpar apps list`",
        "token" => "`zarpar tokens list`",
        "key" => "`zarpar keys list`",
        "release" => "`zarpar releases APP`",
        _ => "`zarpar deployments APP`",
    }
}

fn holder_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})"))
        .unwrap_or_default()
}
