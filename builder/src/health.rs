//! Asking a container for its health until it answers as it should, it ends, or the time is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use zarpar_engine::RestartPolicy;
use zarpar_model::{HealthConfig, Release, Target, show_span};

use crate::candidate::gone;
use crate::error::DeployError;
use crate::{Builder, Draft};

/// The first tries come quickly, because most apps are up within a second or two.
const QUICK: Duration = Duration::from_millis(50);
/// How long the tries stay quick.
const QUICK_FOR: Duration = Duration::from_secs(10);
/// The limit of one try (design.md §8).
const TRY: Duration = Duration::from_secs(5);
impl Builder {
    /// Asks a web container until it is healthy, it ended, or the time is over.
    pub(crate) async fn probe(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        target: &Target,
    ) -> Result<(), DeployError> {
        let Some(address) = target.address else {
            return Ok(());
        };
        tokio::select! {
            healthy = self.ask_until_healthy(draft, release, target, address) => healthy,
            ended = self.engine.wait(&target.container) => {
                ended?;
                match self.engine.container(&target.container).await? {
                    Some(container) => Err(self.ended(draft, &container).await),
                    None => Err(gone(draft, &target.container)),
                }
            }
        }
    }

    async fn ask_until_healthy(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        target: &Target,
        address: SocketAddr,
    ) -> Result<(), DeployError> {
        let health = &release.project.web.health;
        let host = draft
            .app
            .domains
            .first()
            .map_or_else(|| "localhost".to_owned(), ToString::to_string);
        let began = Instant::now();
        loop {
            let found = match tokio::time::timeout(
                TRY.min(health.timeout),
                ask(address, &host, &health.path),
            )
            .await
            {
                Ok(Ok(status)) if health.status.contains(status) => {
                    // Only now: a candidate that ends must stay ended, to be asked why.
                    let keep = RestartPolicy::UnlessStopped;
                    return Ok(self
                        .engine
                        .set_restart_policy(&target.container, keep)
                        .await?);
                }
                Ok(Ok(status)) => Found::Status(status),
                Ok(Err(error)) => Found::Nothing(error.to_string()),
                Err(_) => Found::Nothing(format!("no answer within {}", show_span(TRY))),
            };
            if began.elapsed() > health.timeout {
                self.show_last_lines(draft, &target.container).await;
                return Err(unhealthy(draft, health, host, address.port(), &found));
            }
            let pause = if began.elapsed() < QUICK_FOR {
                QUICK
            } else {
                health.interval
            };
            tokio::time::sleep(pause.min(health.interval)).await;
        }
    }
}

enum Found {
    Status(u16),
    Nothing(String),
}

fn unhealthy(
    draft: &Draft<'_>,
    health: &HealthConfig,
    host: String,
    port: u16,
    found: &Found,
) -> DeployError {
    let app = &draft.app.name;
    let (found, hint) = match found {
        Found::Status(status @ (400 | 403)) => (
            format!("status {status}"),
            format!(
                "does Django allow the host `{host}`? `ALLOWED_HOSTS` is injected, read it in your settings; logs: `zarpar logs {app}`"
            ),
        ),
        Found::Status(404) => (
            "status 404".to_owned(),
            "name a path that exists in `zarpar.toml`: [web.health] path = \"/health/\"".to_owned(),
        ),
        Found::Status(status) => (
            format!("status {status}"),
            "the release's last lines are above; mend it, commit and push again".to_owned(),
        ),
        Found::Nothing(text) => (
            text.clone(),
            format!(
                "does the app listen on `0.0.0.0:{port}`? The port is injected as `PORT`, or named in `zarpar.toml`: [web] port = 9000"
            ),
        ),
    };
    DeployError::Unhealthy {
        expected: format!("a status of {}", String::from(health.status.clone())),
        url: format!("http://{host}{}", health.path),
        limit: health.timeout,
        found,
        hint,
    }
}

/// One request as a visitor's would arrive behind the edge with TLS, so that an app that insists
/// on https is not asked in vain.
async fn ask(
    address: SocketAddr,
    host: &str,
    path: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path)
        .header("host", host)
        .header("user-agent", "zarpar-health")
        .header("connection", "close")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-for", "127.0.0.1")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    // A connection that ended may have delivered the answer with its last step.
    let response = tokio::select! {
        response = &mut answer => response,
        _ = connection => answer.await,
    };
    Ok(response?.status().as_u16())
}
