//! The control plane's own host: pushes, fetches and webhooks are passed on to the console, and
//! nothing else of it (`/metrics` is for this machine). Tokens are not taken over a connection
//! without TLS by an edge that has TLS.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use zarpar_model::{ConsoleRoute, EDGE_KEY_HEADER};

use crate::headers::Scheme;
use crate::host::Host;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::proxy;
use crate::reply::{Content, ReplyBody};
use crate::visitor::Visitor;

/// What it is called beside the apps, in metrics and the access log; no app can have this name.
pub const NAME: &str = "(console)";
/// How long the console may take to begin an answer. A push may wait for others before it.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest pause while a client sends: git compresses large files between two pieces.
pub(crate) const BODY_IDLE: Duration = Duration::from_secs(120);

const KEY: HeaderName = HeaderName::from_static(EDGE_KEY_HEADER);
/// For git and other programs, which show no page.
const NO_TLS_YET: &str = "this host is served with TLS alone, and has no certificate yet\nhint: `zarpar certificates list` on the server says what it waits for\n";

/// By what the console knows that a request came through us.
#[derive(Debug)]
pub(crate) struct Key(HeaderValue);

impl Key {
    pub(crate) fn of(route: &ConsoleRoute) -> Key {
        // One that is no header's value is never believed, which costs a rate limit its precision.
        let value = HeaderValue::try_from(&route.key);
        Key(value.unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    /// Takes the place of what a visitor may have said.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        headers.insert(KEY, self.0.clone());
    }
}

/// Answers a request for the console's host.
pub(crate) async fn answer(
    visitor: &Rc<Visitor>,
    host: &Host,
    route: Arc<LiveRoute>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Page> {
    if visitor.scheme == Scheme::Http && visitor.worker.has_tls() {
        return Ok(no_tls_yet());
    }
    // Byte for byte, as the console reads it: there `/git/../metrics` is no path either.
    let path = request.uri().path();
    if ["/git/", "/hooks/", "/apps/"]
        .iter()
        .any(|start| path.starts_with(start))
        || path == "/healthz"
    {
        proxy::forward(visitor, host, route, request).await
    } else {
        Err(Page::NotFound)
    }
}

fn no_tls_yet() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::new(Content::Bytes(NO_TLS_YET.into())));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
