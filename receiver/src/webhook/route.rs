//! `POST /hooks/{app}`. Everything up to the signature is answered alike for an app that is not
//! there, an app without a webhook, and a signature that is wrong, after the same work.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::mpsc;
use zarpar_model::{AppName, DeliveryState, Source};
use zarpar_store::{NewDelivery, Recorded, Store, StoreError};

use super::body::{BodyError, LARGEST, Room};
use super::ledger::{Ledger, Taken};
use super::{Verdict, Verifier, delivery_id, event_word, judge, read_event};

/// What the handler shares; clones share it.
#[derive(Clone)]
pub struct WebhookState {
    store: Store,
    room: Room,
    ledger: Ledger,
}

impl WebhookState {
    /// Deliveries that wait are told to `taken` once they are durable.
    pub fn new(store: Store, taken: mpsc::UnboundedSender<Taken>) -> WebhookState {
        WebhookState {
            ledger: Ledger::new(store.clone(), taken),
            room: Room::new(),
            store,
        }
    }
}

/// The one path.
pub fn webhook_routes(state: WebhookState) -> Router {
    Router::new()
        .route("/hooks/{app}", post(deliver))
        .with_state(state)
}

async fn deliver(
    State(state): State<WebhookState>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_json(&headers) {
        return words(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected a body of the type `application/json`\nhint: choose `application/json` as content type in the settings of the webhook",
        );
    }
    let now = SystemTime::now();
    let followed = match tokio::task::block_in_place(|| followed(&state.store, &app)) {
        Ok(followed) => followed,
        Err(error) => return trouble(&error),
    };
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let verifier = match &followed {
        Some((source, secret)) => Verifier::new(source.provider, &headers, secret, seconds),
        None => Verifier::never(),
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let held = match state.room.hold(body, verifier, announced).await {
        Ok(held) => held,
        Err(error) => return without_body(&error),
    };
    let source = match followed {
        Some((source, _)) if held.proven => source,
        followed => {
            if let Some((source, _)) = followed {
                tracing::info!(app = %source.app, provider = %source.provider, "a delivery without the right signature was refused");
            }
            return unproven();
        }
    };
    let event = match read_event(source.provider, &headers, &held.bytes) {
        Ok(event) => event,
        Err(malformed) => return words(StatusCode::BAD_REQUEST, &malformed.to_string()),
    };
    let verdict = judge(&event, &source);
    let (commit, waits) = match &verdict {
        Verdict::Pong => (
            None,
            DeliveryState::Ignored {
                reason: "the forge tried whether it reaches zarpar, and it does".to_owned(),
            },
        ),
        Verdict::Ignore(reason) => (
            None,
            DeliveryState::Ignored {
                reason: reason.clone(),
            },
        ),
        Verdict::Look(commit) => (Some(commit.clone()), DeliveryState::Waiting),
    };
    let delivery = NewDelivery {
        app: source.app.clone(),
        id: delivery_id(source.provider, &headers, &held.bytes),
        event: event_word(source.provider, &headers),
        commit,
        received_at: now.into(),
        state: waits,
    };
    // The body is given back before the disk is waited for.
    drop(held);
    match state.ledger.record(delivery).await {
        Ok(recorded) => answer(&source, &verdict, &recorded),
        Err(_) => busy("zarpar cannot record this now\nhint: its log on the server says why"),
    }
}

/// What the app follows and the secret of its webhook. An unknown app and one without a webhook are
/// the same.
fn followed(store: &Store, app: &str) -> Result<Option<(Source, String)>, StoreError> {
    let Ok(app) = app.parse::<AppName>() else {
        return Ok(None);
    };
    let Some(source) = store.source(&app)? else {
        return Ok(None);
    };
    let secrets = store.source_secrets(&app)?;
    Ok(secrets.map(|secrets| (source, secrets.webhook)))
}

/// Whether the body says that it is JSON. Forms (`payload=`) are not taken: the signature is over
/// the form, and one way to read a body is enough.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn answer(source: &Source, verdict: &Verdict, recorded: &Recorded) -> Response {
    let app = &source.app;
    match (recorded, verdict) {
        // It was disabled while this came in.
        (Recorded::Gone, _) => unproven(),
        (Recorded::Already(before), _) => words(
            StatusCode::OK,
            &format!(
                "already {}: delivery {}",
                before.state.as_str(),
                before.number
            ),
        ),
        (Recorded::New(_), Verdict::Pong) => words(StatusCode::OK, "pong"),
        (Recorded::New(_), Verdict::Ignore(reason)) => {
            words(StatusCode::OK, &format!("ignored: {reason}"))
        }
        (Recorded::New(number), Verdict::Look(commit)) => words(
            StatusCode::ACCEPTED,
            &format!(
                "accepted: delivery {number}, `{}` at {}\nhint: `zarpar webhooks show {app}` says what became of it",
                source.branch,
                commit.short()
            ),
        ),
    }
}

fn unproven() -> Response {
    words(
        StatusCode::UNAUTHORIZED,
        "expected a delivery that is signed with the secret of this webhook\nhint: `zarpar webhooks enable APP --rotate` on the server prints a new secret; it goes into the settings of the webhook as it is",
    )
}

fn without_body(error: &BodyError) -> Response {
    match error {
        BodyError::TooLarge => words(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("expected at most {LARGEST} bytes\nhint: push fewer commits at once"),
        ),
        BodyError::TooSlow => busy(
            "the body did not come in time, or too many large ones came at once\nhint: send the delivery again",
        ),
        BodyError::Broken => words(StatusCode::BAD_REQUEST, "the body did not come whole"),
    }
}

fn busy(text: &str) -> Response {
    let mut response = words(StatusCode::SERVICE_UNAVAILABLE, text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

fn trouble(error: &StoreError) -> Response {
    tracing::error!(error = %zarpar_model::explain(error), "a webhook's delivery could not be looked at");
    busy("zarpar cannot serve this now\nhint: its log on the server says why")
}

/// Plain text: the forge shows it in its list of deliveries.
fn words(status: StatusCode, text: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        format!("{text}\n"),
    )
        .into_response()
}
