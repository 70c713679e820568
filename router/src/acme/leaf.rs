//! What a finished certificate says about itself.

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// Facts that the certificate store does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    /// Who signed it: the common name of the issuer, else its whole name.
    pub(crate) issuer: String,
    /// By which name the authority's renewal information knows it (RFC 9773, 4.1).
    pub(crate) id: Option<String>,
}

impl Leaf {
    /// Reads the first certificate in `pem`.
    pub(crate) fn of(pem: &str) -> Result<Leaf, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("expected a certificate in PEM: {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| format!("expected an X.509 certificate: {error}"))?;
        let issuer = parsed.issuer();
        let common = issuer
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        Ok(Leaf {
            issuer: common.map_or_else(|| issuer.to_string(), str::to_owned),
            id: CertificateIdentifier::try_from(&der)
                .ok()
                .map(|id| id.to_string()),
        })
    }

    /// The identifier, if the certificate has one.
    pub(crate) fn identifier(&self) -> Option<CertificateIdentifier<'_>> {
        let id = self.id.as_deref()?;
        let text = serde::de::value::BorrowedStrDeserializer::<serde::de::value::Error>::new(id);
        CertificateIdentifier::deserialize(text).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    #[test]
    fn issuer_and_identifier_survive_the_file() {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "Test R7");
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        let leaf = Leaf::of(&format!("{}{pem}", key.serialize_pem())).unwrap();
        assert_eq!(leaf.issuer, "Test R7");
        let text = serde_json::to_string(&leaf).unwrap();
        let read: Leaf = serde_json::from_str(&text).unwrap();
        assert_eq!(read, leaf);
        assert_eq!(Some(read.identifier().unwrap().to_string()), leaf.id);
        assert!(Leaf::of("no certificate").is_err());
    }
}
