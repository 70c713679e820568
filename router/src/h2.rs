//! A visitor's connection with HTTP/2. The limits are those that stop the known ways of abuse:
//! streams at a time, size of a head (also over CONTINUATION frames), streams that are reset
//! before or after they were answered, memory of windows. A silent connection is asked whether
//! it is alive, and closed when it was idle for long.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::{Instant, interval};

use crate::service;
use crate::visitor::Visitor;
use crate::visitor_io::VisitorIo;

/// Requests of one visitor at a time (nginx: `http2_max_concurrent_streams`).
const STREAMS: u32 = 128;
/// What a visitor may send ahead on one stream, in bytes: enough for an upload over a long line.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same over all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest head in bytes, as for HTTP/1.1.
const MAX_HEAD: u32 = 32 * 1024;
/// Unsent bytes of answers kept for a stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a visitor reset before we took them (CVE-2023-44487), and those we had to reset
/// (CVE-2025-8671): beyond these the connection is closed.
const RESETS: usize = 20;
const OWN_RESETS: usize = 200;
/// How often a silent visitor is asked for a sign of life, and how long it has for it.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);
/// How often it is looked whether a connection is idle.
const LOOK: Duration = Duration::from_secs(5);

/// The settings of every connection of a worker.
pub(crate) fn builder() -> http2::Builder<OnThisThread> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        // WebSocket (RFC 8441); `service` refuses all other tunnels.
        .enable_connect_protocol();
    builder
}

/// Serves the connection until it closes, breaks, is idle for long, or the edge stops.
pub(crate) async fn serve<S>(visitor: Rc<Visitor>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worker = visitor.worker.clone();
    let activity = visitor.activity.clone();
    // Heads come between other frames, so the limits on reading are those above.
    activity.becomes_multiplexed();
    let io = VisitorIo::new(stream, activity.clone(), &worker.limits);
    let watched = visitor.clone();
    let service = service_fn(move |request| {
        let (visitor, offered) = (visitor.clone(), visitor.stalls.watch());
        // Its state is some kilobytes, and it is handed on by value until it is a task: copying
        // that was an eighth of what a request costs outside of the kernel.
        Box::pin(async move {
            let response = service::answer(visitor, request).await?;
            Ok::<_, Infallible>(response.map(|body| body.noting(offered)))
        })
    });
    let connection = worker.http2.serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let limits = &worker.limits;
    let mut look = interval(LOOK.min(limits.idle).min(limits.write_idle));
    let mut answered = Instant::now();
    let mut closing = None;
    let mut begun = activity.begun();
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = worker.stopping.cancelled(), if closing.is_none() => {
                connection.as_mut().graceful_shutdown();
                closing = Some(Instant::now());
            }
            _ = look.tick() => {
                if watched.stalls.any_longer_than(limits.write_idle) {
                    // Dropping the connection ends its answers too.
                    break Ok(());
                }
                let so_far = activity.begun();
                if activity.is_answering() || so_far != begun {
                    begun = so_far;
                    answered = Instant::now();
                } else if let Some(since) = closing {
                    // The end of an answer is left, and nobody takes it.
                    if since.max(answered).elapsed() >= limits.write_idle {
                        break Ok(());
                    }
                } else if answered.elapsed() >= limits.idle {
                    connection.as_mut().graceful_shutdown();
                    closing = Some(Instant::now());
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a visitor's connection ended early");
    }
}

/// Answers run on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnThisThread;

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, answer: F) {
        spawn_local(answer);
    }
}
