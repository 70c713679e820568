//! Passes a request to a target of its route and the answer back, both as streams.
//!
//! What can never happen: a request sent twice that could do something twice. Only a GET, HEAD or
//! OPTIONS without a body rides on a kept connection, because only it may be sent again when the
//! app closed that connection in the same instant; everything else gets a connection of its own,
//! which on a bridge of the same machine costs less than one failed order. Such a request also
//! goes once to another target when one died on it (nginx: `proxy_next_upstream error`); any
//! other does so only while not a byte of it was sent.
//!
//! The app's first byte comes after the visitor's last one, unless the route says otherwise: until
//! then no target is held and no connection open, so a slow upload keeps neither a worker of the
//! app busy nor a drain waiting.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;

use crate::compress::{CompressedBody, Wish};
use crate::console;
use crate::headers::{self, Origin};
use crate::hold;
use crate::host::Host;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::pool::Sender;
use crate::reply::{AppBody, Content, ReplyBody};
use crate::request_body::{Progress, RequestBody};
use crate::send::{SendError, page_for, send};
use crate::service;
use crate::spool::gather;
use crate::target::Claim;
use crate::upgrade::Upgrade;
use crate::visitor::Visitor;
use crate::worker::Worker;

/// Connections that may fail before the visitor hears of it: two, because the first may have met
/// a swap, and one for each target, but no more waits than this.
const CONNECTS: usize = 2;
const MOST_CONNECTS: usize = 4;
/// How long the connection of a request that tries a target may take to open: beside a target in
/// the rotation nobody should wait for one that drops packets, and on a bridge of the same
/// machine a live one takes less than a millisecond.
const TRIAL_CONNECT: Duration = Duration::from_millis(250);

/// Answers with what the app says.
pub(crate) async fn forward(
    visitor: &Rc<Visitor>,
    host: &Host,
    mut route: Arc<LiveRoute>,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Page> {
    if request.body().size_hint().lower() > route.body_limit {
        return Err(Page::TooLarge);
    }
    if route.targets.is_empty() {
        // Before the body, which would be for nobody.
        return Err(Page::Unavailable);
    }
    let upgrade = Upgrade::asked(&mut request);
    let is_head = *request.method() == Method::HEAD;
    let wish = Wish::of(is_head, request.headers());
    let progress = Progress::new();
    let (mut head, incoming) = request.into_parts();
    let mut body = RequestBody::new(
        incoming,
        route.body_limit,
        match route.console {
            Some(_) => console::BODY_IDLE,
            None => visitor.worker.limits.body_idle,
        },
        progress.clone(),
        visitor.activity.clone(),
    );
    if !(body.is_end_stream() || route.stream_requests || upgrade.is_some()) {
        body = gather(body, &visitor.worker.spool, &progress).await?;
        // It may have come in chunks.
        let length = HeaderValue::from(body.size_hint().lower());
        head.headers.insert(CONTENT_LENGTH, length);
        // That may have taken minutes, and another release may be live by now.
        route = visitor.worker.route(host.name()).ok_or(Page::NotFound)?;
        wait_for_hold(&visitor.worker, host, &mut route).await?;
        if route.maintenance {
            return Ok(service::maintenance(&route));
        }
    }
    let mut outgoing = prepare(visitor, host, head, body, &upgrade);
    if let Some(key) = &route.console {
        key.show(outgoing.headers_mut());
    }
    let repeatable = upgrade.is_none() && is_repeatable(&outgoing);

    let pool = &visitor.worker.pool;
    let mut use_kept = repeatable;
    let mut avoid = None;
    let mut connects = 0;
    let mut sent_again = false;
    loop {
        let most = route.targets.len().clamp(CONNECTS, MOST_CONNECTS);
        let claim = claim(&visitor.worker, host, &mut route, avoid).await?;
        let address = claim.address();
        let kept = if use_kept { pool.take(address) } else { None };
        let is_new = kept.is_none();
        let mut sender = match kept {
            Some(sender) => sender,
            None => {
                connects += 1;
                let connected = if claim.is_trial() {
                    pool.connect_within(address, TRIAL_CONNECT).await
                } else {
                    pool.connect(address).await
                };
                if let Err(error) = &connected {
                    claim.unreachable(&route.metrics, error);
                }
                match connected {
                    Ok(sender) => sender,
                    Err(error) if connects < most => {
                        tracing::debug!(%error, %address, "trying again");
                        drop(claim);
                        route = visitor.worker.route(host.name()).ok_or(Page::NotFound)?;
                        wait_for_hold(&visitor.worker, host, &mut route).await?;
                        avoid = Some(address);
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(%error, %address, "no connection to the app");
                        return Err(Page::BadGateway);
                    }
                }
            }
        };
        // Another target may have it when this one dies on it.
        let elsewhere = repeatable && !sent_again && route.targets.len() > 1;
        let spare = (!is_new || elsewhere).then(|| copy_without_body(&outgoing));
        match send(&mut sender, outgoing, &progress, route.response_timeout).await {
            Ok(response) => {
                claim.answered(&route.metrics);
                return answer(visitor, response, is_head, wish, upgrade, sender, claim);
            }
            Err(SendError::NotSent(request)) if connects < most => {
                if is_new {
                    claim.broke(&route.metrics);
                    avoid = Some(address);
                }
                outgoing = *request;
                use_kept = false;
            }
            Err(SendError::NotSent(_)) => {
                claim.broke(&route.metrics);
                return Err(Page::BadGateway);
            }
            Err(SendError::Timeout) => {
                tracing::warn!(%address, "the app did not answer in time");
                return Err(Page::GatewayTimeout);
            }
            Err(SendError::Broken(error)) => match spare {
                Some(spare) => {
                    if is_new {
                        claim.broke(&route.metrics);
                        avoid = Some(address);
                        sent_again = true;
                    }
                    outgoing = spare;
                    use_kept = false;
                }
                None => {
                    let page = page_for(&error);
                    if page == Page::BadGateway {
                        claim.broke(&route.metrics);
                        tracing::warn!(%error, %address, "the app did not answer properly");
                    }
                    return Err(page);
                }
            },
        }
    }
}

/// Holds a target. On the mark of one that just fell out of the table, the table is read again.
async fn claim(
    worker: &Worker,
    host: &Host,
    route: &mut Arc<LiveRoute>,
    avoid: Option<SocketAddr>,
) -> Result<Claim, Page> {
    loop {
        let choice = route.pick(avoid).ok_or(Page::Unavailable)?;
        if let Some(claim) = choice.target.begin(choice.standing) {
            return Ok(claim);
        }
        *route = worker.route(host.name()).ok_or(Page::NotFound)?;
        wait_for_hold(worker, host, route).await?;
    }
}

/// A hold may have begun since the request was let through.
async fn wait_for_hold(
    worker: &Worker,
    host: &Host,
    route: &mut Arc<LiveRoute>,
) -> Result<(), Page> {
    if route.hold.is_some() {
        (*route, _) = Box::pin(hold::released(worker, host, route.clone())).await?;
        if route.maintenance {
            return Err(Page::Maintenance);
        }
    }
    Ok(())
}

fn prepare(
    visitor: &Visitor,
    host: &Host,
    head: request::Parts,
    body: RequestBody,
    upgrade: &Option<Upgrade>,
) -> Request<RequestBody> {
    let request::Parts {
        method,
        uri,
        headers: mut fields,
        ..
    } = head;
    let origin = Origin {
        address: &visitor.address,
        scheme: visitor.scheme,
        host: host.header(),
    };
    let protocol = upgrade.as_ref().map(Upgrade::protocol);
    headers::to_app(&mut fields, &origin, protocol);
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Said aloud, because hyper leaves out the body of a GET of unknown length.
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = origin_form(uri);
    *outgoing.headers_mut() = fields;
    outgoing
}

/// The target as an app expects it: path and query, byte for byte.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    path.map_or_else(Uri::default, Uri::from)
}

fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.body().is_end_stream()
        && [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
}

fn copy_without_body(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn answer(
    visitor: &Rc<Visitor>,
    response: Response<Incoming>,
    is_head: bool,
    wish: Wish,
    upgrade: Option<Upgrade>,
    sender: Sender,
    claim: Claim,
) -> Result<Response<ReplyBody>, Page> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // An app may not switch what nobody asked to switch.
        let upgrade = upgrade.ok_or(Page::BadGateway)?;
        return upgrade.accept(visitor, response, claim);
    }
    if upgrade.is_some_and(|upgrade| upgrade.would_open(response.status())) {
        return Err(Page::BadGateway);
    }
    let (mut parts, incoming) = response.into_parts();
    let absent = headers::describes_absent_body(is_head, parts.status);
    let compressed = wish.settle(
        parts.status,
        incoming.size_hint().exact(),
        &mut parts.headers,
    );
    headers::to_visitor(&mut parts.headers, absent);
    parts.version = Version::HTTP_11;
    let body = AppBody::new(incoming, sender, visitor.worker.pool.clone(), claim);
    let content = if compressed && !absent {
        let gzip = visitor.worker.gzip.clone();
        Content::Compressed(Box::new(CompressedBody::new(body, gzip)))
    } else {
        Content::App(body)
    };
    Ok(Response::from_parts(parts, ReplyBody::new(content)))
}
