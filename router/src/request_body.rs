//! A visitor's body: counted against the route's limit and cut when the visitor pauses too long
//! while it arrives. It goes to the app as it comes, or whole once `spool` has gathered it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::pages::Page;
use crate::spool::Whole;
use crate::visitor_io::Activity;

/// The body.
pub(crate) struct RequestBody {
    content: Content,
}

enum Content {
    Empty,
    Streaming(Streaming),
    Whole(Whole),
}

struct Streaming {
    incoming: Incoming,
    /// Bytes it may still have.
    room: u64,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Rc<Progress>,
    activity: Arc<Activity>,
}

/// Who is being waited for while a body is sent, so that a slow upload does not count as a slow
/// app.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Cell<Instant>,
    waits_for_visitor: Cell<bool>,
}

/// A body that did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("the request body is larger than the limit")]
    TooLarge,
    #[error("the visitor paused too long")]
    Stalled,
    #[error("the visitor's connection broke")]
    Broken(#[from] hyper::Error),
    #[error("the visitor took the request back")]
    TakenBack,
    #[error("the body cannot be read back from its file")]
    Lost(#[source] std::io::Error),
}

impl RequestBodyError {
    /// What the visitor is told.
    pub(crate) fn page(&self) -> Page {
        match self {
            RequestBodyError::TooLarge => Page::TooLarge,
            RequestBodyError::Stalled => Page::RequestTimeout,
            RequestBodyError::Broken(_) | RequestBodyError::TakenBack => Page::BadRequest,
            RequestBodyError::Lost(_) => Page::NoRoom,
        }
    }
}

impl Progress {
    pub(crate) fn new() -> Rc<Progress> {
        Rc::new(Progress {
            last: Cell::new(Instant::now()),
            waits_for_visitor: Cell::new(false),
        })
    }

    /// A piece went on; nobody keeps the other waiting.
    pub(crate) fn moved(&self) {
        self.waits_for_visitor.set(false);
        self.last.set(Instant::now());
    }

    /// Since when the app alone keeps us waiting.
    pub(crate) fn app_since(&self) -> Instant {
        if self.waits_for_visitor.get() {
            Instant::now()
        } else {
            self.last.get()
        }
    }
}

impl RequestBody {
    pub(crate) fn empty() -> RequestBody {
        RequestBody {
            content: Content::Empty,
        }
    }

    /// One that is here to its last byte.
    pub(crate) fn whole(whole: Whole) -> RequestBody {
        RequestBody {
            content: Content::Whole(whole),
        }
    }

    /// Passes `incoming` on, at most `limit` bytes of it, pausing at most `idle`.
    pub(crate) fn new(
        incoming: Incoming,
        limit: u64,
        idle: Duration,
        progress: Rc<Progress>,
        activity: Arc<Activity>,
    ) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody {
            content: Content::Streaming(Streaming {
                incoming,
                room: limit,
                idle,
                timer: None,
                progress,
                activity,
            }),
        }
    }
}

impl Streaming {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.wait(cx).map(|()| Some(Err(RequestBodyError::Stalled)));
        };
        self.timer = None;
        self.progress.moved();
        let data = match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => data,
            // A reset that names no error reads like an end, and the app would take a part of the
            // body for all of it (HTTP/1 has no such end: it breaks the connection).
            None if self.activity.is_multiplexed() && !self.incoming.is_end_stream() => {
                return Poll::Ready(Some(Err(RequestBodyError::TakenBack)));
            }
            // Trailers end here: they could name any field past the rules for the head.
            Some(Err(_)) | None => {
                self.activity.set_unread(false);
                return Poll::Ready(None);
            }
        };
        let Some(room) = self.room.checked_sub(data.len() as u64) else {
            return Poll::Ready(Some(Err(RequestBodyError::TooLarge)));
        };
        self.room = room;
        if self.incoming.is_end_stream() {
            self.activity.set_unread(false);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.progress.waits_for_visitor.set(true);
        let idle = self.idle;
        self.timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)))
            .as_mut()
            .poll(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Streaming(streaming) => streaming.poll(cx),
            Content::Whole(whole) => whole.poll(cx).map(|piece| {
                Some(piece?.map(Frame::data).map_err(|error| {
                    tracing::error!(%error, "a request body cannot be read back from its file");
                    RequestBodyError::Lost(error)
                }))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Streaming(streaming) => streaming.incoming.is_end_stream(),
            Content::Whole(whole) => whole.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Streaming(streaming) => streaming.incoming.size_hint(),
            Content::Whole(whole) => SizeHint::with_exact(whole.left()),
        }
    }
}
