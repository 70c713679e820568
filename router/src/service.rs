//! Who answers a request: the edge itself (refusals, static and uploaded files) or an app.

use std::convert::Infallible;
use std::rc::Rc;

use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::headers::has_plain_framing;
use crate::host::Host;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::proxy;
use crate::reply::ReplyBody;
use crate::site_path::{Below, SitePath};
use crate::visitor::Visitor;

/// The longest path and query in bytes.
const MAX_TARGET: usize = 8 * 1024;

/// Answers one request; the connection counts as busy until the answer's body ends.
pub(crate) async fn answer(
    visitor: Rc<Visitor>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let busy = visitor.activity.begin();
    visitor.activity.set_unread(!request.body().is_end_stream());
    let response = dispatch(&visitor, request)
        .await
        .unwrap_or_else(Page::reply);
    Ok(response.map(|body| body.until_done(busy)))
}

async fn dispatch(
    visitor: &Rc<Visitor>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Page> {
    if [Method::CONNECT, Method::TRACE].contains(request.method()) {
        return Err(Page::NotImplemented);
    }
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(Page::UriTooLong);
    }
    if !has_plain_framing(request.headers()) {
        return Err(Page::BadRequest);
    }
    let host = Host::of(request.uri(), request.headers()).map_err(|_| Page::BadRequest)?;
    let route = visitor.worker.route(host.name()).ok_or(Page::NotFound)?;
    if let Some(response) = file(&route, &request)? {
        return Ok(response);
    }
    proxy::forward(visitor, &host, route, request).await
}

/// The answer when the path is below one of the route's folders.
fn file(
    route: &LiveRoute,
    request: &Request<Incoming>,
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
        Ok(below(files.url())?.map(|path| files.reply(method, headers, path)))
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
