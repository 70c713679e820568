//! Calls whose nonce the authority refused are made again.
//!
//! A refused nonce means that nothing was done. instant-acme gives up after three, which an
//! authority that refuses half of them (as Pebble may be told to) reaches in one call of eight.

use instant_acme::Error;

use super::failure::short_type;

/// How often a call is made in all.
pub(crate) const TRIES: u32 = 8;

/// Whether a call failed because of its nonce alone.
pub(crate) fn refused(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if short_type(problem) == "badNonce")
}

/// Makes the call, again and again while its nonce is refused. A macro, because the futures of
/// an async closure are not known to be `Send`.
macro_rules! patiently {
    ($call:expr) => {{
        let mut tries = 1;
        loop {
            match $call.await {
                Err(error)
                    if $crate::acme::nonce::refused(&error)
                        && tries < $crate::acme::nonce::TRIES =>
                {
                    tries += 1;
                }
                result => break result,
            }
        }
    }};
}

pub(crate) use patiently;
