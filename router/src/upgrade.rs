//! WebSocket through the edge: nothing passes before the app said 101, and the target is held
//! until the tunnel is closed. When the target falls out of the table or the edge stops, the
//! visitor is told at once and has until the drain's limit; see `tunnel`.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join;
use http::header::UPGRADE;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::extended_connect::{self, is_accepted};
use crate::headers;
use crate::pages::Page;
use crate::reply::{Content, ReplyBody};
use crate::target::Claim;
use crate::tunnel;
use crate::visitor::Visitor;
use crate::worker::Worker;

/// Visitors who are told to leave come back at once, and the new release has just started: each
/// request at the target lengthens the time over which they are told by `PAUSE`. The longest is
/// far below the usual limit of a drain.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A visitor's wish to change to another protocol.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    visitor: OnUpgrade,
    /// On a stream of HTTP/2, what the app must answer to the key that we made.
    accept: Option<HeaderValue>,
}

impl Upgrade {
    /// The wish, when the request has one that is allowed.
    pub(crate) fn asked(request: &mut Request<Incoming>) -> Option<Upgrade> {
        if extended_connect::is_asked(request) {
            return Some(Upgrade {
                protocol: extended_connect::WEBSOCKET,
                visitor: hyper::upgrade::on(&mut *request),
                accept: Some(extended_connect::to_handshake(request)),
            });
        }
        let may = *request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream();
        let protocol = headers::websocket_upgrade(request.headers()).filter(|_| may)?;
        Some(Upgrade {
            protocol,
            visitor: hyper::upgrade::on(request),
            accept: None,
        })
    }

    /// Whether an answer that is no switch would look like one: any success to a CONNECT does.
    pub(crate) fn would_open(&self, status: StatusCode) -> bool {
        self.accept.is_some() && status.is_success()
    }

    pub(crate) fn protocol(&self) -> HeaderValue {
        self.protocol.clone()
    }

    /// Passes on the app's 101 and joins the two connections behind it.
    pub(crate) fn accept(
        self,
        visitor: &Rc<Visitor>,
        mut response: Response<Incoming>,
        claim: Claim,
    ) -> Result<Response<ReplyBody>, Page> {
        let same = response.headers().get(UPGRADE).is_some_and(|protocol| {
            protocol
                .as_bytes()
                .eq_ignore_ascii_case(self.protocol.as_bytes())
        });
        let ours = self.accept.as_ref();
        if !same || !ours.is_none_or(|accept| is_accepted(response.headers_mut(), accept)) {
            return Err(Page::BadGateway);
        }
        let app = hyper::upgrade::on(&mut response);
        visitor.activity.becomes_tunnel();
        // The connection is not idle while a stream of it is a tunnel.
        let holder = (visitor.clone(), visitor.activity.begin());
        let offered = self.accept.as_ref().map(|_| visitor.stalls.watch());
        spawn_local(async move {
            // An error means that one side left before the other had switched.
            if let Ok((visitor, app)) = try_join(self.visitor, app).await {
                let leave = pin!(leave(&claim, &holder.0.worker));
                let (visitor, app) = (TokioIo::new(visitor), TokioIo::new(app));
                tunnel::join(visitor, app, offered, leave).await;
            }
            drop((claim, holder));
        });
        let mut accepted = Response::new(ReplyBody::new(Content::Empty));
        *accepted.headers_mut() = std::mem::take(response.headers_mut());
        headers::to_visitor(accepted.headers_mut(), false);
        if self.accept.is_none() {
            *accepted.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            headers::set_upgrade(accepted.headers_mut(), self.protocol);
        }
        Ok(accepted)
    }
}

/// Waits until a visitor should be told that the target goes, or the edge.
async fn leave(claim: &Claim, worker: &Worker) {
    tokio::select! {
        () = claim.marked() => {}
        () = worker.stopping.cancelled() => {}
    }
    let requests = u32::try_from(claim.requests()).unwrap_or(u32::MAX);
    let longest = PAUSE.saturating_mul(requests - 1).min(LONGEST_PAUSE);
    // Without randomness they all go at once, as if there were few.
    let part = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    sleep(longest.mul_f64(part)).await;
}
