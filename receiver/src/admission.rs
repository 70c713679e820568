//! Who may do what over HTTP: a token first, then what it is for, then the app within its scope.
//! What can never happen: that a stranger learns which apps there are, or that a token stands in
//! a log or an answer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Instant, SystemTime};

use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use zarpar_model::{Access, App, AppName};

use crate::auth::{authenticate, is_git_with_user_alone};
use crate::client_address::ClientAddress;
use crate::git::Service;
use crate::smart_http::ReceiverState;

/// Somebody who may do what they ask for.
pub(crate) struct Admitted {
    pub(crate) app: App,
    pub(crate) by: String,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Lets a request for `service` on `repository` in, or answers it. An app that does not exist and
/// one that the token may not touch look the same.
pub(crate) fn admit(
    state: &ReceiverState,
    repository: &str,
    service: Service,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Admitted, Box<Response>> {
    // Without an address all strangers count as one.
    let address = extensions
        .get::<ClientAddress>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
    let credentials = headers.get(header::AUTHORIZATION);
    let refused_for = credentials.and_then(|_| state.attempts.refused_for(address, Instant::now()));
    // Everybody who comes through `ssh -L` has the address of this machine: one person's old token
    // must not keep the others from pushing. There a right token still opens, which helps nobody
    // who guesses: there are 2^256 of them.
    if let Some(left) = refused_for
        && !address.to_canonical().is_loopback()
    {
        return Err(Box::new(too_many(left.as_secs())));
    }
    let text = credentials.and_then(|value| value.to_str().ok());
    let token = authenticate(&state.store, text).map_err(|error| Box::new(trouble(&error)))?;
    let Some(token) = token else {
        if credentials.is_some() {
            if let Some(left) = refused_for {
                return Err(Box::new(too_many(left.as_secs())));
            }
            if state.attempts.failed(address, Instant::now()) {
                tracing::warn!(%address, "too many wrong tokens, refused for five minutes");
            }
        }
        return Err(Box::new(unknown(headers)));
    };
    if let Some(end) = token.expires_at
        && token.is_expired(SystemTime::now().into())
    {
        let text = format!(
            "the token `{}` expired at {end}\nhint: `zarpar tokens create NAME --app APP` on the server prints a new one",
            token.name
        );
        return Err(Box::new(unauthorized(headers, &text)));
    }
    let name = repository
        .strip_suffix(".git")
        .and_then(|name| name.parse::<AppName>().ok());
    let app = match name.filter(|name| token.scope.allows(name)) {
        Some(name) => state
            .store
            .app(&name)
            .map_err(|error| Box::new(trouble(&error)))?,
        None => None,
    };
    let Some(app) = app else {
        let text = format!(
            "the token `{}` opens no app of this name\nhint: `zarpar apps list` and `zarpar tokens list` on the server show what there is",
            token.name
        );
        return Err(Box::new(words(StatusCode::NOT_FOUND, &text)));
    };
    if service == Service::ReceivePack && token.access < Access::Push {
        let text = format!(
            "the token `{}` may clone and fetch, not push\nhint: `zarpar tokens create NAME --app {}` on the server prints one that may push",
            token.name, app.name
        );
        return Err(Box::new(words(StatusCode::FORBIDDEN, &text)));
    }
    let Ok(permit) = state.permits.clone().try_acquire_owned() else {
        let mut response = words(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pushes and fetches at once\nhint: try again in some seconds",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return Err(Box::new(response));
    };
    Ok(Admitted {
        app,
        by: format!("token:{}", token.name),
        permit,
    })
}

fn unknown(headers: &HeaderMap) -> Response {
    unauthorized(
        headers,
        "expected a token of this server, as user name or password\nhint: `zarpar tokens create NAME --app APP` on the server prints one; then `git remote set-url production http://TOKEN@HOST:PORT/git/APP.git`",
    )
}

/// No token, or one that opens nothing (any more). When git sent a token without a password it
/// would answer a 401 by asking its user for one, whatever we say; there the words help more.
fn unauthorized(headers: &HeaderMap, text: &str) -> Response {
    if is_git_with_user_alone(headers) {
        return words(StatusCode::FORBIDDEN, text);
    }
    let mut response = words(StatusCode::UNAUTHORIZED, text);
    let challenge = HeaderValue::from_static("Basic realm=\"zarpar\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn too_many(seconds: u64) -> Response {
    let seconds = seconds.max(1);
    let text = format!(
        "too many wrong tokens from your address\nhint: try again in {seconds} s; `zarpar tokens list` on the server shows what there is"
    );
    let mut response = words(StatusCode::TOO_MANY_REQUESTS, &text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Plain text: git shows it to its user line by line.
pub(crate) fn words(status: StatusCode, text: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        format!("{text}\n"),
    )
        .into_response()
}

pub(crate) fn trouble(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "a git request could not be served");
    words(
        StatusCode::INTERNAL_SERVER_ERROR,
        "zarpar cannot serve this now\nhint: its log on the server says why",
    )
}
