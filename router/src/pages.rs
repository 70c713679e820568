//! The pages the edge answers with itself: small, whole, in plain words. They name no app, no
//! address and no software, because a stranger reads them too.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::reply::{Content, ReplyBody};

/// Why the edge answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PreconditionFailed,
    TooLarge,
    UriTooLong,
    /// The size of the file whose range was asked for.
    Unsatisfiable(u64),
    NotImplemented,
    BadGateway,
    Unavailable,
    Maintenance,
    GatewayTimeout,
    NoRoom,
}

impl Page {
    /// The whole answer.
    pub(crate) fn reply(self) -> Response<ReplyBody> {
        let (status, words) = self.content();
        let title = status.canonical_reason().unwrap_or("Error");
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1rem}}</style>\
             <h1>{title}</h1><p>{words}</p></html>\n"
        );
        self.reply_with(Content::Bytes(html.into()))
    }

    /// The answer with another text.
    pub(crate) fn reply_with(self, content: Content) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::new(content));
        *response.status_mut() = self.content().0;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.field() {
            headers.insert(name, value);
        }
        response
    }

    fn content(self) -> (StatusCode, &'static str) {
        match self {
            Page::BadRequest => (
                StatusCode::BAD_REQUEST,
                "The browser sent a request this server cannot read.",
            ),
            Page::NotFound => (StatusCode::NOT_FOUND, "There is nothing at this address."),
            Page::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This address can only be read.",
            ),
            Page::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "The request took too long to arrive.",
            ),
            Page::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "The file is another version than the one asked for.",
            ),
            Page::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "What was sent is larger than this site accepts.",
            ),
            Page::UriTooLong => (StatusCode::URI_TOO_LONG, "The address is too long."),
            Page::Unsatisfiable(_) => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file is shorter than the part asked for.",
            ),
            Page::NotImplemented => (
                StatusCode::NOT_IMPLEMENTED,
                "This server does not do what was asked.",
            ),
            Page::BadGateway => (
                StatusCode::BAD_GATEWAY,
                "The site did not answer properly. Please try again in a moment.",
            ),
            Page::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The site is not running at the moment. Please try again soon.",
            ),
            Page::Maintenance => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The site is being worked on and will be back soon.",
            ),
            Page::GatewayTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "The site took too long to answer. Please try again in a moment.",
            ),
            Page::NoRoom => (
                StatusCode::INSUFFICIENT_STORAGE,
                "The server has no room for what was sent at the moment. Please try again later.",
            ),
        }
    }

    fn field(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Page::MethodNotAllowed => Some((ALLOW, HeaderValue::from_static("GET, HEAD"))),
            // A crawler comes back after ten minutes and keeps the page in its index.
            Page::Maintenance => Some((RETRY_AFTER, HeaderValue::from_static("600"))),
            Page::Unavailable => Some((RETRY_AFTER, HeaderValue::from_static("5"))),
            Page::Unsatisfiable(size) => HeaderValue::try_from(format!("bytes */{size}"))
                .ok()
                .map(|value| (CONTENT_RANGE, value)),
            _ => None,
        }
    }
}
