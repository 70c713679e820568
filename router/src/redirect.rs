//! From HTTP to HTTPS, once there is a certificate for the host.

use http::header::LOCATION;
use http::{HeaderValue, Method, Response, StatusCode, Uri};

use crate::host::Host;
use crate::pages::Page;
use crate::reply::{Content, ReplyBody};

/// The port that browsers take when the address names none.
const HTTPS: u16 = 443;

/// The same address with `https`. Other methods than GET and HEAD keep their body (308).
pub(crate) fn to_https(
    method: &Method,
    host: &Host,
    port: u16,
    uri: &Uri,
) -> Result<Response<ReplyBody>, Page> {
    let name = host.name();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let address = if port == HTTPS {
        format!("https://{name}{target}")
    } else {
        format!("https://{name}:{port}{target}")
    };
    let address = HeaderValue::try_from(address).map_err(|_| Page::BadRequest)?;
    let mut response = Response::new(ReplyBody::new(Content::Empty));
    *response.status_mut() = if [Method::GET, Method::HEAD].contains(method) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    };
    response.headers_mut().insert(LOCATION, address);
    Ok(response)
}
