//! GitHub, by "Validating webhook deliveries" and "Webhook events and payloads" of its documents.
//! `X-Hub-Signature` with SHA-1 is never looked at.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::signature::{Claims, hexadecimal};
use super::{Change, Event, Malformed, Push, commit, parse};

pub(super) const EVENT: &[&str] = &["x-github-event"];
pub(super) const ID: &[&str] = &["x-github-delivery"];
pub(super) const SIGNATURE: &str = "x-hub-signature-256";

pub(super) fn claims(headers: &HeaderMap, secret: &str) -> Claims {
    hexadecimal(headers, SIGNATURE, "sha256=", secret)
}

/// What GitHub and Gitea send of a push.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

pub(super) fn event(word: &str, body: &[u8]) -> Result<Event, Malformed> {
    match word {
        "ping" => Ok(Event::Ping),
        "push" => push(body),
        other => Ok(Event::Other(other.to_owned())),
    }
}

pub(super) fn push(body: &[u8]) -> Result<Event, Malformed> {
    let payload: Payload = parse(body)?;
    Ok(Event::Push(Push {
        repository: payload.repository.full_name,
        changes: vec![Change {
            reference: payload.reference,
            after: commit(&payload.after)?,
        }],
    }))
}
