//! A client's request on its way to git: unpacked when it came as gzip, and cut where it is larger
//! than it may be. Streams; a bomb costs the time of its allowed part.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio_util::io::StreamReader;

/// How long what a refused client still sends is read and thrown away: closing at once would
/// reset the connection, and the client lose the answer (nginx: `lingering_time`, 30 s).
const LINGER: Duration = Duration::from_secs(5);

/// How long the first bytes of a body may take.
const FIRST: Duration = Duration::from_secs(60);

/// How a request body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
}

impl Coding {
    /// What a head says; `None` for what git clients do not use.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Coding> {
        match headers
            .get(header::CONTENT_ENCODING)
            .map(HeaderValue::as_bytes)
        {
            None | Some(b"identity") => Some(Coding::Plain),
            Some(b"gzip" | b"x-gzip") => Some(Coding::Gzip),
            Some(_) => None,
        }
    }
}

/// The length that a head announces, in bytes.
pub(crate) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The request as git reads it, at most `limit` bytes; its error says in words for the client what
/// is wrong with it.
pub(crate) fn reader(body: Body, coding: Coding, limit: u64) -> impl AsyncRead + Unpin + Send {
    let raw = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let inner: Box<dyn AsyncRead + Unpin + Send> = match coding {
        Coding::Plain => Box::new(raw),
        Coding::Gzip => Box::new(GzipDecoder::new(BufReader::new(raw))),
    };
    Capped {
        inner,
        coding,
        left: limit,
    }
}

struct Capped {
    inner: Box<dyn AsyncRead + Unpin + Send>,
    coding: Coding,
    left: u64,
}

impl AsyncRead for Capped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let stopped_by = match &polled {
            Poll::Pending => return polled,
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len() - before;
                match self.left.checked_sub(count as u64) {
                    Some(left) => {
                        self.left = left;
                        return polled;
                    }
                    None => "the request is larger than this server takes",
                }
            }
            // Of a plain one the client is gone, and hears nothing.
            Poll::Ready(Err(_)) if self.coding == Coding::Plain => return polled,
            Poll::Ready(Err(_)) => "the request's gzip is damaged",
        };
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::other(stopped_by)))
    }
}

/// The same body once its first bytes are here, so that git is started for nobody who sends none;
/// `None` when they do not come.
pub(crate) async fn begun(body: Body) -> Option<Body> {
    let mut pieces = body.into_data_stream();
    let first = tokio::time::timeout(FIRST, pieces.next()).await.ok()?;
    Some(Body::from_stream(
        futures_util::stream::iter(first).chain(pieces),
    ))
}

/// Reads what a refused client is sending, and throws it away.
pub(crate) async fn linger(body: Body) {
    let mut pieces = body.into_data_stream();
    let _ = tokio::time::timeout(LINGER, async {
        while let Some(Ok(_)) = pieces.next().await {}
    })
    .await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(bytes: &[u8], coding: Coding, limit: u64) -> Result<usize, String> {
        let mut reader = reader(Body::from(bytes.to_vec()), coding, limit);
        let read = reader.read_to_end(&mut Vec::new()).await;
        read.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn exactly_the_limit_passes_and_a_byte_more_does_not() {
        assert_eq!(read(b"12345", Coding::Plain, 5).await, Ok(5));
        let error = read(b"123456", Coding::Plain, 5).await.unwrap_err();
        assert!(error.contains("larger"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_gzip_is_named() {
        let error = read(b"no gzip at all", Coding::Gzip, 100).await;
        assert!(error.unwrap_err().contains("gzip"));
    }
}
