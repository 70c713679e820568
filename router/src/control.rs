//! The edge's side of the control socket: tables in, drains out. Only the edge's own user and
//! root are heard. A request that fails is answered with why; a connection that breaks costs
//! nothing, because every request can be sent again.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zarpar_control::{CertificateView, EdgeReply, EdgeRequest, LineError, LineReader, LineWriter};

use crate::certificates::{Certificates, InstallError, Source};
use crate::live::Live;
use crate::ordering::Ordering;

const NO_TLS: &str = "the edge does not listen with TLS\nhint: it does on port 443 when it listens for HTTP on port 80; for other ports say `--https ADDR`, or `https = \"ADDR\"` in the configuration, and start it again";

/// Connections heard at a time; the control plane needs one for each deploy and drain.
const CONNECTIONS: usize = 64;

/// Where the edge listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
}

/// What can be asked about and changed.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) live: Arc<Live>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) ordering: Arc<Ordering>,
    pub(crate) addresses: Addresses,
}

/// Hears the control plane until it is dropped.
pub(crate) async fn serve(socket: UnixListener, edge: Edge) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(hear(stream, edge.clone()));
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept on the control socket");
                    sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn hear(stream: UnixStream, edge: Edge) {
    if !is_trusted(&stream) {
        tracing::warn!("refused a stranger on the control socket");
        return;
    }
    let (reader, writer) = stream.into_split();
    let mut reader = LineReader::new(reader);
    let mut writer = LineWriter::new(writer);
    loop {
        let (reply, go_on) = match reader.next::<EdgeRequest>().await {
            Ok(Some(request)) => (answer(&edge, request).await, true),
            // The rest of the line is unknown, but its end is; the next one may be good.
            Err(error @ LineError::Format { .. }) => (refused(&error), true),
            Err(error @ LineError::TooLong) => (refused(&error), false),
            Ok(None) | Err(LineError::Io(_)) => return,
        };
        if writer.send(&reply).await.is_err() || !go_on {
            return;
        }
    }
}

fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(edge: &Edge, request: EdgeRequest) -> EdgeReply {
    let live = &edge.live;
    match request {
        // The disk is waited for on this thread, which serves no visitor.
        EdgeRequest::Apply { table } => match live.apply(&table) {
            Ok(generation) => {
                edge.ordering.look(live, &edge.certificates);
                EdgeReply::Applied { generation }
            }
            Err(error) => refused(&error),
        },
        EdgeRequest::WaitDrained {
            targets,
            timeout_ms,
        } => EdgeReply::Drained {
            remaining: live
                .wait_drained(&targets, Duration::from_millis(timeout_ms))
                .await,
        },
        EdgeRequest::Status => EdgeReply::Status {
            pid: std::process::id(),
            generation: live.generation(),
            http: edge.addresses.http,
            https: edge.addresses.https,
        },
        EdgeRequest::CertificateAdd { hosts, pem } => {
            if edge.addresses.https.is_none() {
                return EdgeReply::Refused {
                    text: NO_TLS.to_owned(),
                };
            }
            let added = edge
                .certificates
                .install(Source::Own, &hosts, pem.expose().as_bytes());
            edge.ordering.look(live, &edge.certificates);
            certificate(added)
        }
        EdgeRequest::CertificateRemove { name } => {
            let removed = edge.certificates.remove(&name);
            edge.ordering.look(live, &edge.certificates);
            certificate(removed)
        }
        EdgeRequest::CertificateRenew { app } => {
            if edge.ordering.renew(&app) {
                EdgeReply::Certificates {
                    certificates: Vec::new(),
                }
            } else {
                let text = format!(
                    "nothing is ordered for `{app}`\nhint: `zarpar certificates list` shows what it has; certificates are ordered when the edge listens on ports 80 and 443, or `[acme] directory` names an authority"
                );
                EdgeReply::Refused { text }
            }
        }
        EdgeRequest::Metrics => EdgeReply::Metrics {
            text: live.metrics().text(&edge.certificates.expiries()),
        },
        EdgeRequest::Certificates => EdgeReply::Certificates {
            certificates: edge.ordering.list(&edge.certificates),
        },
    }
}

fn certificate(changed: Result<CertificateView, InstallError>) -> EdgeReply {
    match changed {
        Ok(view) => EdgeReply::Certificates {
            certificates: vec![view],
        },
        Err(error) => refused(&error),
    }
}

fn refused(error: &dyn Error) -> EdgeReply {
    EdgeReply::Refused {
        text: zarpar_model::explain(error),
    }
}
