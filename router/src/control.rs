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
use zarpar_control::{EdgeReply, EdgeRequest, LineError, LineReader, LineWriter};

use crate::live::Live;

/// Connections heard at a time; the control plane needs one for each deploy and drain.
const CONNECTIONS: usize = 64;

/// Hears the control plane until it is dropped.
pub(crate) async fn serve(socket: UnixListener, live: Arc<Live>, http: SocketAddr) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(hear(stream, live.clone(), http));
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

async fn hear(stream: UnixStream, live: Arc<Live>, http: SocketAddr) {
    if !is_trusted(&stream) {
        tracing::warn!("refused a stranger on the control socket");
        return;
    }
    let (reader, writer) = stream.into_split();
    let mut reader = LineReader::new(reader);
    let mut writer = LineWriter::new(writer);
    loop {
        let (reply, go_on) = match reader.next::<EdgeRequest>().await {
            Ok(Some(request)) => (answer(&live, http, request).await, true),
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

async fn answer(live: &Live, http: SocketAddr, request: EdgeRequest) -> EdgeReply {
    match request {
        // The disk is waited for on this thread, which serves no visitor.
        EdgeRequest::Apply { table } => match live.apply(&table) {
            Ok(generation) => EdgeReply::Applied { generation },
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
            http,
        },
    }
}

fn refused(error: &dyn Error) -> EdgeReply {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    EdgeReply::Refused { text }
}
