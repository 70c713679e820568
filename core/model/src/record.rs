//! The records that outlive a process: apps, releases, deployments, tokens. They are plain
//! values; the store makes them durable. A release is immutable but for its state and the
//! containers that run it, so that a rollback finds exactly what was live.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    AppName, BranchName, CommitId, DeploymentId, HostName, ImageReference, Phase, ProcessName,
    ProjectConfig, ReleaseNumber, Timestamp,
};

/// An app: what its owner decided, and which release is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name, unique on this server.
    pub name: AppName,
    /// Pushes to this branch are deployed, all others refused.
    pub branch: BranchName,
    /// The hosts it answers for, the main one first.
    pub domains: Vec<HostName>,
    /// Whether it has a managed Postgres.
    pub postgres: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The release that answers requests. This is the pointer whose durable move makes a
    /// deployment live; nothing else says which release is active.
    pub active: Option<ReleaseNumber>,
    /// The number the next release takes; numbers are never used twice.
    pub next_release: ReleaseNumber,
    /// How many containers a process has, where it is not what `zarpar.toml` says.
    pub scale: Vec<(ProcessName, u32)>,
    /// Whether visitors get the maintenance page instead of the app.
    #[serde(default)]
    pub maintenance: bool,
}

/// One version of an app that was, is, or may be live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The app.
    pub app: AppName,
    /// Its number, shown as `v12`.
    pub number: ReleaseNumber,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// The commit it was built from; none when it is an image that was built elsewhere.
    #[serde(default)]
    pub commit: Option<CommitId>,
    /// How an image that was built elsewhere was named; what runs is `image`.
    #[serde(default)]
    pub reference: Option<ImageReference>,
    /// The release it repeats, when it is a rollback or a restart.
    pub origin: Option<ReleaseNumber>,
    /// Who or what triggered it.
    pub by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The image, by id (`sha256:…`), never by a tag that can move.
    pub image: String,
    /// `zarpar.toml` as it was in the commit.
    pub project: ProjectConfig,
    /// What the app's own settings said inside the image.
    pub settings: AppSettings,
    /// The TCP port the web process listens on.
    pub port: u16,
    /// The static set, by id, when the app has static files.
    pub static_set: Option<String>,
    /// Where it is in its life.
    pub state: ReleaseState,
    /// The containers that run it now.
    pub targets: Vec<Target>,
}

impl Release {
    /// The containers of the web process.
    pub fn web_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.process.is_web())
    }
}

/// A container of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The process it runs.
    pub process: ProcessName,
    /// The container's id.
    pub container: String,
    /// Where it listens, for a web process.
    pub address: Option<SocketAddr>,
}

/// Where static and media files are, asked from the app's own settings inside the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSettings {
    /// `STATIC_URL`, when it is a path on this site.
    pub static_url: Option<String>,
    /// `STATIC_ROOT`, an absolute path in the container.
    pub static_root: Option<String>,
    /// `MEDIA_URL`, when it is a path on this site.
    pub media_url: Option<String>,
    /// `MEDIA_ROOT`, an absolute path in the container.
    pub media_root: Option<String>,
    /// The user id the image runs as.
    pub uid: u32,
    /// The group id the image runs as.
    pub gid: u32,
}

/// Where a release is in its life. There is no way back: a rollback is a new release of a kept
/// image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Built or started, not routed.
    Candidate,
    /// It answers requests.
    Active,
    /// Replaced; it ends the requests it has.
    Draining,
    /// No container of it runs; its image and static set are kept.
    Retired,
}

/// A move of a release that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a release that is {from:?} cannot become {to:?}")]
pub struct ReleaseError {
    from: ReleaseState,
    to: ReleaseState,
}

impl ReleaseState {
    /// Moves forward.
    ///
    /// # Errors
    /// [`ReleaseError`] for a move backwards, and for a candidate that would drain.
    pub fn advance(self, to: ReleaseState) -> Result<ReleaseState, ReleaseError> {
        use ReleaseState::{Active, Candidate, Draining, Retired};
        match (self, to) {
            (Candidate, Active | Retired) | (Active, Draining | Retired) | (Draining, Retired) => {
                Ok(to)
            }
            (from, to) => Err(ReleaseError { from, to }),
        }
    }

    /// The word that listings show.
    pub fn as_str(self) -> &'static str {
        match self {
            ReleaseState::Candidate => "candidate",
            ReleaseState::Active => "active",
            ReleaseState::Draining => "draining",
            ReleaseState::Retired => "retired",
        }
    }
}

/// One attempt to make a release live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its number on this server.
    pub id: DeploymentId,
    /// The app.
    pub app: AppName,
    /// What is asked.
    pub kind: DeploymentKind,
    /// Who or what asked.
    pub by: String,
    /// Where it is.
    pub phase: Phase,
    /// The release it made, once it has a number.
    pub release: Option<ReleaseNumber>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What a deployment is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DeploymentKind {
    /// Deploy a commit that was pushed. The branch does not name it until it is live, so the
    /// commit alone says what to build.
    Push {
        /// The commit.
        commit: CommitId,
        /// The branch that moves to it once it is live; none moves for a webhook.
        #[serde(default)]
        branch: Option<PushedBranch>,
    },
    /// Deploy a commit that the repository already has.
    Deploy {
        /// The commit.
        commit: CommitId,
    },
    /// Deploy an image that was built elsewhere.
    Image {
        /// How the engine finds it.
        reference: ImageReference,
    },
    /// Make a kept release live again: image, env snapshot and static set of that release.
    Rollback {
        /// The release to repeat.
        to: ReleaseNumber,
    },
    /// The active image with the env, domains and scale of now.
    Restart,
}

/// What a push does to a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedBranch {
    /// The branch.
    pub name: BranchName,
    /// Where the pusher saw it; null when there was none.
    pub old: CommitId,
}

impl DeploymentKind {
    /// The word that listings show.
    pub fn as_str(&self) -> &'static str {
        match self {
            DeploymentKind::Push { .. } => "push",
            DeploymentKind::Deploy { .. } => "deploy",
            DeploymentKind::Image { .. } => "image",
            DeploymentKind::Rollback { .. } => "rollback",
            DeploymentKind::Restart => "restart",
        }
    }
}

/// A secret that lets its bearer push over HTTP. Only a hash of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name, unique on this server; it appears as `by` in deployments.
    pub name: AppName,
    /// SHA-256 of the secret, in hexadecimal. A plain hash is enough, because the secret is 32
    /// random bytes and not something a person chose.
    pub sha256: String,
    /// The apps it may touch.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it lets its bearer do; tokens of the first version say nothing and may push.
    #[serde(default)]
    pub access: Access,
    /// From when on it opens nothing any more.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it opens nothing any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// What a token lets its bearer do; the greater includes the lesser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Clone and fetch.
    Read,
    /// Push, which deploys.
    #[default]
    Push,
}

impl Access {
    /// The word that listings show.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Push => "push",
        }
    }
}

/// The apps a principal may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All apps, those made later too.
    All,
    /// These alone.
    Apps(Vec<AppName>),
}

impl Scope {
    /// Whether `app` is within the scope.
    pub fn allows(&self, app: &AppName) -> bool {
        match self {
            Scope::All => true,
            Scope::Apps(apps) => apps.contains(app),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ReleaseState::{Active, Candidate, Draining, Retired};

    #[test]
    fn a_release_never_goes_back() {
        for (from, to) in [
            (Retired, Active),
            (Draining, Active),
            (Active, Candidate),
            (Candidate, Draining),
            (Active, Active),
        ] {
            assert!(from.advance(to).is_err(), "{from:?} {to:?}");
        }
        assert_eq!(Candidate.advance(Active), Ok(Active));
        assert_eq!(Draining.advance(Retired), Ok(Retired));
    }

    #[test]
    fn a_token_of_the_first_version_may_push_and_does_not_expire() {
        let old = r#"{"name": "ci", "sha256": "00", "scope": "all", "created_at": 1}"#;
        let mut token: Token = serde_json::from_str(old).unwrap();
        assert_eq!((token.access, token.expires_at), (Access::Push, None));
        assert!(!token.is_expired(Timestamp(u64::MAX)));
        token.expires_at = Some(Timestamp(5));
        assert!(!token.is_expired(Timestamp(4)) && token.is_expired(Timestamp(5)));
        assert!(Access::Push > Access::Read);
    }
}
