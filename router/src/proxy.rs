//! Passes a request to a target of its route and the answer back, both as streams.
//!
//! What can never happen: a request sent twice that could do something twice. Only a GET, HEAD or
//! OPTIONS without a body rides on a kept connection, because only it may be sent again when the
//! app closed that connection in the same instant; everything else gets a connection of its own,
//! which on a bridge of the same machine costs less than one failed order.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;

use crate::headers::{self, Origin};
use crate::host::Host;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::pool::Sender;
use crate::reply::{AppBody, Content, ReplyBody};
use crate::request_body::{Progress, RequestBody};
use crate::send::{SendError, page_for, send};
use crate::target::Claim;
use crate::upgrade::Upgrade;
use crate::visitor::Visitor;
use crate::worker::Worker;

/// Connections that may fail before the visitor hears of it.
const CONNECTS: usize = 2;

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
    let upgrade = Upgrade::asked(&mut request);
    let is_head = *request.method() == Method::HEAD;
    let progress = Progress::new();
    let mut outgoing = prepare(visitor, host, &route, request, &upgrade, &progress);
    let repeatable = upgrade.is_none() && is_repeatable(&outgoing);

    let pool = &visitor.worker.pool;
    let mut use_kept = repeatable;
    let mut avoid = None;
    let mut connects = 0;
    loop {
        let claim = claim(&visitor.worker, host, &mut route, avoid)?;
        let address = claim.address();
        let kept = if use_kept { pool.take(address) } else { None };
        let spare = kept.is_some().then(|| copy_without_body(&outgoing));
        let mut sender = match kept {
            Some(sender) => sender,
            None => {
                connects += 1;
                match pool.connect(address).await {
                    Ok(sender) => sender,
                    Err(error) if connects < CONNECTS => {
                        tracing::debug!(%error, %address, "trying again");
                        route = visitor.worker.route(host.name()).ok_or(Page::NotFound)?;
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
        match send(&mut sender, outgoing, &progress, route.response_timeout).await {
            Ok(response) => return answer(visitor, response, is_head, upgrade, sender, claim),
            Err(SendError::NotSent(request)) if connects < CONNECTS => {
                outgoing = *request;
                use_kept = false;
            }
            Err(SendError::NotSent(_)) => return Err(Page::BadGateway),
            Err(SendError::Timeout) => {
                tracing::warn!(%address, "the app did not answer in time");
                return Err(Page::GatewayTimeout);
            }
            Err(SendError::Broken(error)) => match spare {
                Some(spare) => {
                    outgoing = spare;
                    use_kept = false;
                }
                None => {
                    let page = page_for(&error);
                    if page == Page::BadGateway {
                        tracing::warn!(%error, %address, "the app did not answer properly");
                    }
                    return Err(page);
                }
            },
        }
    }
}

/// Holds a target. On the mark of one that just fell out of the table, the table is read again.
fn claim(
    worker: &Worker,
    host: &Host,
    route: &mut Arc<LiveRoute>,
    avoid: Option<SocketAddr>,
) -> Result<Claim, Page> {
    loop {
        let target = route.pick(avoid).ok_or(Page::Unavailable)?;
        if let Some(claim) = target.begin() {
            return Ok(claim);
        }
        *route = worker.route(host.name()).ok_or(Page::NotFound)?;
    }
}

fn prepare(
    visitor: &Visitor,
    host: &Host,
    route: &LiveRoute,
    request: Request<Incoming>,
    upgrade: &Option<Upgrade>,
    progress: &Rc<Progress>,
) -> Request<RequestBody> {
    let (
        request::Parts {
            method,
            uri,
            headers: mut fields,
            ..
        },
        incoming,
    ) = request.into_parts();
    let origin = Origin {
        address: &visitor.address,
        scheme: visitor.scheme,
        host: host.header(),
    };
    let protocol = upgrade.as_ref().map(Upgrade::protocol);
    headers::to_app(&mut fields, &origin, protocol);
    let body = RequestBody::new(
        incoming,
        route.body_limit,
        visitor.worker.limits.body_idle,
        progress.clone(),
        visitor.activity.clone(),
    );
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
    headers::to_visitor(&mut parts.headers, absent);
    parts.version = Version::HTTP_11;
    let body = AppBody::new(incoming, sender, visitor.worker.pool.clone(), claim);
    Ok(Response::from_parts(
        parts,
        ReplyBody::new(Content::App(body)),
    ))
}
