//! The answers of listings: what `--json` prints, so fields are only ever added. Times are RFC
//! 3339 in UTC.

use serde::{Deserialize, Serialize};

/// An app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// `live`, `no release`, or what is wrong, in words.
    pub state: String,
    /// The active release, `v3`.
    pub release: Option<String>,
    /// The commit of it.
    pub commit: Option<String>,
    /// The hosts, the main one first.
    pub domains: Vec<String>,
    /// The first address of the app on this server.
    pub url: String,
    /// The deploy branch.
    pub branch: String,
    /// Whether it has a Postgres.
    pub postgres: bool,
    /// What `git remote add` takes, without the token.
    pub remote: String,
    /// When it was made.
    pub created_at: String,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// `v3`.
    pub release: String,
    /// `active`, `retired`, …
    pub state: String,
    /// The commit; absent for an image that was built elsewhere.
    pub commit: Option<String>,
    /// How that image was named.
    pub reference: Option<String>,
    /// The release it repeats, for a rollback or restart.
    pub origin: Option<String>,
    /// Who or what triggered it.
    pub by: String,
    /// When.
    pub created_at: String,
    /// The image's id.
    pub image: String,
    /// The deployment that made it.
    pub deployment: u64,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its number.
    pub id: u64,
    /// `push`, `deploy`, `image`, `rollback`, `restart`.
    pub kind: String,
    /// `queued`, `building`, `live`, `failed`, …
    pub state: String,
    /// The step that failed.
    pub failed_in: Option<String>,
    /// Why it failed, or who cancelled it.
    pub reason: Option<String>,
    /// The commit, when it is about one.
    pub commit: Option<String>,
    /// The image as it was named, when it is about one that was built elsewhere.
    pub reference: Option<String>,
    /// The release it made.
    pub release: Option<String>,
    /// Who or what asked.
    pub by: String,
    /// When it was accepted.
    pub created_at: String,
    /// From its start to its end, in seconds.
    pub seconds: Option<f64>,
}

/// A container of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// `web`, `worker`, `postgres`, …
    pub process: String,
    /// The release it belongs to.
    pub release: Option<String>,
    /// The engine's word: `running`, `exited`, …
    pub state: String,
    /// The container's id, 12 digits.
    pub container: String,
    /// Where it listens.
    pub address: Option<String>,
    /// Since when it is up.
    pub started_at: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// The apps it may touch; absent for all.
    pub apps: Option<Vec<String>>,
    /// When it was made.
    pub created_at: String,
    /// `read` or `push`.
    #[serde(default)]
    pub access: String,
    /// When it ends, or ended; absent when it does not.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Whether it has ended.
    #[serde(default)]
    pub expired: bool,
}

/// A new token. The secret is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// Its name.
    pub name: String,
    /// The secret.
    pub token: String,
}

/// A host of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainView {
    /// The host.
    pub domain: String,
    /// Whether it is the main one.
    pub main: bool,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Its name: the first host it is for.
    pub name: String,
    /// The hosts it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is good, RFC 3339.
    pub not_before: String,
    /// Until when it is good, RFC 3339.
    pub not_after: String,
    /// `own` when it was given by hand, `acme` when it was ordered.
    pub source: String,
    /// What comes next, in words.
    pub next_step: String,
    /// What went wrong the last time, in words.
    pub last_error: Option<String>,
}

impl CertificateView {
    /// Whether it is there, not only ordered, and for `host`.
    pub fn serves(&self, host: &str) -> bool {
        !self.not_before.is_empty() && zarpar_model::names_cover(&self.names, host)
    }
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its name.
    pub name: String,
    /// What it may say: `deploy`, `operate` or `admin`.
    pub role: String,
    /// The apps it may touch; absent when all.
    pub apps: Option<Vec<String>>,
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The algorithm's name.
    pub algorithm: String,
    /// The comment it came with.
    pub comment: String,
    /// When it was added.
    pub created_at: String,
}

/// A key that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAdded {
    /// The key.
    pub key: KeyView,
    /// The address of a remote, `USER@HOST:APP`; `HOST` and `APP` stand where they are not known.
    pub remote: String,
    /// The branch whose pushes are deployed, where one app is known.
    #[serde(default)]
    pub branch: Option<String>,
}
