//! The answers of the words about webhooks: what `--json` prints, so fields are only ever added.

use serde::{Deserialize, Serialize};

/// A webhook that was just made. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEnabled {
    /// The app.
    pub app: String,
    /// `github`, `gitlab`, …
    pub provider: String,
    /// The repository that is followed.
    pub repository: String,
    /// The branch that is followed.
    pub branch: String,
    /// Where the forge sends its deliveries.
    pub url: String,
    /// Whether other machines can reach that address; `false` when it is this machine's own.
    #[serde(default = "yes")]
    pub reachable: bool,
    /// What it signs them with.
    pub secret: String,
    /// Whether secret and deploy key stayed as they were; `secret` is empty then.
    #[serde(default)]
    pub kept: bool,
    /// The public half of the deploy key, one line.
    pub deploy_key: String,
    /// The fingerprints of the host keys that are pinned, for an ssh address.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// Seconds between two looks of zarpar's own.
    #[serde(default)]
    pub poll_seconds: Option<u64>,
    /// Whether there is a token for the forge's interface.
    #[serde(default)]
    pub forge_token: bool,
}

/// A server of before this field said nothing, and nothing is to be warned of.
fn yes() -> bool {
    true
}

impl std::fmt::Debug for WebhookEnabled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookEnabled")
            .field("app", &self.app)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The webhook of an app, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookView {
    /// The app.
    pub app: String,
    /// `github`, `gitlab`, …
    pub provider: String,
    /// The repository that is followed.
    pub repository: String,
    /// The branch that is followed.
    pub branch: String,
    /// Where the forge sends its deliveries.
    pub url: String,
    /// The public half of the deploy key, one line.
    pub deploy_key: String,
    /// The fingerprints of the host keys that are pinned, for an ssh address.
    pub host_keys: Vec<String>,
    /// Seconds between two looks of zarpar's own.
    pub poll_seconds: Option<u64>,
    /// What the last of those looks found, in words.
    pub last_look: Option<String>,
    /// Whether there is a token for the forge's interface.
    pub forge_token: bool,
    /// When it was made.
    pub created_at: String,
    /// The last deliveries, newest first.
    pub deliveries: Vec<DeliveryView>,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its number.
    pub number: u64,
    /// The forge's name for it.
    pub id: String,
    /// The forge's word for what happened.
    pub event: String,
    /// The commit, when it is about one.
    pub commit: Option<String>,
    /// `waiting`, `deploying`, `live`, `failed`, `ignored`.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// The deployment it led to.
    pub deployment: Option<u64>,
    /// The release that has its commit.
    pub release: Option<String>,
    /// When it was taken.
    pub received_at: String,
}
