//! One request on one connection to an app, up to the head of the answer. The failures are told
//! apart by the only thing that matters for a retry: whether the app can have seen the request.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use crate::pages::Page;
use crate::pool::Sender;
use crate::request_body::{Progress, RequestBody, RequestBodyError};

/// A request without an answer.
pub(crate) enum SendError {
    /// Not a byte of it was sent; here it is again.
    NotSent(Box<Request<RequestBody>>),
    /// The app did not begin its answer in time.
    Timeout,
    /// The connection broke; the app may have seen the request.
    Broken(hyper::Error),
}

/// Sends the request. `limit` is the time the app may take, not counting waits for the visitor.
pub(crate) async fn send(
    sender: &mut Sender,
    request: Request<RequestBody>,
    progress: &Progress,
    limit: Duration,
) -> Result<Response<Incoming>, SendError> {
    let mut answer = pin!(sender.try_send_request(request));
    let mut timer = pin!(sleep(limit));
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(|mut error| {
                match error.take_message() {
                    Some(request) => SendError::NotSent(Box::new(request)),
                    None => SendError::Broken(error.into_error()),
                }
            }),
            () = &mut timer => {
                let until = progress.app_since() + limit;
                if until <= Instant::now() {
                    return Err(SendError::Timeout);
                }
                timer.as_mut().reset(until);
            }
        }
    }
}

/// What the visitor is told about a broken exchange: the cause may be the visitor's own body.
pub(crate) fn page_for(error: &hyper::Error) -> Page {
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<RequestBodyError>() {
            Some(error) => return error.page(),
            None => source = cause.source(),
        }
    }
    Page::BadGateway
}
