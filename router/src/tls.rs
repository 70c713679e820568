//! TLS as visitors meet it: 1.2 and 1.3 with the cipher suites of Mozilla's "intermediate"
//! profile (rustls offers no other), HTTP/2 and HTTP/1.1 by ALPN, resumption by tickets whose
//! keys change every six hours and are never written down. A visitor who names no host we have a
//! certificate for gets no handshake: there is nothing true we could show.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::acme::{Challenges, TLS_ALPN_PROTOCOL};
use crate::certificates::Certificates;

/// ALPN names, the preferred one first.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const ACME: &[u8] = TLS_ALPN_PROTOCOL;
const HTTP_1_1: &[u8] = b"http/1.1";

/// The cryptography of every handshake. ring: with it HTTP/2 costs less CPU a request than with
/// aws-lc-rs (18–20 µs against 22–27), and it builds in a fraction of the time.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What every handshake starts from; all workers share it, or tickets of one would be worthless
/// at another.
pub(crate) fn server_config(
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName {
            certificates,
            challenges,
        }));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), ACME.to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByName {
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        // An authority that asks whether the name is ours offers this protocol alone (RFC 8737).
        if !self.challenges.is_empty()
            && let Some(mut offered) = hello.alpn()
            && offered.all(|protocol| protocol == ACME)
        {
            return self.challenges.tls_alpn01(name);
        }
        self.certificates.key(name)
    }
}
