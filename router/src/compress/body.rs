//! The body of a compressed answer: when what the app sent goes on.
//!
//! What the app sends in small parts is gathered while more of it is there, because every part
//! that goes on alone costs compression. When nothing more is there, what is gathered goes on at
//! once, so an answer that streams arrives part by part. Gathered are at most 64 KiB and what the
//! app's connection hands over at a time, 64 KiB too, for 10 ms at most: a worker compresses these
//! in half a millisecond, then others have their turn. While an answer waits for its app, or for
//! its visitor, it holds no buffer.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;

use super::gzip::{Gzip, Member};
use crate::reply::{AppBody, ReplyError};

/// What is gathered before it goes on, in bytes.
const PIECE: usize = 64 * 1024;

/// How long a part waits for others, when others come all the time and the worker is busy.
const LONGEST_WAIT: Duration = Duration::from_millis(10);
/// How often in a row nothing more must be there until it counts. The app's connection is another
/// task of this thread and hands over one read, or one chunk, at a time; it gets its turn when we
/// give up ours. hyper asks an HTTP/1 body twice before it does.
const ASKED: u8 = 2;

/// An app's body on its way through gzip.
pub(crate) struct CompressedBody {
    app: AppBody,
    member: Member,
    gathered: Vec<u8>,
    /// When the first of it came.
    since: Instant,
    /// How often in a row nothing more was there.
    asked: u8,
    ended: bool,
}

impl CompressedBody {
    pub(crate) fn new(app: AppBody, gzip: Rc<Gzip>) -> CompressedBody {
        CompressedBody {
            app,
            member: Member::new(gzip),
            gathered: Vec::new(),
            since: Instant::now(),
            asked: 0,
            ended: false,
        }
    }

    /// Whether the last piece was handed out.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            match self.app.poll(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.asked = 0;
                    // Trailers are about the app's bytes, and few visitors can read them.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let is_last = self.app.is_end_stream();
                    if self.gathered.is_empty() {
                        if is_last || data.len() >= PIECE {
                            return self.piece(&data, is_last);
                        }
                        self.since = Instant::now();
                    }
                    self.gathered.extend_from_slice(&data);
                    let enough =
                        self.gathered.len() >= PIECE || self.since.elapsed() >= LONGEST_WAIT;
                    if is_last || enough {
                        return self.gathered_piece(is_last);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return self.gathered_piece(true),
                Poll::Pending if self.gathered.is_empty() => return Poll::Pending,
                Poll::Pending if self.asked < ASKED => {
                    self.asked += 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return self.gathered_piece(false),
            }
        }
    }

    fn gathered_piece(&mut self, is_last: bool) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let gathered = std::mem::take(&mut self.gathered);
        self.piece(&gathered, is_last)
    }

    fn piece(
        &mut self,
        data: &[u8],
        is_last: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        self.ended = is_last;
        let piece = self.member.piece(data, is_last);
        Poll::Ready(Some(piece.map(Frame::data).map_err(ReplyError::from)))
    }
}
