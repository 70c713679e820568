//! GitLab: the plain token of all versions, and the signature that came in 2026 (merge request
//! 230944 of GitLab: `webhook-signature: v1,<base64>`, HMAC-SHA256 of `{webhook-id}.{timestamp}.{body}`
//! as Standard Webhooks has it; merge request 231325: its key is `whsec_` and 32 bytes in base64).

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::signature::Claims;
use super::{Change, Event, Malformed, Push, commit, parse, single};

pub(super) const EVENT: &[&str] = &["x-gitlab-event"];
/// The first two are the same text, and the same again when GitLab repeats the delivery;
/// `X-Gitlab-Webhook-UUID` names the webhook and not the delivery.
pub(super) const ID: &[&str] = &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"];
/// In front of a key of Standard Webhooks.
pub(super) const PREFIX: &str = "whsec_";

const SIGNATURE: &str = "webhook-signature";
/// How far the time of a signature may be from ours, in seconds (Standard Webhooks).
const TOLERANCE: u64 = 300;
/// More than one signature is sent while a key is changed; more than these is no forge.
const SIGNATURES: usize = 8;

/// With a signature, the signature decides; a right token does not rescue a wrong one.
pub(super) fn claims(headers: &HeaderMap, secret: &str, now: u64) -> Claims {
    let token = single(headers, "x-gitlab-token").unwrap_or_default();
    let same = bool::from(token.as_bytes().ct_eq(secret.as_bytes()));
    let signed = headers.contains_key(SIGNATURE);
    let (before, digests) = signature(headers, now).unwrap_or_default();
    Claims {
        key: key(secret),
        before,
        digests,
        token_is_right: same && !signed,
    }
}

/// The text in front of the body and the digests, when the time is right.
fn signature(headers: &HeaderMap, now: u64) -> Option<(Vec<u8>, Vec<[u8; 32]>)> {
    let id = single(headers, "webhook-id")?;
    let time = single(headers, "webhook-timestamp")?;
    let sent: u64 = time
        .parse()
        .ok()
        .filter(|_| time.bytes().all(|byte| byte.is_ascii_digit()))?;
    if now.abs_diff(sent) > TOLERANCE {
        return None;
    }
    let digests = single(headers, SIGNATURE)?
        .split(' ')
        .take(SIGNATURES)
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|text| STANDARD.decode(text).ok()?.try_into().ok())
        .collect();
    Some((format!("{id}.{time}.").into_bytes(), digests))
}

/// The bytes behind the prefix; a key without it is its own bytes.
fn key(secret: &str) -> Vec<u8> {
    secret
        .strip_prefix(PREFIX)
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    project: Project,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
}

/// GitLab has no ping: its test button sends a push of the newest commit.
pub(super) fn event(word: &str, body: &[u8]) -> Result<Event, Malformed> {
    if !matches!(word, "Push Hook" | "Tag Push Hook") {
        return Ok(Event::Other(word.to_owned()));
    }
    let payload: Payload = parse(body)?;
    Ok(Event::Push(Push {
        repository: payload.project.path_with_namespace,
        changes: vec![Change {
            reference: payload.reference,
            after: commit(&payload.after)?,
        }],
    }))
}
