//! Who answers a request: the edge itself (refusals, static and uploaded files) or an app.

use std::convert::Infallible;
use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use crate::acme::HTTP_PREFIX;
use crate::console;
use crate::extended_connect;
use crate::headers::{Scheme, has_plain_framing};
use crate::hold;
use crate::host::Host;
use crate::hot_files::HotFiles;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::proxy;
use crate::redirect;
use crate::reply::{Content, ReplyBody};
use crate::request_id::X_REQUEST_ID;
use crate::safety;
use crate::seen::Seen;
use crate::site_path::{Below, SitePath};
use crate::visitor::Visitor;

/// The page an app may ship for its maintenance, below `STATIC_URL`.
const MAINTENANCE: &str = "503.html";
/// The longest path and query in bytes.
const MAX_TARGET: usize = 8 * 1024;

/// Answers one request; the connection counts as busy until the answer's body ends.
pub(crate) async fn answer(
    visitor: Rc<Visitor>,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let busy = visitor.activity.begin();
    visitor.activity.set_unread(!request.body().is_end_stream());
    let id = visitor.worker.ids.name(request.headers_mut());
    let mut seen = visitor.worker.watch.begin(&visitor.address, &request);
    let is_h2 = request.version() == Version::HTTP_2;
    let bare = is_h2 && request.method() == Method::HEAD;
    let mut response = dispatch(&visitor, request, &mut seen)
        .await
        .unwrap_or_else(Page::reply);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        safety::complete(response.headers_mut(), visitor.scheme);
        response.headers_mut().entry(X_REQUEST_ID).or_insert(id);
        if visitor.worker.is_leaving() && !is_h2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
    if bare {
        response = without_body(response);
    }
    seen.answered(response.status());
    Ok(response.map(|body| body.until_done(busy, seen)))
}

/// The answer to a HEAD: for HTTP/2, hyper leaves it to us to send no body.
fn without_body(response: Response<ReplyBody>) -> Response<ReplyBody> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        parts
            .headers
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(parts, ReplyBody::new(Content::Empty))
}

async fn dispatch(
    visitor: &Rc<Visitor>,
    request: Request<Incoming>,
    seen: &mut Seen,
) -> Result<Response<ReplyBody>, Page> {
    if [Method::CONNECT, Method::TRACE].contains(request.method())
        && !extended_connect::is_asked(&request)
    {
        return Err(Page::NotImplemented);
    }
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(Page::UriTooLong);
    }
    if !has_plain_framing(request.headers()) {
        return Err(Page::BadRequest);
    }
    let host = Host::of(request.version(), request.uri(), request.headers())
        .map_err(|_| Page::BadRequest)?;
    if visitor.scheme == Scheme::Http
        && let Some(answer) = challenge(visitor, &host, &request)
    {
        return Ok(answer);
    }
    let route = visitor.worker.route(host.name()).ok_or(Page::NotFound)?;
    seen.routed(&route.metrics);
    if visitor.scheme == Scheme::Http
        && let Some(port) = visitor.worker.https_port(host.name())
    {
        return redirect::to_https(request.method(), &host, port, request.uri());
    }
    if route.console.is_some() {
        return console::answer(visitor, &host, route, request).await;
    }
    if let Some(response) = file(&route, &request, &visitor.worker.hot)? {
        seen.is_file();
        return Ok(response);
    }
    if route.maintenance {
        return Ok(maintenance(&route));
    }
    if route.hold.is_some() {
        // In a box, so that the state of every other request is no larger for it.
        return Box::pin(hold::answer(visitor, &host, route, request)).await;
    }
    proxy::forward(visitor, &host, route, request).await
}

/// The app's own page when it shipped one among its static files, else ours.
pub(crate) fn maintenance(route: &LiveRoute) -> Response<ReplyBody> {
    let own = route.static_files.as_ref();
    match own.and_then(|files| files.page(MAINTENANCE)) {
        Some(content) => Page::Maintenance.reply_with(content),
        None => Page::Maintenance.reply(),
    }
}

/// The answer to an authority that asks over HTTP whether the host is ours (RFC 8555, 8.3).
fn challenge(
    visitor: &Visitor,
    host: &Host,
    request: &Request<Incoming>,
) -> Option<Response<ReplyBody>> {
    let open = &visitor.worker.challenges;
    if open.is_empty() {
        return None;
    }
    let token = request.uri().path().strip_prefix(HTTP_PREFIX)?;
    let content = open.http01(host.name(), token)?;
    let mut response = Response::new(ReplyBody::new(Content::Bytes(content.into())));
    let plain = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    Some(response)
}

/// The answer when the path is below one of the route's folders.
fn file(
    route: &LiveRoute,
    request: &Request<Incoming>,
    hot: &HotFiles,
) -> Result<Option<Response<ReplyBody>>, Page> {
    if route.static_files.is_none() && route.media.is_none() {
        return Ok(None);
    }
    let (method, headers) = (request.method(), request.headers());
    let path = SitePath::new(request.uri().path());
    let below = |url| match path.below(url) {
        Below::Elsewhere => Ok(None),
        Below::Malformed => Err(Page::BadRequest),
        Below::Unusable => Err(Page::NotFound),
        Below::Path(path) => Ok(Some(path)),
    };
    let uploaded = || {
        let Some(media) = &route.media else {
            return Ok(None);
        };
        Ok(below(media.url())?.map(|path| media.reply(method, headers, path)))
    };
    let shipped = || {
        let Some(files) = &route.static_files else {
            return Ok(None);
        };
        Ok(below(files.url())?.map(|path| files.reply(method, headers, path, hot)))
    };
    // One folder may lie in the other; the longer prefix is the more exact one.
    let length = |url: Option<&str>| url.map_or(0, str::len);
    let static_length = length(route.static_files.as_ref().map(|files| files.url()));
    let media_length = length(route.media.as_ref().map(|media| media.url()));
    if media_length > static_length {
        Ok(uploaded()?.or(shipped()?))
    } else {
        Ok(shipped()?.or(uploaded()?))
    }
}
