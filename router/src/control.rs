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
use tokio::time::{Instant, sleep};
use zarpar_control::{
    CertificateView, EdgeReply, EdgeRequest, EdgeStatus, LineError, LineReader, LineWriter,
    TargetLoad,
};

use crate::certificates::{Certificates, InstallError, Source};
use crate::handover::HandOver;
use crate::live::Live;
use crate::ordering::Ordering;
use crate::predecessors::Predecessors;

const NO_TLS: &str = "the edge does not listen with TLS\nhint: it does on port 443 when it listens for HTTP on port 80; for other ports say `--https ADDR`, or `https = \"ADDR\"` in the configuration, and start it again";

/// Connections heard at a time; the control plane needs one for each deploy and drain.
const CONNECTIONS: usize = 64;
/// How often the edges before are asked which targets they still hold.
const LOOK: Duration = Duration::from_millis(50);

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
    pub(crate) identity: Arc<str>,
    pub(crate) handover: Arc<HandOver>,
    pub(crate) predecessors: Arc<Predecessors>,
}

/// Hears the control plane until it is dropped. Once another edge took over, it hears only that
/// one: the others find the new edge behind the same socket.
pub(crate) async fn serve(socket: UnixListener, edge: Edge) -> Infallible {
    let mut connections = JoinSet::new();
    let departure = edge.handover.departure.clone();
    loop {
        let accepts = connections.len() < CONNECTIONS && !departure.is_handed_over();
        tokio::select! {
            accepted = socket.accept(), if accepts => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(hear(stream, edge.clone()));
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept on the control socket");
                    sleep(Duration::from_millis(200)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = departure.handed_over(), if accepts => {}
            // Neither: nobody is heard and nobody is accepted any more.
            else => std::future::pending().await,
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
    let mut is_successor = false;
    loop {
        let next = tokio::select! {
            biased;
            () = edge.handover.departure.handed_over(), if !is_successor => return,
            next = reader.next::<EdgeRequest>() => next,
        };
        let (reply, go_on) = match next {
            Ok(Some(EdgeRequest::HandOver)) => {
                if !edge
                    .handover
                    .to(&mut reader, &mut writer, &edge.predecessors)
                    .await
                {
                    return;
                }
                edge.live.hand_over();
                is_successor = true;
                continue;
            }
            Ok(Some(request)) => match answer(&edge, request, is_successor).await {
                Some(reply) => (reply, true),
                // Another edge took over while it waited.
                None => return,
            },
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

/// The answer; `None` when another edge must give it.
async fn answer(edge: &Edge, request: EdgeRequest, is_successor: bool) -> Option<EdgeReply> {
    let changes = matches!(
        request,
        EdgeRequest::Apply { .. }
            | EdgeRequest::CertificateAdd { .. }
            | EdgeRequest::CertificateRemove { .. }
            | EdgeRequest::CertificateRenew { .. }
    );
    let _changing = if changes && !is_successor {
        Some(edge.handover.changing().await?)
    } else {
        None
    };
    Some(act(edge, request).await)
}

async fn act(edge: &Edge, request: EdgeRequest) -> EdgeReply {
    let live = &edge.live;
    match request {
        // The disk is waited for on this thread, which serves no visitor.
        EdgeRequest::Apply { table } => match live.apply(&table) {
            Ok(generation) => {
                edge.ordering.look(live, &edge.certificates);
                edge.predecessors.apply(&table).await;
                EdgeReply::Applied { generation }
            }
            Err(error) => refused(&error),
        },
        EdgeRequest::WaitDrained {
            targets,
            timeout_ms,
        } => EdgeReply::Drained {
            remaining: drained(edge, &targets, Duration::from_millis(timeout_ms)).await,
        },
        EdgeRequest::Status => EdgeReply::Status(EdgeStatus {
            pid: std::process::id(),
            generation: live.generation(),
            http: edge.addresses.http,
            https: edge.addresses.https,
            identity: edge.identity.to_string(),
        }),
        // The first is answered where the connection is at hand; the second follows it.
        EdgeRequest::HandOver | EdgeRequest::TookOver => EdgeReply::Refused {
            text: "expected `hand_over` before `took_over`".to_owned(),
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

/// Waits for the targets here and at the edges before.
async fn drained(edge: &Edge, targets: &[SocketAddr], limit: Duration) -> Vec<TargetLoad> {
    let until = Instant::now() + limit;
    let mut remaining = edge.live.wait_drained(targets, limit).await;
    loop {
        let there = edge.predecessors.loads(targets).await;
        if there.is_empty() || Instant::now() >= until {
            remaining.extend(there);
            return remaining;
        }
        sleep(LOOK).await;
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
