//! A WebSocket's two connections, joined. Bytes pass as they come; where their frames end is
//! followed, so that a visitor can be told that the edge or the release goes away.
//!
//! What can never happen: a byte of ours amid a frame, a second Close to a side, data to the
//! visitor after the Close. The visitor hears it first and answers, and that answer is the Close
//! the app hears, after all that the visitor said before. Only for a visitor who does not answer
//! the edge closes towards the app itself. A tunnel keeps no buffer while both sides take what
//! they are given.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use crate::stall::Offered;
use crate::websocket::{Frames, close_for_app, close_for_visitor};

/// How long a visitor may take to answer the Close, and after that the app; browsers and servers
/// wait for each other about as long (Python's `websockets`: ten seconds).
const ANSWER: Duration = Duration::from_secs(5);
/// What is read at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// Passes bytes both ways until both sides are done, or one broke. When `leave` is ready, the
/// tunnel is closed the way WebSocket wants it, which takes twice [`ANSWER`] at most once the
/// app ended the frame it is at. `offered` is where it is noted since when the visitor takes
/// nothing.
pub(crate) async fn join<V, A>(
    visitor: V,
    app: A,
    offered: Option<Offered>,
    leave: impl Future<Output = ()>,
) where
    V: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let mut tunnel = Tunnel::new(visitor, app, offered);
    // A tunnel ends by one side closing or breaking; both are its normal end.
    tokio::select! {
        _ = tunnel.ends() => return,
        () = leave => {}
    }
    tunnel.down.close = Close::AfterFrame;
    if tunnel.closes().await.is_ok() && timeout(ANSWER, tunnel.ends()).await.is_err() {
        tunnel.give_up_visitor();
        let _ = timeout(ANSWER, tunnel.ends()).await;
    }
}

struct Tunnel<V, A> {
    visitor: V,
    app: A,
    /// From the app to the visitor.
    down: Way,
    /// From the visitor to the app.
    up: Way,
    visitor_given_up: bool,
    offered: Option<Offered>,
}

impl<V, A> Tunnel<V, A>
where
    V: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    fn new(visitor: V, app: A, offered: Option<Offered>) -> Tunnel<V, A> {
        Tunnel {
            visitor,
            app,
            down: Way::new(close_for_visitor),
            up: Way::new(|| close_for_app().unwrap_or_default()),
            visitor_given_up: false,
            offered,
        }
    }

    /// Passes bytes until the end.
    async fn ends(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Passes bytes until somebody said a Close, or the end.
    async fn closes(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let ended = self.poll(cx)?;
            if self.down.is_closing() || self.up.is_closing() {
                return Poll::Ready(Ok(()));
            }
            ended.map(Ok)
        })
        .await
    }

    fn give_up_visitor(&mut self) {
        self.visitor_given_up = true;
        if self.up.close == Close::AtEnd {
            self.up.close = Close::AfterFrame;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.up.is_closing() && !self.down.said {
            // The visitor closes, and the app's own answer is what they should get.
            self.down.close = Close::Never;
        }
        let down = self.down.poll(cx, &mut self.app, &mut self.visitor)?;
        if let Some(offered) = &self.offered {
            let since = offered.get().filter(|_| !self.down.moved);
            offered.set(
                self.down
                    .waits()
                    .then(|| since.unwrap_or_else(Instant::now)),
            );
            self.down.moved = false;
        }
        if self.down.said {
            if self.up.close == Close::Never {
                self.up.close = Close::AtEnd;
            }
            // After the app left, there is nobody to pass anything to.
            self.up.drops |= self.down.ended;
        }
        let up = self.up.poll(cx, &mut self.visitor, &mut self.app)?;
        if !self.down.said {
            return if down.is_ready() {
                up.map(Ok)
            } else {
                Poll::Pending
            };
        }
        if up.is_ready() || self.up.frames.is_closed() || self.visitor_given_up {
            // Both Closes were said: it is for the server to end the connection (7.1.1).
            ready!(self.down.shut(cx, &mut self.visitor))?;
            if down.is_ready() || self.down.frames.is_closed() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

/// When the edge says a Close of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Never,
    /// When the sender leaves without one.
    AtEnd,
    /// As soon as no frame is begun.
    AfterFrame,
}

/// One direction.
struct Way {
    /// How far the frames were passed on or dropped.
    frames: Frames,
    /// What was read and not yet taken.
    kept: Vec<u8>,
    close: Close,
    close_frame: fn() -> Vec<u8>,
    /// What of our Close was not yet taken.
    saying: Vec<u8>,
    /// Our Close was said, or is about to be.
    said: bool,
    /// Nothing passes any more.
    drops: bool,
    unflushed: bool,
    /// Something was taken since this was last looked at.
    moved: bool,
    /// The sender ended.
    ended: bool,
    /// The receiver was told of an end.
    shut: bool,
}

impl Way {
    fn new(close_frame: fn() -> Vec<u8>) -> Way {
        Way {
            frames: Frames::default(),
            kept: Vec::new(),
            close: Close::Never,
            close_frame,
            saying: Vec::new(),
            said: false,
            drops: false,
            unflushed: false,
            moved: false,
            ended: false,
            shut: false,
        }
    }

    fn is_closing(&self) -> bool {
        self.said || self.frames.is_closing()
    }

    /// Whether the receiver did not take all it was given yet.
    fn waits(&self) -> bool {
        let unfinished = self.ended && !self.said && !self.shut;
        self.unflushed || unfinished || !self.kept.is_empty() || !self.saying.is_empty()
    }

    /// Ready when the sender ended and all of it was passed on.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            let mut kept = std::mem::take(&mut self.kept);
            kept.drain(..self.offer(cx, to, &kept)?);
            self.kept = kept;
            if self.ended && self.kept.is_empty() && self.close != Close::Never {
                self.say_at_end();
            }
            while !self.saying.is_empty() {
                let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.saying))?;
                self.saying.drain(..taken);
                self.unflushed = true;
            }
            if !self.kept.is_empty() {
                return Poll::Pending;
            }
            if self.ended {
                ready!(self.flush(cx, to))?;
                // With a Close on its way, servers end by themselves, and some would not finish
                // their own after an end from us.
                let closes = self.close == Close::AtEnd && self.is_closing();
                if closes || self.said || self.drops {
                    return Poll::Ready(Ok(()));
                }
                return self.shut(cx, to);
            }
            let mut piece = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut *from).poll_read(cx, &mut piece) {
                Poll::Pending => {
                    ready!(self.flush(cx, to))?;
                    return Poll::Pending;
                }
                // While the edge closes, breaking off is an end like any other.
                Poll::Ready(Err(error)) if self.close == Close::Never => {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(_) => {}
            }
            let read = piece.filled();
            self.ended = read.is_empty();
            let done = self.offer(cx, to, read)?;
            self.kept = read[done..].to_vec();
        }
    }

    /// Passes on what the receiver takes of `bytes`, and drops what it must not get; returns how
    /// many that were.
    fn offer<W>(&mut self, cx: &mut Context<'_>, to: &mut W, bytes: &[u8]) -> io::Result<usize>
    where
        W: AsyncWrite + Unpin,
    {
        let mut done = 0;
        while !self.said && !self.drops {
            let rest = &bytes[done..];
            let mut allowed = rest.len();
            if self.close == Close::AfterFrame
                && !self.frames.is_closing()
                && let Some(end) = self.frames.left_in(rest)
            {
                if end == 0 {
                    self.say();
                    break;
                }
                allowed = end;
            }
            if allowed == 0 {
                return Ok(done);
            }
            let Poll::Ready(taken) = Pin::new(&mut *to).poll_write(cx, &rest[..allowed])? else {
                return Ok(done);
            };
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.frames.follow(&rest[..taken]);
            self.unflushed = true;
            self.moved = true;
            done += taken;
        }
        self.frames.follow(&bytes[done..]);
        Ok(bytes.len())
    }

    fn say_at_end(&mut self) {
        if !self.is_closing() && !self.drops && self.frames.is_between() {
            self.say();
        }
    }

    fn say(&mut self) {
        self.said = true;
        self.saying = (self.close_frame)();
    }

    fn flush<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn shut<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        if !self.shut {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
