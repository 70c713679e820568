//! `[fetch]`: from where code may be fetched, and how much of it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use zarpar_receiver::{FetchRules, Network};

use super::ConfigError;

/// As it may be written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFetch {
    allow: Vec<Network>,
    ports: Vec<u16>,
    ca: Option<PathBuf>,
    timeout: Option<NonZeroU64>,
    max_size: Option<NonZeroU64>,
}

impl RawFetch {
    /// What is relied on. A file of authorities that cannot be read is told now, not at the first
    /// webhook.
    pub(super) fn resolve(self) -> Result<FetchRules, ConfigError> {
        let ca = match self.ca {
            Some(path) => {
                let unreadable = |source| ConfigError::Read {
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
            timeout: self
                .timeout
                .map_or(usual.timeout, |seconds| Duration::from_secs(seconds.get())),
            max_bytes: self.max_size.map_or(usual.max_bytes, NonZeroU64::get),
        })
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
            "[fetch]\nallow = [\"127.0.0.1\", \"10.0.0.0/8\"]\nports = [8443]\nca = \"/dev/null\"\ntimeout = 5\nmax_size = 1000",
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
            ("timeout = 0", "nonzero"),
            ("max_size = -1", "nonzero"),
            ("ports = [70000]", "`70000`"),
            ("ca = \"/nowhere.pem\"", "/nowhere.pem"),
            ("alow = []", "`alow`"),
        ] {
            let error = resolve(&format!("[fetch]\n{text}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
