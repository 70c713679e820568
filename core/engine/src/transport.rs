//! One connection per request to the engine's socket.
//!
//! bollard brings its own connectors; this one exists because of builds. A
//! BuildKit build opens a session (a connection turned around into gRPC) that
//! neither bollard nor the engine closes when the build ends. Each build dials
//! through a [`CancellationToken`] of its own; when the build's future ends or is
//! dropped, every connection it made is severed, and none is left behind.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::BollardRequest;
use bollard::errors::Error;
use http::HeaderValue;
use http::header::HOST;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Where the engine listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// `host:port`, unencrypted: for an engine behind a tunnel or on a test network.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(authority) => f.write_str(authority),
        }
    }
}

/// Dials `address` for each request; `severed` cuts every connection it made.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    pub(crate) address: Address,
    pub(crate) severed: Option<CancellationToken>,
}

impl Transport {
    pub(crate) async fn request(
        self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let dialled = dial(&self.address).await.map_err(|source| {
            let address = self.address.to_string();
            io::Error::new(source.kind(), DialError { address, source })
        })?;
        match self.severed {
            Some(token) => {
                let cut = Box::pin(token.cancelled_owned());
                send(Severable { io: dialled, cut }, request).await
            }
            None => send(dialled, request).await,
        }
    }
}

/// Marks an I/O error as "nobody answered", apart from a connection that broke later.
#[derive(Debug, thiserror::Error)]
#[error("no answer on `{address}`")]
pub(crate) struct DialError {
    pub(crate) address: String,
    #[source]
    pub(crate) source: io::Error,
}

impl DialError {
    /// Takes the dial error back out, or hands the error back.
    pub(crate) fn find(error: io::Error) -> Result<Self, io::Error> {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            let kind = error.kind();
            match error.into_inner().map(|inner| inner.downcast::<Self>()) {
                Some(Ok(dial)) => Ok(*dial),
                _ => Err(kind.into()),
            }
        } else {
            Err(error)
        }
    }
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

async fn dial(address: &Address) -> io::Result<Box<dyn Connection>> {
    Ok(match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(authority) => Box::new(TcpStream::connect(authority).await?),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the task ends with its connection, which whoever sends the request owns"
)]
async fn send(
    connection: impl Connection + 'static,
    mut request: BollardRequest,
) -> Result<Response<Incoming>, Error> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    // Ends by itself: with the response body, when that body or the request is
    // dropped, or when the engine closes. It holds nothing but its socket.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(%error, "engine connection ended");
        }
    });
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    // The engine ignores the host, HTTP/1.1 does not.
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("docker"));
    Ok(sender.send_request(request).await?)
}

/// A connection that reads as ended once its token is cancelled, also after it
/// was upgraded and handed to somebody else's task.
struct Severable<C> {
    io: C,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Severable<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Severable<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
