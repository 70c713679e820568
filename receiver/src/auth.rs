//! Tokens: 32 random bytes that open the HTTP road. The store keeps their SHA-256 alone.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zarpar_model::Token;
use zarpar_store::{Store, StoreError};

/// What every token starts with, so that a leaked one is recognised by scanners.
const PREFIX: &str = "zarpar_";
/// The longest `Authorization` header that is looked at, in bytes.
const HEADER: usize = 1024;

/// A new secret and its hash in hexadecimal.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token() -> Result<(String, String), getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash_token(&secret);
    Ok((secret, hash))
}

/// SHA-256 of a secret in hexadecimal.
pub fn hash_token(secret: &str) -> String {
    Sha256::digest(secret.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The token that a Basic header carries, as user name or as password; `None` when there is no
/// valid one.
pub(crate) fn authenticate(
    store: &Store,
    header: Option<&str>,
) -> Result<Option<Token>, StoreError> {
    for secret in header.and_then(basic).into_iter().flatten() {
        let hash = hash_token(&secret);
        if let Some(token) = store.token_by_sha256(&hash)?
            && bool::from(token.sha256.as_bytes().ct_eq(hash.as_bytes()))
        {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Whether git sent a user name and an empty password, as it does for a remote
/// `http://TOKEN@HOST/…`.
pub(crate) fn is_git_with_user_alone(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(header::USER_AGENT).is_some_and(|agent| agent.starts_with("git/"))
        && text(header::AUTHORIZATION)
            .and_then(basic)
            .is_some_and(|[user, password]| !user.is_empty() && password.is_empty())
}

fn basic(header: &str) -> Option<[String; 2]> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || credentials.len() > HEADER {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some([user.to_owned(), password.to_owned()])
}
