//! The console address: git over HTTP, webhooks, health and metrics. Its accept loop is our own, because
//! axum's has no header timeout and no cap on connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zarpar_control::EdgeClient;
use zarpar_model::Phase;
use zarpar_receiver::ClientAddress;

use super::Daemon;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// What the edge may take to say what it counted; it adds some numbers up.
const EDGE: Duration = Duration::from_secs(5);
/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `stop`; then ends when the answers under way have.
/// `edge_key` is what the edge shows with the requests it passes on, when it does.
pub(crate) async fn listen(
    listener: TcpListener,
    daemon: Daemon,
    edge_key: Option<String>,
    stop: CancellationToken,
) {
    let edge_key: Option<Arc<str>> = edge_key.map(Into::into);
    let tasks = TaskTracker::new();
    let git = daemon.receiver.clone();
    let logs = super::log_page::routes(daemon.clone());
    let webhooks = zarpar_receiver::webhook_routes(daemon.webhook_state());
    let app = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(daemon)
        .merge(logs)
        .merge(zarpar_receiver::routes(git))
        .merge(webhooks);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    // Out of descriptors: a pause, or the loop would burn the processor.
                    tracing::warn!(%error, "cannot accept on the console address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let routes = TowerToHyperService::new(app.clone());
        let edge_key = edge_key.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let client = ClientAddress::told(peer, request.headers_mut(), edge_key.as_deref());
            request.extensions_mut().insert(client);
            routes.call(request)
        });
        let stop = stop.clone();
        tasks.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a console connection ended early");
            }
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn health(State(daemon): State<Daemon>) -> (StatusCode, String) {
    match daemon.store.fault() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(fault) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the store takes no more changes: {fault}\nhint: free disk space and restart `zarpar serve`; the apps go on serving\n"
            ),
        ),
    }
}

async fn metrics(State(daemon): State<Daemon>) -> Result<impl IntoResponse, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let apps = daemon.store.apps().map_err(failed)?;
    let live = apps.iter().filter(|app| app.active.is_some()).count();
    let unfinished = daemon.store.unfinished().map_err(failed)?;
    let queued = unfinished
        .iter()
        .filter(|deployment| deployment.phase == Phase::Queued)
        .count();
    let edge = edge_metrics(&daemon).await;
    let text = format!(
        "# HELP zarpar_apps Apps on this server.\n# TYPE zarpar_apps gauge\nzarpar_apps {}\n\
         # HELP zarpar_apps_live Apps with an active release.\n# TYPE zarpar_apps_live gauge\nzarpar_apps_live {live}\n\
         # HELP zarpar_deployments_queued Deployments that wait.\n# TYPE zarpar_deployments_queued gauge\nzarpar_deployments_queued {queued}\n\
         # HELP zarpar_deployments_working Deployments at work.\n# TYPE zarpar_deployments_working gauge\nzarpar_deployments_working {}\n\
         # HELP zarpar_edge_up Whether the edge says what it counted.\n# TYPE zarpar_edge_up gauge\nzarpar_edge_up {}\n{}",
        apps.len(),
        unfinished.len() - queued,
        u8::from(edge.is_some()),
        edge.as_deref().unwrap_or_default()
    );
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// What the edge counted; without it the rest is still worth knowing.
async fn edge_metrics(daemon: &Daemon) -> Option<String> {
    let ask = async {
        let mut edge = EdgeClient::connect(&daemon.edge_socket).await?;
        edge.metrics().await
    };
    match tokio::time::timeout(EDGE, ask).await {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the edge does not say what it counted");
            None
        }
        Err(_) => None,
    }
}
