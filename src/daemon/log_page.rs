//! `GET /apps/APP/deployments/ID` on the console address: the log of a deployment as plain text,
//! to its end, also while it is under way. A forge links here.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use zarpar_builder::Follower;
use zarpar_model::{AppName, Deployment, DeploymentId};

use super::Daemon;

/// Foreign text that a browser must not take for a page, and nobody's to keep.
const HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/plain; charset=utf-8"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
];

pub(super) fn routes(daemon: Daemon) -> Router {
    Router::new()
        .route("/apps/{app}/deployments/{id}", get(page))
        .with_state(daemon)
}

async fn page(
    State(daemon): State<Daemon>,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (receiver, extensions) = (&daemon.receiver, request.extensions());
    let app = match zarpar_receiver::admit_reader(receiver, &app, request.headers(), extensions) {
        Ok(app) => app,
        Err(refusal) => return *refusal,
    };
    match daemon.log_of(&app.name, &id).await {
        Ok(Some(follower)) => (HEADERS, Body::from_stream(lines(follower))).into_response(),
        Ok(None) => {
            let text = format!(
                "`{0}` has no such deployment\nhint: `zarpar deployments {0}` lists them\n",
                app.name
            );
            (StatusCode::NOT_FOUND, HEADERS, text).into_response()
        }
        Err(error) => {
            tracing::error!(app = %app.name, %error, "cannot show a deployment's log");
            (StatusCode::INTERNAL_SERVER_ERROR, HEADERS).into_response()
        }
    }
}

impl Daemon {
    async fn log_of(&self, app: &AppName, id: &str) -> anyhow::Result<Option<Follower>> {
        let Ok(id) = id.parse::<DeploymentId>() else {
            return Ok(None);
        };
        match self.store.deployment(id)? {
            Some(deployment) if deployment.app == *app => {
                Ok(Some(self.builder.journal().follow(id).await?))
            }
            _ => Ok(None),
        }
    }

    /// Where a forge's visitors read the log of a deployment; `None` when they cannot get there.
    pub(super) fn log_url(&self, deployment: &Deployment) -> Option<String> {
        let ip = self.console.ip();
        let reachable = self.console_host.is_some() || !(ip.is_loopback() || ip.is_unspecified());
        reachable.then(|| {
            format!(
                "{}/apps/{}/deployments/{}",
                self.public_console_url(),
                deployment.app,
                deployment.id
            )
        })
    }
}

/// The lines of an event at a time.
fn lines(follower: Follower) -> impl futures_util::Stream<Item = std::io::Result<String>> {
    futures_util::stream::try_unfold(follower, |mut follower| async move {
        let Some(event) = follower.next().await? else {
            return Ok(None);
        };
        let mut text = zarpar_hooks::render(&event).join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        Ok(Some((text, follower)))
    })
}
