//! A visitor's connection: HTTP/1 on it until it closes, breaks, runs out of time or the edge
//! stops. A panic while answering ends this connection and no other.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::address_cap::Place;
use crate::h2;
use crate::headers::Scheme;
use crate::service;
use crate::stall::Stalls;
use crate::tls;
use crate::visitor_io::{Activity, VisitorIo};
use crate::worker::{Open, Worker};

/// How often a connection of an edge that leaves is looked at, when `linger` is shorter.
const LOOK: Duration = Duration::from_millis(50);

/// What is known about a connection.
pub(crate) struct Visitor {
    pub(crate) worker: Rc<Worker>,
    /// The peer's address as apps are told it.
    pub(crate) address: HeaderValue,
    pub(crate) scheme: Scheme,
    pub(crate) activity: Arc<Activity>,
    /// What of its answers and tunnels a visitor with HTTP/2 does not take.
    pub(crate) stalls: Stalls,
    /// Held until the connection, or the tunnel it became, is closed.
    _open: Open,
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Visitor {
    pub(crate) fn new(
        worker: Rc<Worker>,
        peer: IpAddr,
        scheme: Scheme,
        permit: OwnedSemaphorePermit,
        place: Place,
    ) -> Rc<Visitor> {
        // An IPv4 visitor on an IPv6 listener is still an IPv4 visitor.
        let address = HeaderValue::try_from(peer.to_canonical().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Rc::new(Visitor {
            address,
            scheme,
            activity: Arc::default(),
            stalls: Stalls::default(),
            _open: worker.opened(),
            worker,
            _permit: permit,
            _place: place,
        })
    }
}

/// Serves a connection with TLS: the handshake, then the protocol that was agreed in it.
pub(crate) async fn serve_tls(visitor: Rc<Visitor>, acceptor: TlsAcceptor, stream: TcpStream) {
    let worker = visitor.worker.clone();
    let handshake = timeout(worker.limits.handshake, acceptor.accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        // Scanners, and visitors of hosts that have no certificate.
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    match stream.get_ref().1.alpn_protocol() {
        Some(tls::H2) => h2::serve(visitor, stream).await,
        // The handshake was the answer.
        Some(tls::ACME) => {}
        _ => serve(visitor, stream).await,
    }
}

/// Serves the connection with HTTP/1.
pub(crate) async fn serve<S>(visitor: Rc<Visitor>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worker = visitor.worker.clone();
    let io = VisitorIo::new(stream, visitor.activity.clone(), &worker.limits);
    let activity = visitor.activity.clone();
    let service = service_fn(move |request| service::answer(visitor.clone(), request));
    let connection = worker
        .http
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = worker.stopping.cancelled() => tokio::select! {
            // Its next answer closes it: `service` says so to the visitor.
            ended = connection.as_mut() => ended,
            () = silent(&activity, worker.grace().linger) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        // Visitors break off and send nonsense every minute of the day.
        tracing::debug!(%error, "a visitor's connection ended early");
    }
}

/// Ready once no request came for `linger` and none is being answered.
async fn silent(activity: &Activity, linger: Duration) {
    let mut begun = activity.begun();
    loop {
        sleep(linger.max(LOOK)).await;
        let so_far = activity.begun();
        if so_far == begun && !activity.is_answering() {
            return;
        }
        begun = so_far;
    }
}
