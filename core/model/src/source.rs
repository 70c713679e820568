//! Code that comes from a forge: which repository an app follows, and what the forge told us about
//! it. Nothing here is secret; the webhook's secret and the deploy key are sealed in the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    AppName, BranchName, CommitId, DeploymentId, Provider, ReleaseNumber, RepositoryUrl, Timestamp,
};

/// The one repository that an app's code is fetched from. A URL that a payload brings along is
/// never used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The app.
    pub app: AppName,
    /// Whose webhooks and interface the repository has.
    pub provider: Provider,
    /// Where it is fetched from.
    pub url: RepositoryUrl,
    /// The branch whose head is deployed.
    pub branch: BranchName,
    /// Seconds between two looks of our own, for a server that the forge cannot reach.
    #[serde(default)]
    pub poll_seconds: Option<u64>,
    /// The public half of the deploy key, as a line of OpenSSH's.
    pub deploy_key_public: String,
    /// The pinned host keys of an ssh address: lines of known_hosts without the host.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// Whether there is a token for the forge's interface; the token itself is sealed.
    #[serde(default)]
    pub forge_token: bool,
    /// The head of the branch that was handed on for deployment last. The same head once more is
    /// no news, whatever people deployed by hand since.
    #[serde(default)]
    pub last_seen: Option<CommitId>,
    /// When it was made, or made anew.
    pub created_at: Timestamp,
}

/// What a forge calls one delivery of a webhook: the same text again when it sends it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId(String);

/// A text that cannot be the name of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the id of a delivery, of 1 to 128 letters, digits and `._:{{}}=+-`, found one of {0} bytes"
)]
pub struct DeliveryIdError(usize);

impl DeliveryId {
    /// The id of a delivery that has none: what stands for its bytes, such as their hash.
    pub fn of_bytes(hash: &[u8]) -> DeliveryId {
        let digits: String = hash.iter().take(32).map(|b| format!("{b:02x}")).collect();
        DeliveryId(format!("body-{digits}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DeliveryId {
    type Err = DeliveryIdError;

    fn from_str(text: &str) -> Result<DeliveryId, DeliveryIdError> {
        let good = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:{}=+-".contains(&b));
        good.then(|| DeliveryId(text.to_owned()))
            .ok_or(DeliveryIdError(text.len()))
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = DeliveryIdError;
    fn try_from(text: String) -> Result<DeliveryId, DeliveryIdError> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> String {
        id.0
    }
}

/// One delivery whose signature was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The app.
    pub app: AppName,
    /// Its place among the deliveries of the app, given by the store.
    pub number: u64,
    /// The forge's name for it.
    pub id: DeliveryId,
    /// The forge's word for what happened (`push`, `ping`, …).
    pub event: String,
    /// The head of the branch after it, as the payload says.
    pub commit: Option<CommitId>,
    /// When it was taken.
    pub received_at: Timestamp,
    /// What became of it.
    pub state: DeliveryState,
    /// While it waits: why the last try failed and when the next one is, in words.
    #[serde(default)]
    pub last_try: Option<String>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DeliveryState {
    /// It is durable; the repository is yet to be looked at.
    Waiting,
    /// Its commit is being deployed.
    Deploying {
        /// The deployment.
        deployment: DeploymentId,
    },
    /// Its commit is live, or was before the delivery came.
    Live {
        /// The release that has it.
        release: Option<ReleaseNumber>,
        /// The deployment, when there was one.
        deployment: Option<DeploymentId>,
    },
    /// The fetch or the deployment failed.
    Failed {
        /// Why.
        reason: String,
        /// The deployment, when there was one.
        deployment: Option<DeploymentId>,
    },
    /// Nothing had to be done.
    Ignored {
        /// Why.
        reason: String,
    },
}

impl DeliveryState {
    /// The word that listings show.
    pub fn as_str(&self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Deploying { .. } => "deploying",
            DeliveryState::Live { .. } => "live",
            DeliveryState::Failed { .. } => "failed",
            DeliveryState::Ignored { .. } => "ignored",
        }
    }

    /// Whether the same delivery once more has nothing to do: it succeeded or is under way. After
    /// a failure, and after a reason to ignore it that may have passed, it is looked at again.
    pub fn settles_a_repeat(&self) -> bool {
        !matches!(
            self,
            DeliveryState::Failed { .. } | DeliveryState::Ignored { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_of_forges_are_taken_and_paths_are_not() {
        for text in [
            "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "{e5a1b2c3-0000-4000-8000-000000000000}",
            "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        ] {
            assert_eq!(text.parse::<DeliveryId>().unwrap().as_str(), text);
        }
        for text in ["", "a/b", "a b", "a\nb", "ñ", &"a".repeat(129)] {
            assert!(text.parse::<DeliveryId>().is_err(), "{text}");
        }
    }
}
