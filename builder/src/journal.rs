//! What deployments told, on disk: one file a deployment, one event a line, under
//! `<data>/logs/deployments/`. Whoever follows reads the file from its start and then waits for
//! more, so a pusher that came back sees everything. The last event is always `Finished`; after
//! a crash recovery writes it. Output is bounded, the events that matter are not.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use zarpar_model::{DeploymentId, Event, EventKind};

/// Output kept of one deployment, in bytes. A build that prints more is shown to its end, since
/// the last lines say why it failed, but its middle is not kept.
const OUTPUT_LIMIT: u64 = 4 * 1024 * 1024;

/// The logs of all deployments; clones share them.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
    open: Arc<Mutex<HashMap<DeploymentId, Open>>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    output: u64,
    grown: watch::Sender<u64>,
}

impl Journal {
    /// Keeps its files in `folder`, which is made.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: PathBuf) -> io::Result<Journal> {
        std::fs::create_dir_all(&folder)?;
        Ok(Journal {
            folder,
            open: Arc::default(),
        })
    }

    /// Adds an event. A log that cannot be written does not stop a deployment: it is reported
    /// to the server's own log, and followers simply see less.
    pub fn tell(&self, id: DeploymentId, kind: EventKind) {
        if let Err(error) = self.write(id, kind) {
            tracing::error!(deployment = %id, %error, "cannot write the deployment's log");
        }
    }

    fn write(&self, id: DeploymentId, kind: EventKind) -> io::Result<()> {
        let last = matches!(kind, EventKind::Finished { .. });
        let is_output = matches!(kind, EventKind::Output { .. });
        let mut line = serde_json::to_vec(&Event {
            at: SystemTime::now().into(),
            kind,
        })?;
        line.push(b'\n');
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match all.entry(id) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.path(id))?;
                entry.insert(Open {
                    output: 0,
                    file,
                    grown: watch::Sender::new(0),
                })
            }
        };
        if is_output {
            open.output += line.len() as u64;
            if open.output > OUTPUT_LIMIT {
                return Ok(());
            }
        }
        open.file.write_all(&line)?;
        open.grown.send_modify(|version| *version += 1);
        if last {
            // Followers hold receivers; dropping the sender tells them that no more comes.
            all.remove(&id);
        }
        Ok(())
    }

    /// Follows a deployment from its first event. The reader ends after `Finished`.
    ///
    /// # Errors
    /// When there is no log of it.
    pub async fn follow(&self, id: DeploymentId) -> io::Result<Follower> {
        // Subscribe before reading, or an event between the two would be waited for in vain.
        let grown = {
            let all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&id).map(|open| open.grown.subscribe())
        };
        let file = tokio::fs::File::open(self.path(id)).await?;
        Ok(Follower {
            lines: BufReader::new(file),
            line: Vec::new(),
            grown,
            done: false,
        })
    }

    /// Removes the logs of deployments that are not known any more.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not removed.
    pub fn prune<E: From<io::Error>>(
        &self,
        known: impl Fn(DeploymentId) -> Result<bool, E>,
    ) -> Result<(), E> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let id = path
                .file_stem()
                .and_then(|name| name.to_str()?.parse().ok());
            if let Some(id) = id
                && !known(id)?
            {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: DeploymentId) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }
}

/// A reader of one deployment's events.
#[derive(Debug)]
pub struct Follower {
    lines: BufReader<tokio::fs::File>,
    line: Vec<u8>,
    grown: Option<watch::Receiver<u64>>,
    done: bool,
}

impl Follower {
    /// The next event; `None` after the last one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        let mut ended = false;
        while !self.done {
            if let Some(grown) = &mut self.grown {
                // Marked as seen before the read: what comes after it wakes the wait below.
                grown.borrow_and_update();
            }
            self.lines.read_until(b'\n', &mut self.line).await?;
            if self.line.last() == Some(&b'\n') {
                // A line that is no event was cut by a crash and continued after it.
                let event = serde_json::from_slice::<Event>(&self.line).ok();
                self.line.clear();
                if let Some(event) = event {
                    self.done = matches!(event.kind, EventKind::Finished { .. });
                    return Ok(Some(event));
                }
            } else if ended {
                self.done = true;
            } else {
                // The writer is gone, or there never was one: one more read sees what it wrote
                // last.
                ended = match &mut self.grown {
                    Some(grown) => grown.changed().await.is_err(),
                    None => true,
                };
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use zarpar_model::Outcome;

    #[tokio::test(flavor = "multi_thread")]
    async fn followers_see_every_event_from_the_first_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("logs")).unwrap();
        let id = DeploymentId(1);
        journal.tell(id, EventKind::Accepted { deployment: id });
        let mut early = journal.follow(id).await.unwrap();
        let writer = journal.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for number in 0..1000 {
                writer.tell(
                    id,
                    EventKind::Output {
                        text: number.to_string(),
                    },
                );
            }
            writer.tell(
                id,
                EventKind::Finished {
                    outcome: Outcome::Live,
                    text: "done".into(),
                },
            );
        });
        let mut count = 0;
        while early.next().await.unwrap().is_some() {
            count += 1;
        }
        writing.await.unwrap();
        assert_eq!(count, 1002);
        let mut late = journal.follow(id).await.unwrap();
        let mut last = None;
        while let Some(event) = late.next().await.unwrap() {
            last = Some(event.kind);
        }
        assert!(matches!(last, Some(EventKind::Finished { .. })));
        assert!(journal.follow(DeploymentId(9)).await.is_err());
        journal
            .prune(|known| Ok::<bool, io::Error>(known != id))
            .unwrap();
        assert!(
            journal.follow(id).await.is_err(),
            "a log of an unknown deployment is kept"
        );
    }
}
