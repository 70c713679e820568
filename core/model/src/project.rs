//! `zarpar.toml`, the optional file in an app's repository. What was written becomes what is
//! relied on in one step: an unknown key is an error that names the nearest known one, because a
//! key that is silently ignored (`commmand`) is found out in production.

mod keys;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BranchName, ProcessName};

/// Everything `zarpar.toml` can say, with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectConfig {
    /// `[build]`.
    pub build: BuildConfig,
    /// `[release] tasks`: commands that run in the new image before it starts, instead of
    /// `migrate` and `collectstatic`.
    pub release: ReleaseConfig,
    /// `[web]`.
    pub web: WebConfig,
    /// `[processes]`: further processes of the app and their commands.
    pub processes: BTreeMap<ProcessName, String>,
    /// `[static]`, for apps whose settings cannot be asked.
    #[serde(rename = "static")]
    pub static_files: MountConfig,
    /// `[media]`, for apps whose settings cannot be asked.
    pub media: MountConfig,
    /// `[deploy]`.
    pub deploy: DeployConfig,
}

/// How the image is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildConfig {
    /// Path of the Dockerfile, below the context.
    pub dockerfile: Option<String>,
    /// The folder of the repository that is the build context.
    pub context: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Python version of the generated Dockerfile.
    pub python: Option<String>,
    /// Network of the `RUN` steps: `default`, `host` or `none`.
    pub network: Option<String>,
}

/// What runs before the new release starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseConfig {
    /// The commands, in order; `None` means Django's own.
    pub tasks: Option<Vec<String>>,
}

/// The process that answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebConfig {
    /// Its command; the image's own when absent.
    pub command: Option<String>,
    /// The port it listens on; the image's one exposed port, else 8000.
    pub port: Option<u16>,
    /// How many containers.
    pub scale: u32,
    /// How long an old container may take to end its requests.
    #[serde(with = "span")]
    pub drain: Duration,
    /// Whether request bodies go to the app as they come, not once they have arrived whole.
    pub stream_requests: bool,
    /// `[web.health]`.
    pub health: HealthConfig,
}

impl Default for WebConfig {
    fn default() -> WebConfig {
        WebConfig {
            command: None,
            port: None,
            scale: 1,
            drain: Duration::from_secs(30),
            stream_requests: false,
            health: HealthConfig::default(),
        }
    }
}

/// How a candidate proves that it can take requests. The defaults are those of design.md §8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthConfig {
    /// The path that is asked.
    pub path: String,
    /// How long it may take in all.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// The time between two tries, once the first quick ones are over.
    #[serde(with = "span")]
    pub interval: Duration,
    /// Answers that count as healthy.
    pub status: StatusRange,
}

impl Default for HealthConfig {
    fn default() -> HealthConfig {
        HealthConfig {
            path: "/".to_owned(),
            timeout: Duration::from_secs(60),
            interval: Duration::from_secs(1),
            status: StatusRange::default(),
        }
    }
}

/// HTTP status codes from one to another, written `200` or `200-399`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StatusText", into = "String")]
pub struct StatusRange(RangeInclusive<u16>);

impl StatusRange {
    /// Whether `status` is within.
    pub fn contains(&self, status: u16) -> bool {
        self.0.contains(&status)
    }
}

impl Default for StatusRange {
    fn default() -> StatusRange {
        StatusRange(200..=399)
    }
}

/// The two ways a status can be written in TOML.
#[derive(Deserialize)]
#[serde(untagged)]
enum StatusText {
    Number(u16),
    Text(String),
}

impl TryFrom<StatusText> for StatusRange {
    type Error = String;

    fn try_from(written: StatusText) -> Result<StatusRange, String> {
        let text = match written {
            StatusText::Number(number) => number.to_string(),
            StatusText::Text(text) => text,
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if (100..=last).contains(&first) && last <= 599 => {
                Ok(StatusRange(first..=last))
            }
            _ => Err(format!(
                "expected a status such as `200` or `200-399`, found `{text}`"
            )),
        }
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> String {
        format!("{}-{}", range.0.start(), range.0.end())
    }
}

/// Where a kind of files is, for apps that cannot be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountConfig {
    /// The path on the site, such as `/static/`.
    pub url: Option<String>,
    /// The absolute folder in the container.
    pub root: Option<String>,
}

/// How deployments of this app go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployConfig {
    /// The branch whose pushes are deployed.
    pub branch: Option<BranchName>,
    /// How many releases are kept for a rollback, the active one included.
    pub keep: u32,
    /// What visitors meet while migrations run.
    pub during_migrations: DuringMigrations,
}

/// What becomes of new requests while the database is migrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuringMigrations {
    /// The old release answers them, from tables that change under it.
    #[default]
    Serve,
    /// They wait in the edge for the new release, at most 30 s.
    Hold,
}

impl Default for DeployConfig {
    fn default() -> DeployConfig {
        DeployConfig {
            branch: None,
            keep: 5,
            during_migrations: DuringMigrations::default(),
        }
    }
}

/// What is wrong with a `zarpar.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// Not TOML, or a value of the wrong kind.
    #[error("`zarpar.toml` cannot be read: {message}")]
    Syntax {
        /// What the TOML reader says, with line and column.
        message: String,
    },
    /// A key zarpar does not know.
    #[error("unknown key `{key}` in line {line} of `zarpar.toml`\nhint: {hint}")]
    UnknownKey {
        /// The key with its table.
        key: String,
        /// Its line, from 1.
        line: usize,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A key of a later version.
    #[error(
        "`{key}` in line {line} of `zarpar.toml` is not supported yet\nhint: remove it and push again"
    )]
    NotYet {
        /// The key with its table.
        key: String,
        /// Its line, from 1.
        line: usize,
    },
    /// A value that cannot be meant.
    #[error("expected {expected} for `{key}` in `zarpar.toml`, found `{found}`")]
    Value {
        /// The key with its table.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
        /// What is written.
        found: String,
    },
}

impl ProjectConfig {
    /// Reads `zarpar.toml`.
    ///
    /// # Errors
    /// [`ProjectError`], naming the line or the key.
    pub fn from_toml(text: &str) -> Result<ProjectConfig, ProjectError> {
        let syntax = |error: toml::de::Error| ProjectError::Syntax {
            message: error.to_string().trim_end().to_owned(),
        };
        keys::check(text, &toml::de::DeTable::parse(text).map_err(syntax)?)?;
        let config: ProjectConfig = toml::from_str(text).map_err(syntax)?;
        config.check()?;
        Ok(config)
    }

    /// The rules that a type alone cannot hold.
    fn check(&self) -> Result<(), ProjectError> {
        let value = |key, expected, found: &str| {
            Err(ProjectError::Value {
                key,
                expected,
                found: found.to_owned(),
            })
        };
        if !self.web.health.path.starts_with('/')
            || self.web.health.path.contains(char::is_whitespace)
        {
            return value(
                "web.health.path",
                "a path that starts with `/`",
                &self.web.health.path,
            );
        }
        if self.web.port == Some(0) {
            return value("web.port", "a port from 1 to 65535", "0");
        }
        if self.web.scale > 64 {
            return value("web.scale", "at most 64", &self.web.scale.to_string());
        }
        if !(1..=100).contains(&self.deploy.keep) {
            return value(
                "deploy.keep",
                "1 to 100 releases",
                &self.deploy.keep.to_string(),
            );
        }
        if self.deploy.during_migrations == DuringMigrations::Hold && self.release.tasks.is_some() {
            return value(
                "deploy.during_migrations",
                "`serve` beside `[release] tasks`, of which nobody knows whether they migrate",
                "hold",
            );
        }
        if self.web.health.interval.is_zero() || self.web.health.timeout.is_zero() {
            return value("web.health.interval", "more than zero", "0");
        }
        if let Some(network) = self.build.network.as_deref()
            && !matches!(network, "default" | "host" | "none")
        {
            return value("build.network", "`default`, `host` or `none`", network);
        }
        if let Some(python) = self.build.python.as_deref()
            && (python.is_empty() || !python.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        {
            return value("build.python", "a version such as `3.13`", python);
        }
        for (key, path) in [
            ("build.context", &self.build.context),
            ("build.dockerfile", &self.build.dockerfile),
        ] {
            if let Some(path) = path
                && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
            {
                return value(key, "a path inside the repository", path);
            }
        }
        for (key, mount) in [("static", &self.static_files), ("media", &self.media)] {
            if let Some(url) = &mount.url
                && !(url.len() > 2 && url.starts_with('/') && url.ends_with('/'))
            {
                let key = if key == "static" {
                    "static.url"
                } else {
                    "media.url"
                };
                return value(
                    key,
                    "a path such as `/static/` with slashes at both ends",
                    url,
                );
            }
            if let Some(root) = &mount.root
                && (!root.starts_with('/') || root.split('/').any(|part| part == ".."))
            {
                let key = if key == "static" {
                    "static.root"
                } else {
                    "media.root"
                };
                return value(key, "an absolute folder in the container", root);
            }
        }
        if let Some(process) = self.processes.keys().find(|name| name.is_web()) {
            return value(
                "processes",
                "`[web] command` for the web process",
                process.as_str(),
            );
        }
        Ok(())
    }
}

/// Spans of time written `30s`, or as a number of seconds.
mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(u32),
        Text(String),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Seconds(seconds) => Ok(Duration::from_secs(seconds.into())),
            Written::Text(text) => crate::parse_span(&text).map_err(D::Error::custom),
        }
    }

    pub(super) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ms", span.as_millis()))
    }
}

#[cfg(test)]
mod tests;
