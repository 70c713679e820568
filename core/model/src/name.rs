//! Names that can only be parsed: a value of these types is proof that the text is harmless as a
//! folder, a label, a DNS name or an argument. Bad input is refused and never repaired, because
//! a silently changed name is a name the user cannot find again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`\nhint: {hint}")]
pub struct NameError {
    expected: &'static str,
    found: String,
    hint: &'static str,
}

impl NameError {
    fn new(expected: &'static str, found: &str, hint: &'static str) -> NameError {
        // A megabyte of garbage must not become a megabyte of message; control characters are
        // escaped so that a name cannot paint the admin's terminal.
        let mut shown: String = found
            .chars()
            .take(80)
            .flat_map(char::escape_debug)
            .collect();
        if found.chars().count() > 80 {
            shown.push('…');
        }
        NameError {
            expected,
            found: shown,
            hint,
        }
    }
}

/// Defines a text newtype that is built by `FromStr` alone, also when it is deserialized.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text_name! {
    /// The name of an app: a DNS label of lower-case letters, digits and inner hyphens, 1 to 63
    /// long (RFC 1123 §2.1), since it becomes a host name, a folder and a container name.
    AppName
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<AppName, NameError> {
        if is_dns_label(text) {
            Ok(AppName(text.to_owned()))
        } else {
            Err(NameError::new(
                "an app name of 1 to 63 lower-case letters, digits and inner hyphens",
                text,
                "for example `zarpar apps create tienda`",
            ))
        }
    }
}

fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

text_name! {
    /// A host name without a port, lower-case, at most 253 long, of DNS labels (RFC 1123).
    HostName
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<HostName, NameError> {
        let lower = text.to_ascii_lowercase();
        if lower.len() <= 253 && lower.split('.').all(is_dns_label) {
            Ok(HostName(lower))
        } else {
            Err(NameError::new(
                "a host name such as `tienda.example`, without scheme, port or path",
                text,
                "for example `zarpar domains add tienda www.tienda.example`",
            ))
        }
    }
}

text_name! {
    /// The name of a process of an app (`web`, `worker`, …): a DNS label of at most 32.
    ProcessName
}

impl FromStr for ProcessName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ProcessName, NameError> {
        if is_dns_label(text) && text.len() <= 32 {
            Ok(ProcessName(text.to_owned()))
        } else {
            Err(NameError::new(
                "a process name of 1 to 32 lower-case letters, digits and inner hyphens",
                text,
                "for example `worker = \"celery -A sitio worker\"` under `[processes]`",
            ))
        }
    }
}

impl ProcessName {
    /// The process that answers requests.
    pub fn web() -> ProcessName {
        ProcessName("web".to_owned())
    }

    /// Whether this is the process that answers requests.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

text_name! {
    /// The name of an environment variable: letters, digits and `_`, not starting with a digit
    /// (POSIX.1-2017 §8.1), at most 128 long.
    EnvKey
}

impl FromStr for EnvKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<EnvKey, NameError> {
        let bytes = text.as_bytes();
        let good = (1..=128).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            && !bytes[0].is_ascii_digit();
        if good {
            Ok(EnvKey(text.to_owned()))
        } else {
            Err(NameError::new(
                "a variable name of letters, digits and `_` that does not start with a digit",
                text,
                "for example `zarpar env set tienda EMAIL_HOST=smtp.example`",
            ))
        }
    }
}

text_name! {
    /// A branch name by git's rules (git-check-ref-format(1)), narrowed to printable ASCII
    /// without `@`, so that it can stand in a message, a path and an argument.
    BranchName
}

impl FromStr for BranchName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<BranchName, NameError> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.ends_with('.')
                && !part.ends_with(".lock")
        };
        let good = text.len() <= 200
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/+#".contains(&b))
            && !text.contains("..")
            && text.split('/').all(part);
        if good {
            Ok(BranchName(text.to_owned()))
        } else {
            Err(NameError::new(
                "a branch name of letters, digits and `._-/+#`",
                text,
                "for example `main`",
            ))
        }
    }
}

impl BranchName {
    /// The full reference, `refs/heads/NAME`.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

text_name! {
    /// A full commit id: 40 lower-case hexadecimal digits (git's SHA-1 object format, the one
    /// zarpar's repositories use).
    CommitId
}

impl FromStr for CommitId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<CommitId, NameError> {
        let good = text.len() == 40
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good {
            Ok(CommitId(text.to_owned()))
        } else {
            Err(NameError::new(
                "a full commit id of 40 hexadecimal digits",
                text,
                "`git rev-parse HEAD` prints one",
            ))
        }
    }
}

text_name! {
    /// An image as one names it to an engine: a repository with tag or digest, or the id of an
    /// image (`sha256:…`).
    ImageReference
}

impl FromStr for ImageReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ImageReference, NameError> {
        let good = text.len() <= 255
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && !text.contains("..")
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-/:@".contains(&b));
        if good {
            Ok(ImageReference(text.to_owned()))
        } else {
            Err(NameError::new(
                "an image such as `registry.example/shop:1.2` or `sha256:…`",
                text,
                "`docker images` lists those on the server",
            ))
        }
    }
}

impl ImageReference {
    /// Whether it is the id of an image, which no registry knows.
    pub fn is_id(&self) -> bool {
        self.0.starts_with("sha256:")
    }
}

impl CommitId {
    /// The first seven digits, as git's own messages show a commit.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// Whether this is git's "no object" id, which stands for a deleted reference.
    pub fn is_null(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

/// The number of a release within its app, from 1; shown as `v12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("v{}", self.0))
    }
}

impl FromStr for ReleaseNumber {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ReleaseNumber, NameError> {
        text.strip_prefix('v')
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|number| *number > 0)
            .map(ReleaseNumber)
            .ok_or_else(|| {
                NameError::new(
                    "a release such as `v3`",
                    text,
                    "`zarpar releases APP` lists them",
                )
            })
    }
}

impl TryFrom<String> for ReleaseNumber {
    type Error = NameError;
    fn try_from(text: String) -> Result<ReleaseNumber, NameError> {
        text.parse()
    }
}

impl From<ReleaseNumber> for String {
    fn from(number: ReleaseNumber) -> String {
        number.to_string()
    }
}

/// The number of a deployment on this server, from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub u64);

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for DeploymentId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<DeploymentId, NameError> {
        Some(text)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|number| *number > 0)
            .map(DeploymentId)
            .ok_or_else(|| {
                NameError::new(
                    "the number of a deployment",
                    text,
                    "`zarpar deployments APP` lists them",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn app_names_that_could_do_harm_are_refused() {
        let long = "a".repeat(64);
        for bad in [
            "a;id", "../x", "-rf", "A_B", "", &long, "a-", "a.b", "a b", "ñ", "a\n",
        ] {
            let error = bad.parse::<AppName>().unwrap_err().to_string();
            assert!(error.contains("hint: "), "{error}");
            assert!(
                serde_json::from_value::<AppName>(bad.into()).is_err(),
                "{bad}"
            );
        }
        for good in ["a", "tienda", "a-1", "7up", &"a".repeat(63)] {
            assert_eq!(good.parse::<AppName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_error_shows_a_bounded_and_escaped_literal() {
        let error = format!("\u{1b}[2J{}", "x".repeat(1 << 20))
            .parse::<AppName>()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 400 && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn branches_that_look_like_options_or_paths_are_refused() {
        for bad in [
            "--upload-pack=x",
            "a..b",
            "a/.b",
            "a/",
            "/a",
            "a.lock",
            "a~1",
            "a b",
            ".",
            "a/-b",
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
        for good in ["main", "feature/x-1", "release-2.0"] {
            assert_eq!(
                good.parse::<BranchName>().unwrap().reference(),
                format!("refs/heads/{good}")
            );
        }
    }

    #[test]
    fn numbers_are_written_and_read_the_same_way() {
        assert_eq!("v12".parse::<ReleaseNumber>().unwrap().to_string(), "v12");
        for bad in ["12", "v", "v0", "v-1", "v+1", "v1x"] {
            assert!(bad.parse::<ReleaseNumber>().is_err(), "{bad}");
        }
        assert!("+1".parse::<DeploymentId>().is_err());
    }

    #[test]
    fn host_names_are_lower_case_and_bare() {
        assert_eq!(
            "Www.Tienda.Example".parse::<HostName>().unwrap().as_str(),
            "www.tienda.example"
        );
        for bad in ["https://a", "a:80", "a/b", "a..b", "*.a", ""] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
