//! One interface of a forge over HTTPS: a connection for each request, to the addresses that were
//! judged, and none kept. Answers are read to a limit, redirects are answers like others.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::provider::{base, headers};
use super::{Forge, ForgeError, PAUSES};
use crate::fetch::{FetchRules, resolve};

/// What one request may take, from the connection to the last byte of the answer.
const TIME: Duration = Duration::from_secs(15);
/// What one address may take to be connected to.
const CONNECT: Duration = Duration::from_secs(5);
/// What is read of an answer, in bytes; GitHub's records have some 10 kB.
const ANSWER: usize = 256 * 1024;
/// What is told of an answer that says no, in characters.
const WORDS: usize = 200;

/// The interface of one repository's forge.
pub(super) struct Api<'a> {
    host: String,
    port: u16,
    prefix: &'static str,
    addresses: Vec<IpAddr>,
    headers: HeaderMap,
    token: &'a str,
    tls: TlsConnector,
}

impl<'a> Api<'a> {
    /// Looks the host up and judges it; connects to nothing.
    pub(super) async fn new(forge: &Forge<'a>, rules: &FetchRules) -> Result<Api<'a>, ForgeError> {
        let (host, port, prefix) = base(forge.provider, forge.repository);
        let addresses = resolve(&host, port, rules).await?;
        let unusable = |reason: String| ForgeError::Unreachable {
            host: host.clone(),
            reason,
        };
        let headers = headers(forge)
            .ok_or_else(|| unusable("the token has characters that no token has".to_owned()))?;
        let ca = rules.ca.clone();
        // Some hundred files and certificates are read; not on the threads that answer.
        let tls = tokio::task::spawn_blocking(move || tls(ca.as_deref()))
            .await
            .map_err(|error| unusable(error.to_string()))?
            .map_err(unusable)?;
        Ok(Api {
            host,
            port,
            prefix,
            addresses,
            headers,
            token: forge.token.expose(),
            tls,
        })
    }

    /// Posts, with the tries that a failure deserves. Answers what the forge answered.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ForgeError> {
        let path = format!("{}{path}", self.prefix);
        for pause in PAUSES {
            match self.post_once(&path, body).await {
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, "a forge is told again later");
                    tokio::time::sleep(pause).await;
                }
                answered => return answered,
            }
        }
        self.post_once(&path, body).await
    }

    async fn post_once(&self, path: &str, body: &Value) -> Result<Value, ForgeError> {
        let exchange = self.exchange(path, body);
        let (status, answer) = tokio::time::timeout(TIME, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TIME.as_secs())))
            .map_err(|reason| ForgeError::Unreachable {
                host: self.host.clone(),
                reason,
            })?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        Err(ForgeError::Refused {
            host: self.host.clone(),
            path: path.to_owned(),
            status,
            message: self.words(&answer),
        })
    }

    /// What a forge says about a refusal. It may repeat what we sent, so not even that has the
    /// token.
    fn words(&self, answer: &Value) -> String {
        let text = ["message", "error"]
            .iter()
            .find_map(|field| answer.get(field)?.as_str())
            .unwrap_or_default();
        text.replace(self.token, "…")
            .chars()
            .filter(|c| !c.is_control())
            .take(WORDS)
            .collect()
    }

    async fn exchange(&self, path: &str, body: &Value) -> Result<(StatusCode, Bytes), String> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(|error| error.to_string())?;
        let mut request = Request::post(path)
            .header(HOST, self.authority())
            .header(USER_AGENT, "zarpar")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER).collect().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body.to_bytes()))
        };
        tokio::pin!(connection, answer);
        // The connection moves while the answer is waited for, and ends with it.
        let answered = tokio::select! {
            answered = &mut answer => answered,
            ended = &mut connection => match ended {
                // All that was sent is in the answer's hands.
                Ok(()) => answer.await,
                Err(error) => return Err(error.to_string()),
            },
        };
        answered.map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, String> {
        let mut last = "it has no address".to_owned();
        for address in &self.addresses {
            let connect = TcpStream::connect((*address, self.port));
            match tokio::time::timeout(CONNECT, connect).await {
                Ok(Ok(stream)) => {
                    let name = ServerName::try_from(self.host.clone())
                        .map_err(|error| error.to_string())?;
                    let secured = self.tls.connect(name, stream).await;
                    return secured.map_err(|error| error.to_string());
                }
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address} does not answer"),
            }
        }
        Err(last)
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// Trusts the system's authorities, or those of the configuration instead.
fn tls(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable = |error| format!("cannot read `{}`: {error}", path.display());
            let certificates = CertificateDer::pem_file_iter(path)
                .map_err(|error| unreadable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unreadable(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
