//! The HTTPS client that speaks to the authority.
//!
//! Guarantees: every call ends within the time it is given, no answer larger than a megabyte is
//! read, and a `Retry-After` on a refusal is remembered (instant-acme keeps it only when it polls).
//! Roots are the system's, and one more that the configuration may name.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client; clones share connections and what was remembered.
#[derive(Clone)]
pub(crate) struct AcmeClient {
    http: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    timeout: Duration,
    retry_after: Arc<Mutex<Option<SystemTime>>>,
}

impl AcmeClient {
    /// A client that trusts the system's roots and those in `extra_roots` (PEM).
    pub(crate) fn new(extra_roots: Option<&str>, timeout: Duration) -> Result<AcmeClient, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for root in CertificateDer::pem_slice_iter(extra_roots.unwrap_or_default().as_bytes()) {
            let root = root.map_err(|error| {
                format!("expected certificates in PEM as the authority's root: {error}")
            })?;
            roots.add(root).map_err(|error| {
                format!("expected a certificate as the authority's root: {error}")
            })?;
        }
        if roots.is_empty() {
            return Err("expected root certificates on this system, found none\n\
                        hint: apt-get install ca-certificates"
                .to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(AcmeClient {
            http: Client::builder(TokioExecutor::new())
                // A connection kept over an hour's pause would only fail the next call.
                .pool_idle_timeout(Duration::from_secs(10))
                .build(connector),
            timeout,
            retry_after: Arc::default(),
        })
    }

    /// The `Retry-After` of the last refusal, once; `None` when there was none since.
    pub(crate) fn take_retry_after(&self) -> Option<SystemTime> {
        self.retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let call = async {
                let (parts, body) = client
                    .http
                    .request(request)
                    .await
                    .map_err(boxed)?
                    .into_parts();
                let body = Limited::new(body, ANSWER_LIMIT).collect().await;
                let body = body.map_err(Error::Other)?.to_bytes();
                if !parts.status.is_success() {
                    *client
                        .retry_after
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = retry_after(&parts.headers);
                }
                Ok(BytesResponse {
                    parts,
                    body: Box::new(body),
                })
            };
            match tokio::time::timeout(client.timeout, call).await {
                Ok(answer) => answer,
                Err(elapsed) => Err(boxed(elapsed)),
            }
        })
    }
}

const ANSWER_LIMIT: usize = 1 << 20;

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

/// RFC 9110, 10.2.3: seconds from now, or a date.
fn retry_after(headers: &HeaderMap) -> Option<SystemTime> {
    let value = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    let now = SystemTime::now();
    let until = match value.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds))?,
        Err(_) => httpdate::parse_http_date(value).ok()?,
    };
    Some(until.min(now + LONGEST_WAIT))
}

/// The longest limits are counted in weeks; more than a month is a mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(31 * 24 * 3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let parse = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        let soon = parse("120")
            .unwrap()
            .duration_since(SystemTime::now())
            .unwrap();
        assert!(soon > Duration::from_secs(110) && soon <= Duration::from_secs(120));
        let date = "Tue, 24 Nov 2015 13:41:53 GMT";
        assert_eq!(parse(date), httpdate::parse_http_date(date).ok());
        let month = SystemTime::now() + LONGEST_WAIT;
        assert!(parse("Tue, 24 Nov 2099 13:41:53 GMT").unwrap() <= month + LONGEST_WAIT / 100);
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("99999999999999999999"), None);
    }
}
