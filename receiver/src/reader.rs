//! Who may read about an app over HTTP: whoever may clone it.

use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use zarpar_model::App;

use crate::admission::admit;
use crate::git::Service;
use crate::smart_http::ReceiverState;

/// Lets a request about `app` in, by its Basic token, or answers it as git's own requests are
/// answered: an app that does not exist and one that the token may not read look the same.
///
/// # Errors
/// The answer.
pub fn admit_reader(
    state: &ReceiverState,
    app: &str,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<App, Box<Response>> {
    let repository = format!("{app}.git");
    admit(state, &repository, Service::UploadPack, headers, extensions).map(|admitted| admitted.app)
}
