//! One certificate with its key: read from PEM, and refused in words when the two do not belong
//! together, when it has run out, or when it is for nobody.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate ready for handshakes.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The names it is for, lower case; a wildcard as `*.example.org`.
    pub(crate) names: Vec<String>,
    /// Who signed it, in the words of the certificate.
    pub(crate) issuer: String,
    /// Unix seconds.
    pub(crate) not_before: u64,
    /// Unix seconds.
    pub(crate) not_after: u64,
    pub(crate) key: Arc<CertifiedKey>,
}

/// Why a PEM text is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(
        "expected a certificate (`-----BEGIN CERTIFICATE-----`), found none\nhint: give the full chain, such as `fullchain.pem`"
    )]
    NoCertificate,
    #[error(
        "expected a private key (`-----BEGIN PRIVATE KEY-----`), found none that can be read; an encrypted key cannot be used\nhint: `openssl pkey -in KEY -out plain.pem` takes the passphrase off"
    )]
    NoKey,
    #[error(
        "the private key does not belong to the certificate for `{names}`\nhint: `openssl x509 -in CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` print the same for a pair"
    )]
    Mismatch { names: String },
    #[error(
        "the certificate cannot be read: {reason}\nhint: `openssl x509 -in CERT -noout -text` says whether it is whole"
    )]
    Unreadable { reason: String },
    #[error(
        "the certificate names no host\nhint: it needs a subjectAltName; a common name alone is ignored by every browser"
    )]
    NoNames,
    #[error(
        "the private key is of a kind that cannot be used: {reason}\nhint: P-256 or RSA of at least 2048 bits"
    )]
    Key { reason: String },
}

impl Certificate {
    /// Reads a private key and a chain that starts with the certificate, in any order of the two.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(crate) fn from_pem(
        pem: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Unreadable {
                reason: error.to_string(),
            })?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let about = About::read(leaf)?;
        let private = PrivateKeyDer::from_pem_slice(pem).map_err(|_| CertificateError::NoKey)?;
        let key =
            CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    CertificateError::Mismatch {
                        names: about.names.join(", "),
                    }
                }
                other => CertificateError::Key {
                    reason: other.to_string(),
                },
            })?;
        Ok(Certificate {
            names: about.names,
            issuer: about.issuer,
            not_before: about.not_before,
            not_after: about.not_after,
            key: Arc::new(key),
        })
    }

    /// Whether it is for `host`.
    pub(crate) fn covers(&self, host: &str) -> bool {
        zarpar_model::names_cover(&self.names, host)
    }

    /// Whether it has run out at `now`.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        now >= self.not_after
    }
}

struct About {
    names: Vec<String>,
    issuer: String,
    not_before: u64,
    not_after: u64,
}

impl About {
    fn read(leaf: &[u8]) -> Result<About, CertificateError> {
        let unreadable = |reason: String| CertificateError::Unreadable { reason };
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
        let alternative = parsed
            .subject_alternative_name()
            .map_err(|error| unreadable(error.to_string()))?;
        let names: Vec<String> = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return Err(CertificateError::NoNames);
        }
        let issuer = parsed.issuer();
        let said = issuer
            .iter_organization()
            .chain(issuer.iter_common_name())
            .filter_map(|part| part.as_str().ok())
            .collect::<Vec<_>>()
            .join(", ");
        let validity = parsed.validity();
        let seconds =
            |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        Ok(About {
            names,
            issuer: if said.is_empty() {
                issuer.to_string()
            } else {
                said
            },
            not_before: seconds(validity.not_before),
            not_after: seconds(validity.not_after),
        })
    }
}
