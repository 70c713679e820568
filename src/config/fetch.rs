//! `[fetch]`: from where code may be fetched, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use zarpar_model::{parse_size, parse_span};
use zarpar_receiver::{FetchRules, Network};

use super::ConfigError;

/// As it may be written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFetch {
    allow: Vec<Network>,
    ports: Vec<u16>,
    ca: Option<PathBuf>,
    #[serde(deserialize_with = "span")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "size")]
    max_size: Option<u64>,
}

impl RawFetch {
    /// What is relied on. A file of authorities that cannot be read is told now, not at the first
    /// webhook.
    pub(super) fn resolve(self) -> Result<FetchRules, ConfigError> {
        let ca = match self.ca {
            Some(path) => {
                let unreadable = |source| ConfigError::Authorities {
                    path: path.clone(),
                    source,
                };
                std::fs::File::open(&path).map_err(unreadable)?;
                Some(std::path::absolute(&path).map_err(unreadable)?)
            }
            None => None,
        };
        let usual = FetchRules::default();
        Ok(FetchRules {
            allow: self.allow,
            ports: self.ports,
            ca,
            timeout: self.timeout.unwrap_or(usual.timeout),
            max_bytes: self.max_size.unwrap_or(usual.max_bytes),
        })
    }
}

fn span<'de, D: Deserializer<'de>>(written: D) -> Result<Option<Duration>, D::Error> {
    match parse_span(&String::deserialize(written)?) {
        Ok(span) if span.is_zero() => Err(D::Error::custom("expected a time above 0")),
        Ok(span) => Ok(Some(span)),
        Err(error) => Err(D::Error::custom(error)),
    }
}

fn size<'de, D: Deserializer<'de>>(written: D) -> Result<Option<u64>, D::Error> {
    match parse_size(&String::deserialize(written)?) {
        Ok(0) => Err(D::Error::custom("expected a size above 0")),
        Ok(size) => Ok(Some(size)),
        Err(error) => Err(D::Error::custom(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::resolve;
    use super::*;

    #[test]
    fn what_is_written_is_relied_on() {
        let rules = resolve("").unwrap().fetch;
        assert!(rules.allow.is_empty() && rules.ports.is_empty() && rules.ca.is_none());
        assert_eq!(rules.timeout, Duration::from_secs(60));
        assert_eq!(rules.max_bytes, 100 * 1024 * 1024);
        let rules = resolve(
            "[fetch]\nallow = [\"127.0.0.1\", \"10.0.0.0/8\"]\nports = [8443]\nca = \"/dev/null\"\ntimeout = \"5s\"\nmax_size = \"1000\"",
        );
        let rules = rules.unwrap().fetch;
        assert!(rules.allow[1].contains("10.1.2.3".parse().unwrap()));
        assert_eq!(rules.ports, [8443]);
        assert_eq!(rules.ca, Some("/dev/null".into()));
        assert_eq!((rules.timeout.as_secs(), rules.max_bytes), (5, 1000));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_was_expected() {
        for (text, says) in [
            (
                "allow = [\"localhost\"]",
                "such as `10.0.0.0/8`, found `localhost`",
            ),
            ("allow = [\"10.0.0.1/8\"]", "found `10.0.0.1/8`"),
            ("timeout = \"0s\"", "above 0"),
            ("max_size = \"much\"", "found `much`"),
            ("max_size = \"0\"", "above 0"),
            ("ports = [70000]", "`70000`"),
            (
                "ca = \"/nowhere.pem\"",
                "`ca` of `[fetch]`: cannot read the certificates in `/nowhere.pem`",
            ),
            ("alow = []", "`alow`"),
        ] {
            let error = resolve(&format!("[fetch]\n{text}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
