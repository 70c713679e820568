//! The body of an answer, whoever makes it. Its end, whole or not, is the end of the request:
//! the target is released and the visitor's connection counts as waiting again.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::compress::{CompressedBody, GzipError};
use crate::file_body::FileBody;
use crate::pool::{Pool, Sender};
use crate::seen::Seen;
use crate::stall::Offered;
use crate::target::Claim;
use crate::trailers;
use crate::visitor_io::Busy;

/// An answer's body.
pub(crate) struct ReplyBody {
    content: Content,
    busy: Option<Busy>,
    seen: Option<Seen>,
    /// With HTTP/2, where it notes what was not taken yet.
    offered: Option<Offered>,
}

/// Where the bytes come from.
pub(crate) enum Content {
    Empty,
    Bytes(Bytes),
    File(FileBody),
    App(AppBody),
    /// Boxed, so that the others do not grow by it.
    Compressed(Box<CompressedBody>),
}

/// The body of an app's answer, with what is to be given back at its end.
pub(crate) struct AppBody {
    incoming: Incoming,
    ended: bool,
    sender: Option<Sender>,
    pool: Rc<Pool>,
    claim: Claim,
}

/// A body that stopped before its end; the visitor's connection is cut, so that it shows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the app's answer broke off")]
    App(#[from] hyper::Error),
    #[error("a file cannot be read to its end")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Gzip(#[from] GzipError),
}

impl ReplyBody {
    pub(crate) fn new(content: Content) -> ReplyBody {
        ReplyBody {
            content,
            busy: None,
            seen: None,
            offered: None,
        }
    }

    /// Notes there what the visitor does not take.
    pub(crate) fn noting(mut self, offered: Offered) -> ReplyBody {
        self.offered = Some(offered);
        self
    }

    /// Ties the end of the body to the visitor's connection and to what is noted about it.
    pub(crate) fn until_done(mut self, busy: Busy, seen: Seen) -> ReplyBody {
        self.busy = Some(busy);
        self.seen = Some(seen);
        self
    }
}

impl AppBody {
    pub(crate) fn new(incoming: Incoming, sender: Sender, pool: Rc<Pool>, claim: Claim) -> AppBody {
        AppBody {
            ended: incoming.is_end_stream(),
            incoming,
            sender: Some(sender),
            pool,
            claim,
        }
    }

    /// Whether the app has sent all of it.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let polled = polled.map_ok(|frame| match frame.into_trailers() {
            Ok(fields) => Frame::trailers(trailers::to_visitor(fields)),
            Err(data) => data,
        });
        if let Poll::Ready(frame) = &polled {
            self.ended = match frame {
                None => true,
                // Nothing comes after trailers.
                Some(Ok(frame)) => frame.is_trailers() || self.incoming.is_end_stream(),
                Some(Err(_)) => false,
            };
        }
        polled
    }
}

impl Drop for AppBody {
    fn drop(&mut self) {
        // After an answer read to its end the connection can carry another request. If the app
        // closes it, the pool finds out before it is used.
        if let (true, Some(sender)) = (self.ended, self.sender.take()) {
            self.pool.put(self.claim.address(), sender);
        }
    }
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match self {
            Content::Empty => Poll::Ready(None),
            Content::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::File(file) => file
                .poll(cx)
                .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk?)))),
            Content::App(app) => app.poll(cx).map(|frame| frame.map(|frame| Ok(frame?))),
            Content::Compressed(body) => body.poll(cx),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let polled = self.content.poll(cx);
        if let Some(offered) = &self.offered {
            let handed_out = matches!(polled, Poll::Ready(Some(Ok(_))));
            offered.set(handed_out.then(Instant::now));
        }
        if let (Some(seen), Poll::Ready(Some(Ok(frame)))) = (&mut self.seen, &polled) {
            seen.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::File(file) => file.left() == 0,
            Content::App(app) => app.is_end_stream(),
            Content::Compressed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::File(file) => SizeHint::with_exact(file.left()),
            Content::App(app) => app.incoming.size_hint(),
            // How far it shrinks shows at the end.
            Content::Compressed(_) => SizeHint::default(),
        }
    }
}
