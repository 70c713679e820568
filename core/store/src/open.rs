//! Opening, creating and restoring. A state folder appears under its name only when it is whole,
//! so one that does not open, or is empty, or is behind the export, has lost something: it is
//! moved aside, never deleted, and the state is made again from the export. A crash at any point
//! of this is met by the next open, which finds the export still there.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant, SystemTime};

use zarpar_model::Timestamp;

use crate::ballast::Ballast;
use crate::database::{look_at_every_row, open_database};
use crate::folder::{parent_of, sync_folder, sync_tree, with_suffix};
use crate::lock::Lock;
use crate::rows::Rows;
use crate::{Inner, Store, StoreError, counters, export, key};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// How long to wait for a process that still holds the lock.
    pub lock_patience: Duration,
    /// The size of the ballast file, in bytes.
    pub ballast: u64,
}

impl Default for OpenOptions {
    /// 10 seconds, since a killed process takes a while to end, and 32 MiB.
    fn default() -> OpenOptions {
        OpenOptions {
            lock_patience: Duration::from_secs(10),
            ballast: 32 << 20,
        }
    }
}

/// The state was lost and restored from the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The generation of the export.
    pub generation: u64,
    /// What was wrong with the state.
    pub reason: String,
    /// Where the damaged folder is now; `None` when there was none.
    pub moved_to: Option<PathBuf>,
}

impl Store {
    /// Opens the state in `dir`, or makes it; `key_file` seals its env values.
    ///
    /// Beside `dir` are `state.export.jsonl`, `state.lock` and `ballast`.
    ///
    /// # Errors
    /// When another process holds it, when it is damaged and there is no export, when a newer
    /// zarpar wrote it, when the key is not the right one, and when a file operation fails.
    pub fn open(dir: &Path, key_file: &Path) -> Result<Store, StoreError> {
        OpenOptions::default().open(dir, key_file)
    }
}

impl OpenOptions {
    /// [`Store::open`] with these options.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(&self, dir: &Path, key_file: &Path) -> Result<Store, StoreError> {
        let deadline = Instant::now() + self.lock_patience;
        let data = parent_of(dir);
        fs::create_dir_all(data).map_err(StoreError::file("create", data))?;
        let lock = Lock::acquire(&with_suffix(dir, ".lock"), dir, deadline)?;
        let mut opening = Opening {
            dir: dir.to_owned(),
            export: with_suffix(dir, ".export.jsonl"),
            export_is_whole: true,
            ballast: Ballast::new(data.join("ballast"), self.ballast),
            deadline,
        };
        let (rows, restored) = opening.rows()?;
        let sealer = key::unlock(key_file, &rows)?;
        let generation = counters::export_generation(&rows)?;
        if !opening.export_is_whole || export::generation(&opening.export)? != Some(generation) {
            export::write(&opening.export, &rows, generation)?;
        }
        opening.ballast.make();
        Ok(Store {
            inner: Arc::new(Inner {
                rows: RwLock::new(rows),
                sealer,
                fault: OnceLock::new(),
                ballast: Mutex::new(opening.ballast),
                generations: Mutex::new(0..0),
                export: opening.export,
                restored,
                _lock: lock,
            }),
        })
    }
}

/// One opening, under the lock.
struct Opening {
    dir: PathBuf,
    export: PathBuf,
    /// Whether the export could be read as far as it was needed.
    export_is_whole: bool,
    ballast: Ballast,
    deadline: Instant,
}

impl Opening {
    fn rows(&mut self) -> Result<(Rows, Option<Restored>), StoreError> {
        let exported = self.readable(export::generation(&self.export))?;
        let damage = if is_missing_or_empty(&self.dir)? {
            if !self.export.exists() {
                let fresh = self.build(|rows| rows.write(&counters::initial()?))?;
                self.put_in_place(&fresh)?;
                return Ok((self.open_whole()?, None));
            }
            "the state folder is missing or empty".to_owned()
        } else {
            match self.attempt(exported.flatten())? {
                ControlFlow::Continue(rows) => return Ok((rows, None)),
                ControlFlow::Break(damage) => damage,
            }
        };
        if !self.export.exists() {
            return Err(self.damaged(damage));
        }
        self.restore(damage)
    }

    /// Takes a damaged export for none, as long as nothing has to be restored from it.
    fn readable<T>(&mut self, outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error @ StoreError::ExportDamaged { .. }) => {
                tracing::error!(%error, "the export is damaged and will be written again");
                self.export_is_whole = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged {
            dir: self.dir.clone(),
            export: self.export.clone(),
            reason,
        }
    }

    fn restore(&mut self, reason: String) -> Result<(Rows, Option<Restored>), StoreError> {
        let mut generation = 0;
        let export = self.export.clone();
        let fresh = self.build(|rows| {
            generation = export::restore(&export, rows)?;
            rows.write(&counters::after_restore(rows)?)
        })?;
        let moved_to = self.move_aside()?;
        self.put_in_place(&fresh)?;
        let rows = self.open_whole()?;
        tracing::error!(
            %reason,
            generation,
            moved_to = ?moved_to,
            "the state was damaged and is restored from its export; look at the disk"
        );
        let restored = Restored {
            generation,
            reason,
            moved_to,
        };
        Ok((rows, Some(restored)))
    }

    /// Opens what was made a moment ago, so damage is an error and no reason to try again.
    fn open_whole(&mut self) -> Result<Rows, StoreError> {
        match self.attempt(None)? {
            ControlFlow::Continue(rows) => Ok(rows),
            ControlFlow::Break(reason) => Err(self.damaged(reason)),
        }
    }

    /// Opens the folder and looks at every row; `Break` says what is damaged.
    fn attempt(&mut self, exported: Option<u64>) -> Result<ControlFlow<String, Rows>, StoreError> {
        let rows = match open_database(&self.dir, self.deadline, &mut self.ballast)? {
            ControlFlow::Continue(rows) => rows,
            damage => return Ok(damage),
        };
        let sound = match counters::format(&rows) {
            Ok(Some(found)) if found > counters::FORMAT => {
                return Err(StoreError::Newer {
                    path: self.dir.clone(),
                    found,
                    known: counters::FORMAT,
                });
            }
            Ok(Some(_)) => look_at_every_row(&rows),
            Ok(None) => return Ok(ControlFlow::Break("the database is empty".to_owned())),
            Err(error) => Err(error),
        };
        let generation = match sound.and_then(|()| counters::export_generation(&rows)) {
            Ok(generation) => generation,
            Err(error) => return Ok(ControlFlow::Break(error.to_string())),
        };
        match exported {
            Some(exported) if exported > generation => {
                return Ok(ControlFlow::Break(format!(
                    "the database is at generation {generation}, its export at {exported}"
                )));
            }
            Some(exported) if exported == generation => {
                let difference = self.readable(export::difference(&self.export, &rows))?;
                if let Some(lost) = difference.flatten() {
                    return Ok(ControlFlow::Break(lost));
                }
            }
            _ => {}
        }
        sync_tree(&self.dir)?;
        Ok(ControlFlow::Continue(rows))
    }

    /// Makes a whole database beside the folder.
    fn build(
        &mut self,
        fill: impl FnOnce(&Rows) -> Result<(), StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let fresh = with_suffix(&self.dir, ".new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StoreError::file("remove", &fresh)(error));
            }
            _ => {}
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&fresh)
            .map_err(StoreError::file("create", &fresh))?;
        match open_database(&fresh, self.deadline, &mut self.ballast)? {
            ControlFlow::Continue(rows) => fill(&rows)?,
            ControlFlow::Break(reason) => return Err(self.damaged(reason)),
        }
        sync_tree(&fresh)?;
        Ok(fresh)
    }

    fn put_in_place(&self, fresh: &Path) -> Result<(), StoreError> {
        // `rename` replaces an empty folder and refuses any other.
        fs::rename(fresh, &self.dir).map_err(StoreError::file("create", &self.dir))?;
        sync_folder(parent_of(&self.dir))
    }

    fn move_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        if is_missing_or_empty(&self.dir)? {
            return Ok(None);
        }
        let seconds = Timestamp::from(SystemTime::now()).0 / 1000;
        let mut aside = with_suffix(&self.dir, &format!(".damaged-{seconds}"));
        while aside.exists() {
            aside = with_suffix(&aside, "x");
        }
        fs::rename(&self.dir, &aside).map_err(StoreError::file("move aside", &self.dir))?;
        sync_folder(parent_of(&self.dir))?;
        Ok(Some(aside))
    }
}

fn is_missing_or_empty(dir: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StoreError::file("read", dir)(error)),
    }
}
