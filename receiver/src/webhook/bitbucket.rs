//! Bitbucket Cloud, by "Event payloads" of its documents: one push may move several references.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::signature::{Claims, hexadecimal};
use super::{Change, Event, Malformed, Push, commit, parse};

pub(super) const EVENT: &[&str] = &["x-event-key"];
/// The id of the request: `X-Hook-UUID` names the webhook, the same for all of its deliveries.
pub(super) const ID: &[&str] = &["x-request-uuid"];

pub(super) fn claims(headers: &HeaderMap, secret: &str) -> Claims {
    hexadecimal(headers, "x-hub-signature", "sha256=", secret)
}

#[derive(Deserialize)]
struct Payload {
    repository: Repository,
    push: Changes,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<Moved>,
}

#[derive(Deserialize)]
struct Moved {
    old: Option<Reference>,
    new: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    hash: String,
}

pub(super) fn event(word: &str, body: &[u8]) -> Result<Event, Malformed> {
    match word {
        "repo:push" => {}
        "diagnostics:ping" => return Ok(Event::Ping),
        other => return Ok(Event::Other(other.to_owned())),
    }
    let payload: Payload = parse(body)?;
    let mut changes = Vec::new();
    for moved in payload.push.changes {
        let after = match &moved.new {
            Some(new) => commit(&new.target.hash)?,
            None => None,
        };
        let Some(reference) = moved.new.or(moved.old) else {
            continue;
        };
        let folder = if reference.kind == "branch" {
            "heads"
        } else {
            "tags"
        };
        changes.push(Change {
            reference: format!("refs/{folder}/{}", reference.name),
            after,
        });
    }
    Ok(Event::Push(Push {
        repository: payload.repository.full_name,
        changes,
    }))
}
