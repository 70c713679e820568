//! A WebSocket's two connections, joined. Bytes pass as they come; where their frames end is
//! followed, so that a visitor can be told that the edge or the release goes away.
//!
//! What can never happen: a byte of ours amid a frame, a second Close to a side, data to the
//! visitor after the Close. The visitor hears it first and answers, and that answer is the Close
//! the app hears, after all that the visitor said before. Only for a visitor who does not answer
//! the edge closes towards the app itself. A tunnel keeps no buffer while both sides take what
//! they are given.

mod way;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use crate::stall::Offered;
use crate::websocket::{close_for_app, close_for_visitor};

use self::way::{Close, Way};

/// How long a visitor may take to answer the Close, and after that the app; browsers and servers
/// wait for each other about as long (Python's `websockets`: ten seconds).
const ANSWER: Duration = Duration::from_secs(5);

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

#[cfg(test)]
mod tests;
