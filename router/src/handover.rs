//! Handing over to the edge that follows: it gets copies of the listening sockets, of the control
//! socket and of the data folder's lock, starts to serve, says so, and only then do we stop
//! accepting.
//!
//! Kept: those descriptors, and a lock on changes. What can never happen: an instant in which
//! nobody listens, or a table that was promised to the control plane and is unknown to the edge
//! that follows (nothing is changed between the two lines). If the other edge dies or is too slow
//! in between, its copies die with it and we serve on as before.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use zarpar_control::{EdgeClient, EdgeReply, EdgeRequest, Handed, LineReader, LineWriter};

use crate::departure::Departure;
use crate::descriptors;
use crate::edge::Listeners;
use crate::predecessors::Predecessors;

/// What the edge that follows may take from the descriptors to its first accept: it reads a table
/// and starts threads, and meanwhile no table can be applied.
const TAKING: Duration = Duration::from_secs(10);

/// What there is to hand over, and the state of it.
#[derive(Debug)]
pub(crate) struct HandOver {
    pub(crate) departure: Arc<Departure>,
    held: Mutex<Held>,
    /// Whoever changes something holds it; so does a handover under way.
    changes: tokio::sync::Mutex<()>,
}

/// Copies of what the edge runs on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    visitors: Vec<TcpListener>,
    control: Option<UnixListener>,
    lock: Option<File>,
}

impl HandOver {
    pub(crate) fn new(departure: Arc<Departure>, held: Held) -> HandOver {
        HandOver {
            departure,
            held: Mutex::new(held),
            changes: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the right to change something; `None` when another edge has it for good.
    pub(crate) async fn changing(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let guard = self.changes.lock().await;
        (!self.departure.is_handed_over()).then_some(guard)
    }

    /// Lets go of the listening sockets, so that visitors are refused rather than kept waiting by
    /// an edge that is about to end. An edge that starts meanwhile still gets lock and control
    /// socket.
    pub(crate) fn stop_listening(&self) {
        self.held().visitors.clear();
    }

    /// Answers a request to hand over. Returns whether the edge behind this connection took over;
    /// if not, the connection is to be closed.
    pub(crate) async fn to(
        &self,
        reader: &mut LineReader<OwnedReadHalf>,
        writer: &mut LineWriter<OwnedWriteHalf>,
        predecessors: &Predecessors,
    ) -> bool {
        let Some(_nothing_changes) = self.changing().await else {
            return false;
        };
        let mut earlier = predecessors.connections().await;
        if let Err(error) = self.offer(writer, &earlier).await {
            tracing::warn!(%error, "cannot hand over");
            return false;
        }
        match timeout(TAKING, reader.next::<EdgeRequest>()).await {
            Ok(Ok(Some(EdgeRequest::TookOver))) => {}
            _ => {
                tracing::warn!("the edge that was to follow did not start; this one serves on");
                return false;
            }
        }
        tracing::info!("another edge accepts from now on; this one ends with its last visitor");
        self.departure.hand_over();
        *self.held() = Held::default();
        earlier.clear();
        // If it does not hear this any more, it is dead, and whoever looks after edges starts one.
        writer.send(&EdgeReply::HandedOver).await.is_ok()
    }

    async fn offer(
        &self,
        writer: &mut LineWriter<OwnedWriteHalf>,
        earlier: &[EdgeClient],
    ) -> std::io::Result<()> {
        // Copies, because the originals stand behind a lock that must not be held while waiting.
        let copies = self.held().copies()?;
        let earlier = earlier
            .iter()
            .filter_map(|edge| Some((Handed::Earlier, edge.stream()?.as_fd())));
        let all = copies.list().into_iter().chain(earlier);
        let (kinds, borrowed): (Vec<Handed>, Vec<BorrowedFd<'_>>) =
            all.take(descriptors::MOST).unzip();
        let mut line = serde_json::to_vec(&EdgeReply::HandingOver { descriptors: kinds })?;
        line.push(b'\n');
        let half = writer.get_mut();
        let stream: &UnixStream = (*half).as_ref();
        let sent = descriptors::send(stream, &line, &borrowed).await?;
        half.write_all(&line[sent..]).await
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The listeners themselves, which workers have copies of, and copies of the rest.
    pub(crate) fn new(
        listeners: Listeners,
        control: &UnixListener,
        lock: Option<&File>,
    ) -> std::io::Result<Held> {
        Ok(Held {
            visitors: std::iter::once(listeners.http)
                .chain(listeners.https)
                .collect(),
            control: Some(control.try_clone()?),
            lock: lock.map(File::try_clone).transpose()?,
        })
    }

    fn copies(&self) -> std::io::Result<Held> {
        Ok(Held {
            visitors: self
                .visitors
                .iter()
                .map(TcpListener::try_clone)
                .collect::<Result<_, _>>()?,
            control: self
                .control
                .as_ref()
                .map(UnixListener::try_clone)
                .transpose()?,
            lock: self.lock.as_ref().map(File::try_clone).transpose()?,
        })
    }

    fn list(&self) -> Vec<(Handed, BorrowedFd<'_>)> {
        let visitors = self
            .visitors
            .iter()
            .map(|one| (Handed::Visitors, one.as_fd()));
        let control = self
            .control
            .iter()
            .map(|one| (Handed::Control, one.as_fd()));
        let lock = self.lock.iter().map(|one| (Handed::Lock, one.as_fd()));
        visitors.chain(control).chain(lock).collect()
    }
}
