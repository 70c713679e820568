//! `[git]` of the configuration: what a push may ask of this machine.

use serde::Deserialize;
use zarpar_model::{parse_size, parse_span};
use zarpar_receiver::GitLimits;

use super::ConfigError;

/// The keys as they may be written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGit {
    max_pack: Option<String>,
    max_file: Option<String>,
    max_expanded: Option<String>,
    receive_time: Option<String>,
}

pub(super) fn limits(raw: RawGit) -> Result<GitLimits, ConfigError> {
    let size = |key, written: Option<String>, default| match written {
        None => Ok(default),
        Some(text) => match parse_size(&text) {
            // git takes 0 for "no limit", and nothing could be pushed.
            Ok(0) => Err(wrong(key, "expected a size above 0".to_owned())),
            Ok(size) => Ok(size),
            Err(error) => Err(wrong(key, error.to_string())),
        },
    };
    let defaults = GitLimits::default();
    Ok(GitLimits {
        max_pack: size("max_pack", raw.max_pack, defaults.max_pack)?,
        max_file: size("max_file", raw.max_file, defaults.max_file)?,
        max_expanded: size("max_expanded", raw.max_expanded, defaults.max_expanded)?,
        receive: match raw.receive_time {
            None => defaults.receive,
            Some(text) => match parse_span(&text) {
                Ok(span) if span.is_zero() => {
                    let message = "expected a time above 0".to_owned();
                    return Err(wrong("receive_time", message));
                }
                Ok(span) => span,
                Err(error) => return Err(wrong("receive_time", error.to_string())),
            },
        },
        idle: defaults.idle,
    })
}

fn wrong(key: &'static str, message: String) -> ConfigError {
    ConfigError::Git { key, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_written_has_a_default_and_nonsense_is_named() {
        let read = |text: &str| limits(toml::from_str(text).unwrap());
        assert_eq!(read("").unwrap(), GitLimits::default());
        let some = read("max_file = \"100MiB\"\nreceive_time = \"30m\"").unwrap();
        assert_eq!(some.max_file, 100 << 20);
        assert_eq!(some.receive.as_secs(), 1800);
        for (wrong, key) in [
            ("max_pack = \"much\"", "max_pack"),
            ("max_expanded = \"0\"", "max_expanded"),
            ("receive_time = \"0\"", "receive_time"),
            ("receive_time = \"soon\"", "receive_time"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("hint:"), "{error}");
        }
    }
}
