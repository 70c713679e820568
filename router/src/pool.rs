//! Connections to the apps, of one worker thread.
//!
//! Kept: idle connections for each target, the newest used first, for a second at most. What can
//! never happen: a connection handed out that is known to be closed, or that still carries
//! another answer. What the pool cannot know (the app closing it at this instant) is why only
//! requests that may be sent twice ride on kept connections; see `proxy`.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Limits;
use crate::request_body::RequestBody;

/// The sending side of a connection to an app.
pub(crate) type Sender = SendRequest<RequestBody>;

/// The largest head of an answer, in bytes.
const MAX_BUFFER: usize = 64 * 1024;

/// Idle connections.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<SocketAddr, VecDeque<Kept>>>,
    filled: Notify,
    connect: Duration,
    keep_for: Duration,
    keep: usize,
}

#[derive(Debug)]
struct Kept {
    sender: Sender,
    since: Instant,
}

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection to the app")]
    Refused(#[from] io::Error),
    #[error("the app did not accept a connection in time")]
    Timeout,
    #[error("the connection to the app broke at once")]
    Handshake(#[from] hyper::Error),
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Pool {
        Pool {
            idle: RefCell::default(),
            filled: Notify::new(),
            connect: limits.connect,
            keep_for: limits.upstream_idle,
            keep: limits.upstream_kept,
        }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Result<Sender, ConnectError> {
        self.connect_within(address, self.connect).await
    }

    /// Opens a connection or gives up sooner than usual.
    pub(crate) async fn connect_within(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<Sender, ConnectError> {
        let stream = timeout(limit.min(self.connect), TcpStream::connect(address))
            .await
            .map_err(|_| ConnectError::Timeout)??;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the connection; its errors reach whoever waits for an answer on it.
        spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// A kept connection that can carry a request now.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&address)?;
        let now = Instant::now();
        kept.retain(|kept| !kept.sender.is_closed() && now - kept.since < self.keep_for);
        // One whose last answer just ended may need a moment; it stays.
        let ready = kept.iter().rposition(|kept| kept.sender.is_ready())?;
        kept.remove(ready).map(|kept| kept.sender)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn put(&self, address: SocketAddr, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(address).or_default();
        if kept.len() >= self.keep {
            kept.pop_front();
        }
        kept.push_back(Kept {
            sender,
            since: Instant::now(),
        });
        self.filled.notify_one();
    }

    /// Closes what was idle too long. Sleeps without a timer while nothing is kept.
    pub(crate) async fn sweep(&self) {
        loop {
            self.filled.notified().await;
            while !self.idle.borrow().is_empty() {
                sleep(self.keep_for).await;
                let now = Instant::now();
                self.idle.borrow_mut().retain(|_, kept| {
                    kept.retain(|kept| {
                        !kept.sender.is_closed() && now - kept.since < self.keep_for
                    });
                    !kept.is_empty()
                });
            }
        }
    }
}
