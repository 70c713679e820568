//! The thread that writes the access log. It wakes at most some twenty times a second, however
//! many requests there are, and writes what has gathered since. A file that cannot be written
//! costs its lines, which are counted, and is opened again with the next ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;
use std::time::Duration;

use super::{AccessLog, Log};
use crate::metrics::Metrics;

/// Lines that may wait.
const QUEUE: usize = 4096;
/// How long lines gather; with the queue it allows 80,000 lines a second.
const GATHER: Duration = Duration::from_millis(50);
/// Written at once, in bytes.
const BATCH: usize = 64 * 1024;
/// The size of a file in bytes, and the older files kept.
const MAX_FILE: u64 = 10 * 1024 * 1024;
const OLDER: usize = 3;
/// How long the last lines may take at the end.
const END: Duration = Duration::from_secs(2);
/// The writer's stack: it formats nothing.
const STACK: usize = 128 * 1024;

/// The thread; dropping this waits for the lines that are queued, once no worker has a [`Log`].
pub(crate) struct Writer {
    log: Option<Log>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refused the thread. A file that cannot be opened is no error.
    pub(crate) fn start(settings: &AccessLog, metrics: Arc<Metrics>) -> io::Result<Writer> {
        let (lines, queue) = sync_channel(QUEUE);
        let (end, ended) = channel::<()>();
        let files = Files::new(settings.file.clone(), MAX_FILE);
        let log = Log {
            lines,
            format: settings.format,
            with_static: settings.with_static,
            metrics: metrics.clone(),
        };
        thread::Builder::new()
            .name("access-log".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let _end = end;
                write_all(&queue, files, &metrics);
            })?;
        Ok(Writer {
            log: Some(log),
            ended,
        })
    }

    pub(crate) fn log(&self) -> Option<Log> {
        self.log.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log = None;
        // Closed or out of time: there is nothing more to do about either.
        let _ = self.ended.recv_timeout(END);
    }
}

fn write_all(queue: &Receiver<String>, mut files: Files, metrics: &Metrics) {
    let mut batch = Batch::default();
    while let Ok(first) = queue.recv() {
        batch.push(&first);
        for line in queue.try_iter() {
            batch.push(&line);
            if batch.text.len() >= BATCH {
                batch.write(&mut files, metrics);
            }
        }
        batch.write(&mut files, metrics);
        gather();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "lines gather meanwhile, so that the thread need not wake for each"
)]
fn gather() {
    thread::sleep(GATHER);
}

#[derive(Default)]
struct Batch {
    text: String,
    lines: u64,
    failing: bool,
}

impl Batch {
    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.lines += 1;
    }

    fn write(&mut self, files: &mut Files, metrics: &Metrics) {
        match files.write(self.text.as_bytes()) {
            Ok(()) => self.failing = false,
            Err(error) => {
                metrics.lines_dropped(self.lines);
                // Said once, not twenty times a second.
                if !self.failing {
                    tracing::error!(%error, path = %files.path.display(), "the access log cannot be written");
                }
                self.failing = true;
            }
        }
        self.text.clear();
        self.lines = 0;
    }
}

/// The file that is written and those before it.
struct Files {
    path: PathBuf,
    max: u64,
    open: Option<(File, u64)>,
}

impl Files {
    fn new(path: PathBuf, max: u64) -> Files {
        Files {
            path,
            max,
            open: None,
        }
    }

    /// Writes whole lines into one file.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let (file, size) = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        let full = size > 0 && size + lines.len() as u64 > self.max;
        let (mut file, size) = if full {
            // An edge that follows or precedes us may have done it; once is enough.
            if is_at(&file, &self.path) {
                rotate(&self.path)?;
            }
            drop(file);
            open(&self.path)?
        } else {
            (file, size)
        };
        // After an error the file is opened again, and its size looked at.
        file.write_all(lines)?;
        self.open = Some((file, size + lines.len() as u64));
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // It tells who visited what, so it is for our own user.
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Whether the open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => same(&open, &named),
        _ => true,
    }
}

/// Moves every file one number up; the oldest one goes.
fn rotate(path: &Path) -> io::Result<()> {
    for number in (1..OLDER).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_rotated_between_lines_and_three_older_ones_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/access.log");
        let mut files = Files::new(path.clone(), 10);
        for number in 0..12 {
            files.write(format!("l{number:02}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(path.with_file_name(name));
        assert_eq!(read("access.log").unwrap(), "l10\nl11\n");
        assert_eq!(read("access.log.1").unwrap(), "l08\nl09\n");
        assert_eq!(read("access.log.2").unwrap(), "l06\nl07\n");
        assert_eq!(read("access.log.3").unwrap(), "l04\nl05\n");
        assert!(read("access.log.4").is_err());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Another edge goes on where this one was.
        let mut files = Files::new(path.clone(), 10);
        files.write(b"new\n").unwrap();
        assert_eq!(read("access.log").unwrap(), "new\n");
        assert_eq!(read("access.log.1").unwrap(), "l10\nl11\n");
    }

    #[test]
    fn a_line_longer_than_a_file_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut files = Files::new(path.clone(), 3);
        files.write(b"long\n").unwrap();
        files.write(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
        assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "long\n");
    }
}
