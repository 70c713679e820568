//! One direction of a tunnel: bytes pass, are kept while the receiver takes none, or are dropped
//! after a Close of ours.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::websocket::Frames;

/// What is read at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// When the edge says a Close of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Never,
    /// When the sender leaves without one.
    AtEnd,
    /// As soon as no frame is begun.
    AfterFrame,
}

/// One direction.
pub(super) struct Way {
    /// How far the frames were passed on or dropped.
    pub(super) frames: Frames,
    /// What was read and not yet taken.
    kept: Vec<u8>,
    pub(super) close: Close,
    close_frame: fn() -> Vec<u8>,
    /// What of our Close was not yet taken.
    saying: Vec<u8>,
    /// Our Close was said, or is about to be.
    pub(super) said: bool,
    /// Nothing passes any more.
    pub(super) drops: bool,
    unflushed: bool,
    /// Something was taken since this was last looked at.
    pub(super) moved: bool,
    /// The sender ended.
    pub(super) ended: bool,
    /// The receiver was told of an end.
    shut: bool,
}

impl Way {
    pub(super) fn new(close_frame: fn() -> Vec<u8>) -> Way {
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

    pub(super) fn is_closing(&self) -> bool {
        self.said || self.frames.is_closing()
    }

    /// Whether the receiver did not take all it was given yet.
    pub(super) fn waits(&self) -> bool {
        let unfinished = self.ended && !self.said && !self.shut;
        self.unflushed || unfinished || !self.kept.is_empty() || !self.saying.is_empty()
    }

    /// Ready when the sender ended and all of it was passed on.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
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

    pub(super) fn shut<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
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
