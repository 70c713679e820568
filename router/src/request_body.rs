//! A visitor's body on its way to the app: counted against the route's limit, cut when the
//! visitor pauses too long, never held in memory.

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

use crate::visitor_io::Activity;

/// The body.
pub(crate) struct RequestBody {
    incoming: Option<Streaming>,
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
}

impl Progress {
    pub(crate) fn new() -> Rc<Progress> {
        Rc::new(Progress {
            last: Cell::new(Instant::now()),
            waits_for_visitor: Cell::new(false),
        })
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
        RequestBody { incoming: None }
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
            incoming: Some(Streaming {
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
        self.progress.waits_for_visitor.set(false);
        self.progress.last.set(Instant::now());
        let data = match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => data,
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
        match &mut self.incoming {
            Some(streaming) => streaming.poll(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming
            .as_ref()
            .is_none_or(|streaming| streaming.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or(SizeHint::with_exact(0), |streaming| {
                streaming.incoming.size_hint()
            })
    }
}
