//! The edges before this one, while they still have visitors. They answer on connections that were
//! open, so they are told each table, and they hold targets, so they are asked before one counts
//! as drained. When this edge hands over, the next one gets these connections too: an edge ends
//! with its own last visitor, whoever came before it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use zarpar_control::{ClientError, EdgeClient, TargetLoad};
use zarpar_model::RouteTable;

/// What an edge that only has its last visitors may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The connections to them, the last one first. An edge whose connection ends is gone.
#[derive(Debug)]
pub(crate) struct Predecessors {
    edges: Mutex<Vec<EdgeClient>>,
}

impl Predecessors {
    /// Called inside of a runtime.
    pub(crate) fn new(connections: Vec<UnixStream>) -> io::Result<Predecessors> {
        let mut edges = Vec::new();
        for connection in connections {
            connection.set_nonblocking(true)?;
            let stream = tokio::net::UnixStream::from_std(connection)?;
            edges.push(EdgeClient::on(stream));
        }
        Ok(Predecessors {
            edges: Mutex::new(edges),
        })
    }

    /// Tells the last one that we accept; when this returns, it does no more.
    pub(crate) async fn took_over(&self) -> Result<(), ClientError> {
        match self.edges.lock().await.first_mut() {
            Some(last) => last.took_over().await,
            None => Ok(()),
        }
    }

    /// Gives them a table that is in force here. One that does not take it is left to end.
    pub(crate) async fn apply(&self, table: &RouteTable) {
        let mut edges = self.edges.lock().await;
        for mut edge in std::mem::take(&mut *edges) {
            match timeout(ANSWER, edge.apply(table.clone())).await {
                Ok(Ok(_)) => edges.push(edge),
                Ok(Err(error @ ClientError::Refused { .. })) => {
                    tracing::error!(%error, "an edge that handed over does not take the table");
                    edges.push(edge);
                }
                // It ended with its last visitor.
                Ok(Err(_)) => {}
                Err(_) => tracing::error!("an edge that handed over does not answer"),
            }
        }
    }

    /// The requests they hold at these targets.
    pub(crate) async fn loads(&self, targets: &[SocketAddr]) -> Vec<TargetLoad> {
        let mut edges = self.edges.lock().await;
        let mut loads = Vec::new();
        for mut edge in std::mem::take(&mut *edges) {
            let asked = edge.wait_drained(targets.to_vec(), Duration::ZERO);
            if let Ok(Ok(there)) = timeout(ANSWER, asked).await {
                loads.extend(there);
                edges.push(edge);
            }
        }
        loads
    }

    /// The connections between two requests, for handing them on.
    pub(crate) async fn connections(&self) -> MutexGuard<'_, Vec<EdgeClient>> {
        // Those that are gone are forgotten first.
        self.loads(&[]).await;
        self.edges.lock().await
    }
}
