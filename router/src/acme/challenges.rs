//! The answers to challenges that are open now, for the listeners to look up.
//!
//! Kept: one entry for each name under validation, in memory alone. The hot path asks for each
//! request and each handshake, so an empty table costs one load and no lock. An entry goes when
//! its `Offer` is dropped, so an order that is abandoned leaves nothing behind.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// The protocol name by which a TLS-ALPN-01 handshake is known (RFC 8737).
pub(crate) const TLS_ALPN_PROTOCOL: &[u8] = b"acme-tls/1";

/// The path below which HTTP-01 asks (RFC 8555, 8.3).
pub(crate) const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// Open challenges. Shared by the listeners and the task that orders.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    entries: ArcSwapOption<Vec<Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    host: String,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Http { token: String, content: String },
    Tls(Arc<CertifiedKey>),
}

impl Challenges {
    /// The content for `/.well-known/acme-challenge/<token>` on `host` (no port, any case);
    /// `None` when no such challenge is open, and then the request goes where all others go.
    pub(crate) fn http01(&self, host: &str, token: &str) -> Option<String> {
        self.find(|entry| match &entry.answer {
            Answer::Http {
                token: open,
                content,
            } if open == token && entry.host.eq_ignore_ascii_case(host) => Some(content.clone()),
            _ => None,
        })
    }

    /// The certificate for a handshake that offers `acme-tls/1` alone and names `host`.
    pub(crate) fn tls_alpn01(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.find(|entry| match &entry.answer {
            Answer::Tls(key) if entry.host.eq_ignore_ascii_case(host) => Some(Arc::clone(key)),
            _ => None,
        })
    }

    /// Whether no challenge is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.load().is_none()
    }

    /// Answers HTTP-01 for `host` until the offer is dropped.
    pub(crate) fn offer_http(self: &Arc<Self>, host: &str, token: &str, content: &str) -> Offer {
        self.add(Entry {
            host: host.to_owned(),
            answer: Answer::Http {
                token: token.to_owned(),
                content: content.to_owned(),
            },
        })
    }

    /// Answers TLS-ALPN-01 for `host` until the offer is dropped.
    pub(crate) fn offer_tls(
        self: &Arc<Self>,
        host: &str,
        authorization: &KeyAuthorization,
    ) -> Result<Offer, rcgen::Error> {
        let key = challenge_certificate(host, authorization.digest().as_ref())?;
        Ok(self.add(Entry {
            host: host.to_owned(),
            answer: Answer::Tls(Arc::new(key)),
        }))
    }

    fn find<T>(&self, ask: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        let entries = self.entries.load();
        entries.as_ref()?.iter().find_map(|entry| ask(entry))
    }

    fn add(self: &Arc<Self>, entry: Entry) -> Offer {
        let entry = Arc::new(entry);
        self.change(|entries| entries.push(Arc::clone(&entry)));
        Offer {
            challenges: Arc::clone(self),
            entry,
        }
    }

    fn change(&self, edit: impl Fn(&mut Vec<Arc<Entry>>)) {
        self.entries.rcu(|old| {
            let mut entries = old.as_deref().cloned().unwrap_or_default();
            edit(&mut entries);
            (!entries.is_empty()).then(|| Arc::new(entries))
        });
    }
}

/// An answer in force; dropping it takes the answer back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Offer {
    challenges: Arc<Challenges>,
    entry: Arc<Entry>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.challenges
            .change(|entries| entries.retain(|other| !Arc::ptr_eq(other, &self.entry)));
    }
}

/// A self-signed certificate with the digest in the `acmeIdentifier` extension (RFC 8737, 3).
fn challenge_certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // The key was made two lines above, of the kind that is asked for here.
    let signing = any_ecdsa_type(&der).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_lives_as_long_as_its_offer() {
        let challenges = Arc::new(Challenges::default());
        assert!(challenges.is_empty());
        let one = challenges.offer_http("a.example", "tok", "tok.print");
        let two = challenges.offer_http("b.example", "tok", "other");
        assert_eq!(challenges.http01("A.example", "tok").unwrap(), "tok.print");
        assert_eq!(challenges.http01("b.example", "tok").unwrap(), "other");
        assert_eq!(challenges.http01("a.example", "else"), None);
        assert!(challenges.tls_alpn01("a.example").is_none());
        drop(one);
        assert_eq!(challenges.http01("a.example", "tok"), None);
        drop(two);
        assert!(challenges.is_empty());
    }
}
