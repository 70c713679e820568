//! Webhooks of forges: what proves that a delivery comes from the forge, and what it says. Nothing
//! is parsed before the signature over the raw bytes is right, and nothing a payload says is ever
//! used as an address: it is compared with what the app follows.
//!
//! What can never happen: a delivery that counts without its signature; two answers by which
//! somebody without the secret learns which apps there are; an acknowledged delivery that is not
//! durable. A crash leaves deliveries that wait, and the next start looks at them.

mod bitbucket;
mod body;
mod gitea;
mod github;
mod gitlab;
mod ledger;
mod route;
mod signature;
mod verdict;

use std::fmt;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zarpar_model::{CommitId, DeliveryId, Provider};

pub use ledger::Taken;
pub use route::{WebhookState, webhook_routes};
pub(crate) use signature::Verifier;
pub(crate) use verdict::{Verdict, judge};

/// What a verified delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The forge tries whether it reaches us.
    Ping,
    /// References moved.
    Push(Push),
    /// Something else, by the forge's name for it.
    Other(String),
}

/// References of a repository that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    /// The forge's full name of the repository (`OWNER/REPO`).
    pub(crate) repository: String,
    /// What moved; only Bitbucket speaks of more than one at once.
    pub(crate) changes: Vec<Change>,
}

/// A reference that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its full name (`refs/heads/main`).
    pub(crate) reference: String,
    /// Where it is now; `None` when it is gone.
    pub(crate) after: Option<CommitId>,
}

/// A body that was signed rightly and is not what the forge's documents say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new secret for a webhook: 32 random bytes. GitLab takes signing tokens in the form of
/// Standard Webhooks alone, and any text as its plain token, so one form serves for both.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_webhook_secret(provider: Provider) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(match provider {
        Provider::Gitlab => format!("{}{}", gitlab::PREFIX, STANDARD.encode(bytes)),
        _ => URL_SAFE_NO_PAD.encode(bytes),
    })
}

/// The forge's word for what happened, for the listing of deliveries.
pub(crate) fn event_word(provider: Provider, headers: &HeaderMap) -> String {
    let names: &[&str] = match provider {
        Provider::Github => github::EVENT,
        Provider::Gitlab => gitlab::EVENT,
        Provider::Gitea => gitea::EVENT,
        Provider::Bitbucket => bitbucket::EVENT,
    };
    let word = first(headers, names).unwrap_or("unnamed");
    word.chars()
        .take(60)
        .flat_map(char::escape_default)
        .collect()
}

/// What the delivery says. Call it after the signature was found right.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn read_event(
    provider: Provider,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Event, Malformed> {
    let word = event_word(provider, headers);
    match provider {
        Provider::Github => github::event(&word, body),
        Provider::Gitlab => gitlab::event(&word, body),
        Provider::Gitea => gitea::event(&word, body),
        Provider::Bitbucket => bitbucket::event(&word, body),
    }
}

/// The forge's name for the delivery, the same when it sends it once more. A forge that names none
/// sends the same bytes again, so their hash stands for the name.
pub(crate) fn delivery_id(provider: Provider, headers: &HeaderMap, body: &[u8]) -> DeliveryId {
    let names: &[&str] = match provider {
        Provider::Github => github::ID,
        Provider::Gitlab => gitlab::ID,
        Provider::Gitea => gitea::ID,
        Provider::Bitbucket => bitbucket::ID,
    };
    let named = first(headers, names).and_then(|text| text.parse().ok());
    named.unwrap_or_else(|| DeliveryId::of_bytes(&Sha256::digest(body)))
}

/// The first of these headers that is there.
fn first<'h>(headers: &'h HeaderMap, names: &[&str]) -> Option<&'h str> {
    names
        .iter()
        .find_map(|name| headers.get(*name))
        .and_then(|value| value.to_str().ok())
}

/// The one value of a header: two of them are as good as none, because another reader might have
/// looked at the other one.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Reads a payload into what we need of it. The reader refuses more than 128 levels, so depth
/// costs no stack.
fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|error| {
        Malformed(format!(
            "expected a push as JSON, found something else: {}",
            error.to_string().chars().take(200).collect::<String>()
        ))
    })
}

/// A commit id of a payload; `None` for the null id, which stands for a reference that is gone.
fn commit(text: &str) -> Result<Option<CommitId>, Malformed> {
    let id: CommitId = text
        .parse()
        .map_err(|error| Malformed(format!("{error}")))?;
    Ok((!id.is_null()).then_some(id))
}

#[cfg(test)]
mod tests;
