//! What Pebble cannot be told to do, done in front of it: its directory with one address changed,
//! and what answers there. All else goes to Pebble itself.

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::client::AcmeClient;
use super::pebble::Site;

/// What goes wrong, or is there in addition.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// Renewal information (ARI) that asks for a renewal at once.
    RenewNow,
    /// An order is refused because there were too many, with `Retry-After` in seconds.
    TooMany(u64),
    /// An order is answered by a proxy's page, with `Retry-After` in seconds.
    ErrorPage(u64),
    /// An order is never answered.
    Silence,
}

/// The front; dropping it ends it.
pub(super) struct Wire {
    pub(super) directory: String,
    _task: JoinSet<()>,
}

impl Wire {
    pub(super) async fn start(site: &Site, turn: Turn) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!(
            "https://127.0.0.1:{}",
            listener.local_addr().unwrap().port()
        );
        let directory = changed_directory(site, turn, &base).await;
        let acceptor = acceptor(site);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let service = service_fn(|request| answer(request, turn, directory.clone()));
                let _ = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Wire {
            directory: format!("{base}/dir"),
            _task: task,
        }
    }
}

async fn changed_directory(site: &Site, turn: Turn, base: &str) -> String {
    let client = AcmeClient::new(Some(&site.root), Duration::from_secs(10)).unwrap();
    let request = Request::get(site.directory()).body(BodyWrapper::default());
    let mut answer = client.request(request.unwrap()).await.unwrap();
    let body = answer.body.into_bytes().await.unwrap();
    let mut directory: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let entry = match turn {
        Turn::RenewNow => "renewalInfo",
        _ => "newOrder",
    };
    directory[entry] = format!("{base}/turn").into();
    directory.to_string()
}

fn acceptor(site: &Site) -> TlsAcceptor {
    let read = |name: &str| fs::read(site.folder.path().join(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&read("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(
    request: Request<Incoming>,
    turn: Turn,
    directory: String,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    if request.uri().path() == "/dir" {
        return Ok(Response::new(directory.into()));
    }
    let (status, wait, text) = match turn {
        Turn::RenewNow => (
            StatusCode::OK,
            3600,
            r#"{"suggestedWindow":{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}}"#,
        ),
        Turn::TooMany(wait) => (
            StatusCode::TOO_MANY_REQUESTS,
            wait,
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}"#,
        ),
        Turn::ErrorPage(wait) => (StatusCode::SERVICE_UNAVAILABLE, wait, "<html>later</html>"),
        Turn::Silence => std::future::pending().await,
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert("retry-after", wait.into());
    Ok(response)
}
