//! The check of a signature while the body comes in. Every check does the same work, one HMAC over
//! all bytes and comparisons in constant time, whatever the headers hold.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zarpar_model::Provider;

use super::{bitbucket, gitea, github, gitlab, single};

/// What the headers claim.
pub(super) struct Claims {
    /// The key of the HMAC.
    pub(super) key: Vec<u8>,
    /// What is signed in front of the body.
    pub(super) before: Vec<u8>,
    /// The digests, any of which is enough.
    pub(super) digests: Vec<[u8; 32]>,
    /// A plain token was right, and there is no signature that it would have to stand beside.
    pub(super) token_is_right: bool,
}

/// A check that is under way: it takes the pieces of the body and says at the end whether the forge
/// has sent them.
pub(crate) struct Verifier {
    mac: Option<Hmac<Sha256>>,
    digests: Vec<[u8; 32]>,
    token_is_right: bool,
}

impl Verifier {
    /// A check of a delivery with these headers at `now`, in seconds since 1970. An empty secret
    /// makes nothing right.
    pub(crate) fn new(provider: Provider, headers: &HeaderMap, secret: &str, now: u64) -> Verifier {
        let claims = match provider {
            Provider::Github => github::claims(headers, secret),
            Provider::Gitlab => gitlab::claims(headers, secret, now),
            Provider::Gitea => gitea::claims(headers, secret),
            Provider::Bitbucket => bitbucket::claims(headers, secret),
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&claims.key).ok();
        if let Some(mac) = &mut mac {
            mac.update(&claims.before);
        }
        Verifier {
            mac: mac.filter(|_| !secret.is_empty()),
            digests: claims.digests,
            token_is_right: claims.token_is_right && !secret.is_empty(),
        }
    }

    /// A check that does the work of one and is never right: for an app that has no webhook.
    pub(crate) fn never() -> Verifier {
        Verifier {
            mac: Hmac::<Sha256>::new_from_slice(&[0; 43]).ok(),
            digests: Vec::new(),
            token_is_right: false,
        }
    }

    /// Whether the headers leave a way to be right, whatever the body is.
    pub(crate) fn may_be_right(&self) -> bool {
        self.token_is_right || !self.digests.is_empty()
    }

    /// The next piece of the body.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some(mac) = &mut self.mac {
            mac.update(piece);
        }
    }

    /// Whether the forge has sent it.
    pub(crate) fn finish(self) -> bool {
        let Some(mac) = self.mac else { return false };
        let found = mac.finalize().into_bytes();
        let mut right = subtle::Choice::from(u8::from(self.token_is_right));
        for digest in &self.digests {
            right |= found.as_slice().ct_eq(digest);
        }
        right.into()
    }
}

/// The claims of a header with one digest in hexadecimal after `prefix`.
pub(super) fn hexadecimal(headers: &HeaderMap, name: &str, prefix: &str, secret: &str) -> Claims {
    let digest = single(headers, name)
        .and_then(|text| text.strip_prefix(prefix))
        .and_then(digest);
    Claims {
        key: secret.as_bytes().to_vec(),
        before: Vec::new(),
        digests: digest.into_iter().collect(),
        token_is_right: false,
    }
}

/// 64 lower-case hexadecimal digits, as every forge writes them.
fn digest(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}
