//! The body of a delivery, read and checked piece by piece: small ones are held freely, large ones
//! two at a time, and none longer than a forge waits for an answer. One whose headers cannot be
//! right is read and checked all the same, and nothing of it is held.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use super::Verifier;

/// The largest payload that GitHub sends, in bytes; the others send less.
pub(super) const LARGEST: usize = 25 * 1024 * 1024;
/// A body up to here takes no permit, in bytes: an ordinary push has 5 to 20 KiB.
const SMALL: usize = 32 * 1024;
/// Larger bodies in memory at once.
const LARGE_AT_ONCE: usize = 2;
/// What the room for a large body grows by, in bytes: not by doubling, which would take twice.
const STEP: usize = 1024 * 1024;
/// Time for the whole body; github.com gives up after 10 s.
const TIME: Duration = Duration::from_secs(8);

/// The right to hold large bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is longer than [`LARGEST`].
    TooLarge,
    /// It did not come, or no room came free, in time.
    TooSlow,
    /// The connection broke.
    Broken,
}

/// A body that came whole. It is in memory while this is there.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// Whether the forge has sent it.
    pub(super) proven: bool,
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new() -> Room {
        Room(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }

    /// Reads a body to its end while `verifier` looks at it.
    pub(super) async fn hold(
        &self,
        body: Body,
        verifier: Verifier,
        announced: Option<u64>,
    ) -> Result<Held, BodyError> {
        if announced.is_some_and(|length| length > LARGEST as u64) {
            return Err(BodyError::TooLarge);
        }
        tokio::time::timeout(TIME, self.read(body, verifier))
            .await
            .unwrap_or(Err(BodyError::TooSlow))
    }

    async fn read(&self, body: Body, mut verifier: Verifier) -> Result<Held, BodyError> {
        let mut bytes = Vec::new();
        let mut length = 0;
        let mut permit = None;
        let kept = verifier.may_be_right();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| BodyError::Broken)?;
            length += piece.len();
            if length > LARGEST {
                return Err(BodyError::TooLarge);
            }
            // Only of what is kept: who cannot sign must not keep out those who can.
            if kept && length > SMALL && permit.is_none() {
                let room = self.0.clone();
                permit = room.acquire_owned().await.ok();
            }
            verifier.update(&piece);
            if kept {
                if length > bytes.capacity() && length > SMALL {
                    bytes.reserve_exact(piece.len().max(STEP));
                }
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(Held {
            bytes,
            proven: verifier.finish(),
            _permit: permit,
        })
    }
}
