//! What the control plane asks of the edge, over `run/router.sock`. Tables go whole and by
//! generation, so sending one twice changes nothing, and a control plane that died between two
//! lines can send everything again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zarpar_model::RouteTable;

use crate::{CertificateView, ClientError, LineReader, LineWriter, Secret};

/// A request to the edge. A connection may send many, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EdgeRequest {
    /// Put this table in force: durable on the edge's disk, then visible, then answered.
    Apply {
        /// The table.
        table: RouteTable,
    },
    /// Wait until none of these targets holds a request. A target the edge does not know holds
    /// none. Asked only about targets that are no longer in the table.
    WaitDrained {
        /// The targets.
        targets: Vec<SocketAddr>,
        /// The limit in milliseconds.
        timeout_ms: u64,
    },
    /// Who are you, and which table is in force?
    Status,
    /// Keep this certificate and put it in force: durable, then visible, then answered.
    CertificateAdd {
        /// The hosts of the app it is for; it must be for one of them.
        hosts: Vec<String>,
        /// The private key and the chain, as PEM.
        pem: Secret,
    },
    /// Forget a certificate that was given by hand.
    CertificateRemove {
        /// Its name in the listing, or one of the hosts it is for.
        name: String,
    },
    /// Order a certificate for an app now, whatever its back-off says.
    CertificateRenew {
        /// The app.
        app: String,
    },
    /// All certificates.
    Certificates,
    /// What was counted.
    Metrics,
    /// Give me what you listen on: I am the edge that follows you. Until [`EdgeRequest::TookOver`]
    /// comes on this connection, or the connection ends, the edge serves on and changes nothing.
    HandOver,
    /// I serve. The edge stops accepting, lets its visitors finish and ends; on this connection it
    /// goes on to take tables and to tell which targets it still holds.
    TookOver,
}

/// An answer of the edge. Fields that are not known are passed over, so that a control plane can
/// speak with an edge of a newer version, for example to replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeReply {
    /// The table of this generation, or a newer one, is in force.
    Applied {
        /// The generation in force.
        generation: u64,
    },
    /// The wait is over; who is still in `remaining` was not done within the limit.
    Drained {
        /// Targets that still hold requests.
        remaining: Vec<TargetLoad>,
    },
    /// About the edge.
    Status(EdgeStatus),
    /// With this line come the descriptors of these, in this order (`SCM_RIGHTS`, unix(7)).
    HandingOver {
        /// What they are.
        descriptors: Vec<Handed>,
    },
    /// The edge accepts no more, neither visitors nor the control plane.
    HandedOver,
    /// Certificates: all, or the one that was added or removed.
    Certificates {
        /// They, by name.
        certificates: Vec<CertificateView>,
    },
    /// What was counted.
    Metrics {
        /// In Prometheus' text format, version 0.0.4.
        text: String,
    },
    /// It was not done, and why.
    Refused {
        /// For the log.
        text: String,
    },
}

/// What an edge says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Its process id.
    pub pid: u32,
    /// The generation in force; 0 before the first table.
    pub generation: u64,
    /// Where it listens for HTTP.
    pub http: SocketAddr,
    /// Where it listens with TLS, when it does.
    pub https: Option<SocketAddr>,
    /// Names its program and its settings: two edges with the same one do the same. Empty for an
    /// edge that does not say.
    #[serde(default)]
    pub identity: String,
}

/// A descriptor that an edge hands to the one that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handed {
    /// Where visitors come in; its own address says whether with TLS.
    Visitors,
    /// Where the control plane comes in.
    Control,
    /// The lock of the data folder, held by whoever has the descriptor.
    Lock,
    /// The connection to an edge that handed over earlier and still has visitors. It takes
    /// requests as after [`EdgeRequest::TookOver`].
    Earlier,
}

/// A target and the requests it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetLoad {
    /// The target.
    pub address: SocketAddr,
    /// Requests whose answer has not ended.
    pub requests: u64,
}

/// A connection to the edge.
#[derive(Debug)]
pub struct EdgeClient {
    reader: LineReader<OwnedReadHalf>,
    /// `None` only while it is dropped.
    writer: Option<LineWriter<OwnedWriteHalf>>,
}

impl EdgeClient {
    /// Connects to the edge's socket.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens there.
    pub async fn connect(socket: &Path) -> Result<EdgeClient, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| ClientError::not_running("zarpar router", socket, error))?;
        Ok(EdgeClient::on(stream))
    }

    /// Speaks on a connection to the edge that is there already.
    pub fn on(stream: UnixStream) -> EdgeClient {
        let (reader, writer) = stream.into_split();
        EdgeClient {
            reader: LineReader::new(reader),
            writer: Some(LineWriter::new(writer)),
        }
    }

    /// The connection, for handing it to another process between two requests.
    pub fn stream(&self) -> Option<&UnixStream> {
        Some(self.writer.as_ref()?.get_ref().as_ref())
    }

    /// Tells an edge that handed over that it may stop accepting; when this returns, it did.
    ///
    /// # Errors
    /// [`ClientError`]: it did not, and serves on.
    pub async fn took_over(&mut self) -> Result<(), ClientError> {
        match self.ask(&EdgeRequest::TookOver).await? {
            EdgeReply::HandedOver => Ok(()),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// Puts a table in force and returns the generation that is.
    ///
    /// # Errors
    /// [`ClientError`], [`ClientError::Refused`] when the table contradicts itself.
    pub async fn apply(&mut self, table: RouteTable) -> Result<u64, ClientError> {
        match self.ask(&EdgeRequest::Apply { table }).await? {
            EdgeReply::Applied { generation } => Ok(generation),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// Waits until the targets hold no request, at most `limit`; returns those that still do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wait_drained(
        &mut self,
        targets: Vec<SocketAddr>,
        limit: Duration,
    ) -> Result<Vec<TargetLoad>, ClientError> {
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        match self
            .ask(&EdgeRequest::WaitDrained {
                targets,
                timeout_ms,
            })
            .await?
        {
            EdgeReply::Drained { remaining } => Ok(remaining),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// What the edge says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&mut self) -> Result<EdgeStatus, ClientError> {
        match self.ask(&EdgeRequest::Status).await? {
            EdgeReply::Status(status) => Ok(status),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// Adds, removes or lists certificates: whatever `request` says.
    ///
    /// # Errors
    /// [`ClientError`], [`ClientError::Refused`] with the reason in words.
    pub async fn certificates(
        &mut self,
        request: &EdgeRequest,
    ) -> Result<Vec<CertificateView>, ClientError> {
        match self.ask(request).await? {
            EdgeReply::Certificates { certificates } => Ok(certificates),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// What the edge counted, in Prometheus' text format.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] by an edge that does not count yet.
    pub async fn metrics(&mut self) -> Result<String, ClientError> {
        match self.ask(&EdgeRequest::Metrics).await? {
            EdgeReply::Metrics { text } => Ok(text),
            other => Err(ClientError::unexpected(&other)),
        }
    }

    async fn ask(&mut self, request: &EdgeRequest) -> Result<EdgeReply, ClientError> {
        let writer = self.writer.as_mut().ok_or(ClientError::Closed)?;
        writer.send(request).await?;
        match self.reader.next().await? {
            Some(EdgeReply::Refused { text }) => Err(ClientError::Refused { text, code: 1 }),
            Some(reply) => Ok(reply),
            None => Err(ClientError::Closed),
        }
    }
}

impl Drop for EdgeClient {
    /// The half would end the connection for every process that has a descriptor of it; only ours
    /// is to be closed.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.into_inner().forget();
        }
    }
}
