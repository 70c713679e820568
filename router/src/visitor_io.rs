//! A visitor's connection with time limits on it. Every wait has an end: for the head of a
//! request, between two requests, for a visitor who takes nothing. hyper has one limit for the
//! first two; ten seconds are right for a head and wrong for keep-alive.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;

/// How long we read on after we are done, so that the visitor sees an answer given before all of
/// its request was read (closing at once would reset the connection).
const LINGER: Duration = Duration::from_secs(2);

/// What the connection is doing, told by the service to the socket.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Even while a request is awaited, odd while one is answered, so each wait has its own
    /// number; `TUNNEL` once reading has no limits of its own.
    turn: AtomicU64,
    /// Whether part of a request was not read.
    unread: AtomicBool,
    /// Requests that are being answered; more than one with HTTP/2 alone.
    answering: AtomicUsize,
    /// Requests that were ever begun.
    begun: AtomicU64,
}

/// No limits on reading: bytes of another protocol, or frames of many requests.
const TUNNEL: u64 = u64::MAX;

/// A request is being answered until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    pub(crate) fn begin(self: &Arc<Activity>) -> Busy {
        self.answering.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        self.next_turn();
        Busy(self.clone())
    }

    /// Whether any request is being answered.
    pub(crate) fn is_answering(&self) -> bool {
        self.answering.load(Relaxed) > 0
    }

    /// How many requests were ever begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Requests come between each other from now on, so turns say nothing.
    pub(crate) fn becomes_multiplexed(&self) {
        self.becomes_tunnel();
    }

    /// Whether requests come between each other; a tunnel has no more of them.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.turn.load(Relaxed) == TUNNEL
    }

    fn next_turn(&self) {
        let turn = self.turn.load(Relaxed);
        if turn != TUNNEL {
            self.turn.store(turn + 1, Relaxed);
        }
    }

    /// No limits on reading from now on.
    pub(crate) fn becomes_tunnel(&self) {
        self.turn.store(TUNNEL, Relaxed);
    }

    pub(crate) fn set_unread(&self, unread: bool) {
        // A stream of HTTP/2 ends without the connection.
        if self.turn.load(Relaxed) != TUNNEL {
            self.unread.store(unread, Relaxed);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Relaxed);
        self.0.next_turn();
    }
}

/// The connection.
#[derive(Debug)]
pub(crate) struct VisitorIo<S> {
    stream: S,
    activity: Arc<Activity>,
    header_read: Duration,
    idle: Duration,
    write_idle: Duration,
    /// The turn `reading` belongs to.
    turn: u64,
    head_begun: bool,
    reading: Deadline,
    writing: Deadline,
    /// Reads in a row that did not have to wait.
    reads: u32,
    rest: Option<Rest>,
}

/// Reads in a row after which the other connections of the worker have their turn, sockets
/// included. Without it eight visitors who send frames without end stop all others (a request
/// took 1.8 s); every fourth is a yield for each 64 KiB of an upload.
const READS: u32 = 4;

/// A turn for the others.
struct Rest(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl<S> VisitorIo<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>, limits: &Limits) -> VisitorIo<S> {
        VisitorIo {
            stream,
            activity,
            header_read: limits.header_read,
            idle: limits.idle,
            write_idle: limits.write_idle,
            turn: 0,
            head_begun: false,
            reading: Deadline::default(),
            writing: Deadline::default(),
            reads: 0,
            rest: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for VisitorIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Whoever sends without end lets the others, and the sockets, have their turn.
        if let Some(rest) = &mut this.rest {
            ready!(rest.0.as_mut().poll(cx));
            this.rest = None;
        }
        this.reads += 1;
        if this.reads > READS {
            this.reads = 0;
            let mut rest = Rest(Box::pin(tokio::task::yield_now()));
            if rest.0.as_mut().poll(cx).is_pending() {
                this.rest = Some(rest);
                return Poll::Pending;
            }
        }
        let turn = this.activity.turn.load(Relaxed);
        let awaiting = turn.is_multiple_of(2);
        if turn != this.turn {
            this.turn = turn;
            this.head_begun = false;
            this.reading.clear();
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() {
            this.reads = 0;
        }
        if !awaiting {
            return read;
        }
        if read.is_ready() {
            if !this.head_begun {
                this.head_begun = true;
                // The first head's time began with the connection.
                if turn > 0 {
                    this.reading.clear();
                }
                this.reading.start(this.header_read);
            }
            return read;
        }
        let limit = if this.head_begun || turn == 0 {
            this.header_read
        } else {
            this.idle
        };
        this.reading.start(limit);
        ready!(this.reading.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for VisitorIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write(cx, buffer);
        this.writing.guard(cx, this.write_idle, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, buffers);
        this.writing.guard(cx, this.write_idle, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.activity.unread.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        this.writing.start(LINGER);
        let mut scrap = [0; 4096];
        loop {
            if this.writing.poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// A time limit that is cheap to set anew: the timer is moved only when it would be late, and
/// goes on when it fires early.
#[derive(Debug, Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn clear(&mut self) {
        self.at = None;
    }

    /// Sets it, unless it is set.
    fn start(&mut self, limit: Duration) {
        self.at.get_or_insert_with(|| Instant::now() + limit);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }

    /// Limits how long a write may make no progress.
    fn guard<T>(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.clear();
            return written;
        }
        self.start(limit);
        ready!(self.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests;
