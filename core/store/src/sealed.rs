//! Values that are on disk in sealed form alone: XChaCha20-Poly1305 under one key, with a fresh
//! random nonce of 24 bytes each time. The app and what the value is are authenticated with it,
//! so a sealed value that is copied to another row, app or release does not open there.

use std::io;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::StoreError;

/// The first byte of a sealed value; another way to seal takes another number.
const FORMAT: u8 = 1;
const NONCE: usize = 24;

/// Seals and opens; it never shows the key.
pub(crate) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Sealer {
        Sealer(XChaCha20Poly1305::new(key.into()))
    }

    pub(crate) fn seal(&self, app: &str, what: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
        let context = context(app, what);
        let payload = Payload {
            msg: plain,
            aad: &context,
        };
        let text = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| unsealable(app, what))?;
        let mut sealed = Vec::with_capacity(1 + NONCE + text.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    pub(crate) fn open(&self, app: &str, what: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (nonce, text) = sealed
            .strip_prefix(&[FORMAT])
            .and_then(|rest| rest.split_first_chunk::<NONCE>())
            .ok_or_else(|| unsealable(app, what))?;
        let context = context(app, what);
        let payload = Payload {
            msg: text,
            aad: &context,
        };
        self.0
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| unsealable(app, what))
    }
}

/// No app name has a `/`, so no two pairs give the same bytes.
fn context(app: &str, what: &str) -> Vec<u8> {
    format!("zarpar/{app}/{what}").into_bytes()
}

fn unsealable(app: &str, what: &str) -> StoreError {
    StoreError::Unsealable {
        app: app.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_opens_in_its_own_place_alone() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal("tienda", "env", b"hola").unwrap();
        assert_eq!(sealer.open("tienda", "env", &sealed).unwrap(), b"hola");
        for (app, what) in [("otra", "env"), ("tienda", "secrets"), ("tiend", "a/env")] {
            assert!(sealer.open(app, what, &sealed).is_err(), "{app} {what}");
        }
        assert!(
            Sealer::new(&[8; 32])
                .open("tienda", "env", &sealed)
                .is_err()
        );
    }

    #[test]
    fn any_changed_byte_is_seen_and_no_two_sealings_are_alike() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal("a", "env", b"").unwrap();
        assert_ne!(sealed, sealer.seal("a", "env", b"").unwrap());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open("a", "env", &changed).is_err(), "byte {at}");
            assert!(sealer.open("a", "env", &sealed[..at]).is_err(), "cut {at}");
        }
    }
}
