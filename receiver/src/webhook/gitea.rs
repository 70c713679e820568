//! Gitea and Forgejo, by their documents of webhooks: GitHub's payload of a push, and the digest in
//! headers of their own without a prefix. Newer ones send GitHub's header too.

use axum::http::HeaderMap;

use super::signature::{Claims, hexadecimal};
use super::{Event, Malformed, github};

pub(super) const EVENT: &[&str] = &["x-forgejo-event", "x-gitea-event"];
pub(super) const ID: &[&str] = &["x-forgejo-delivery", "x-gitea-delivery"];
const SIGNATURES: [&str; 2] = ["x-forgejo-signature", "x-gitea-signature"];

/// The first signature that is there decides; a right one of another name does not rescue it.
pub(super) fn claims(headers: &HeaderMap, secret: &str) -> Claims {
    match SIGNATURES
        .into_iter()
        .find(|name| headers.contains_key(*name))
    {
        Some(name) => hexadecimal(headers, name, "", secret),
        None => github::claims(headers, secret),
    }
}

pub(super) fn event(word: &str, body: &[u8]) -> Result<Event, Malformed> {
    github::event(word, body)
}
