//! What a client may ask. Names are parsed types, so a request that reached a handler is well
//! formed; unknown fields are refused, because an option that is silently dropped is a lie.

use std::collections::BTreeMap;

use crate::Secret;
use serde::{Deserialize, Serialize};
use zarpar_model::{
    Access, AppName, BranchName, CommitId, DeploymentId, EnvKey, HostName, ImageReference,
    ProcessName, Provider, ReleaseNumber, RepositoryUrl,
};
use zarpar_model::{PublicKey, Role};

use crate::{GitProtocol, GitService};

/// One request; the first line of a connection to the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The `pre-receive` hook: may these references be moved at all? `Done` or `Refused`.
    CheckPush {
        /// The app whose repository is pushed to.
        app: AppName,
        /// The references of the push; of more than 50 the first ones.
        updates: Vec<RefUpdate>,
        /// Where what came is until then.
        #[serde(default)]
        incoming: Incoming,
    },
    /// The `proc-receive` hook: deploy this commit and then move the deploy branch to it. Events,
    /// then `Done` with 0 when both are done.
    Push {
        /// The app.
        app: AppName,
        /// The commit.
        commit: CommitId,
        /// Who pushes.
        by: String,
        /// Where the pusher saw the branch; null when there was none.
        #[serde(default)]
        old: Option<CommitId>,
    },
    /// Make an app. Replies [`crate::AppView`].
    AppCreate {
        /// Its name.
        name: AppName,
        /// Its hosts; `NAME.localhost` when empty.
        domains: Vec<HostName>,
        /// Whether it gets a Postgres.
        postgres: bool,
        /// The branch whose pushes are deployed.
        branch: BranchName,
    },
    /// All apps. Replies a list of [`crate::AppView`].
    AppList,
    /// One app. Replies [`crate::AppView`].
    AppInfo {
        /// Its name.
        name: AppName,
    },
    /// Remove an app with its containers, images, database, files and history.
    AppDestroy {
        /// Its name.
        name: AppName,
    },
    /// Make a token. Replies [`crate::TokenCreated`].
    TokenCreate {
        /// Its name.
        name: AppName,
        /// The apps it may touch; all when empty.
        apps: Vec<AppName>,
        /// What it lets its bearer do.
        #[serde(default)]
        access: Access,
        /// How long it is good for, in seconds; for ever when absent.
        #[serde(default)]
        lifetime: Option<u64>,
    },
    /// All tokens. Replies a list of [`crate::TokenView`].
    TokenList,
    /// Make a token worthless.
    TokenRevoke {
        /// Its name.
        name: AppName,
    },
    /// Add hosts to an app and start it anew with them. Events.
    DomainAdd {
        /// The app.
        app: AppName,
        /// The hosts.
        hosts: Vec<HostName>,
    },
    /// Take hosts from an app. Events.
    DomainRemove {
        /// The app.
        app: AppName,
        /// The hosts.
        hosts: Vec<HostName>,
    },
    /// The hosts of an app. Replies a list of [`crate::DomainView`].
    DomainList {
        /// The app.
        app: AppName,
    },
    /// Show visitors the maintenance page, or the app again. Notes, then `Done`.
    Maintenance {
        /// The app.
        app: AppName,
        /// Whether the page is shown.
        on: bool,
    },
    /// Keep a certificate for hosts of an app and serve with it. Replies
    /// [`crate::CertificateView`].
    CertificateAdd {
        /// The app.
        app: AppName,
        /// The private key and the chain, as PEM.
        pem: Secret,
    },
    /// Forget a certificate that was given by hand. Replies [`crate::CertificateView`].
    CertificateRemove {
        /// Its name in the listing, or one of the hosts it is for.
        name: String,
    },
    /// Order a certificate for an app now. Notes, then `Done`.
    CertificateRenew {
        /// The app.
        app: AppName,
    },
    /// Keep a certificate for the console's own host. Replies [`crate::CertificateView`].
    ConsoleCertificateAdd {
        /// The host, as a check that it is meant.
        host: HostName,
        /// The private key and the chain, as PEM.
        pem: Secret,
    },
    /// Order a certificate for the console's own host now. Notes, then `Done`.
    ConsoleCertificateRenew {
        /// The host, as a check that it is meant.
        host: HostName,
    },
    /// All certificates. Replies a list of [`crate::CertificateView`].
    CertificateList,
    /// Change variables. Events when the app restarts.
    EnvChange {
        /// The app.
        app: AppName,
        /// New values; `None` removes.
        changes: BTreeMap<EnvKey, Option<String>>,
        /// Whether the active release is started anew with them at once.
        restart: bool,
    },
    /// The user's own variables. Replies a map.
    EnvList {
        /// The app.
        app: AppName,
    },
    /// Deploy a commit of the repository: the tip of the deploy branch, or what `revision` names
    /// (a full commit id or a branch). Events.
    Deploy {
        /// The app.
        app: AppName,
        /// A commit id or branch.
        revision: Option<String>,
        /// An image that was built elsewhere, instead of a commit.
        #[serde(default)]
        image: Option<ImageReference>,
        /// Who asks.
        by: String,
    },
    /// The last deployments. Replies a list of [`crate::DeploymentView`].
    DeploymentList {
        /// The app.
        app: AppName,
    },
    /// The events of a deployment from its start. Events.
    DeploymentFollow {
        /// The app it must be of, when it is said.
        #[serde(default)]
        app: Option<AppName>,
        /// Which.
        id: DeploymentId,
    },
    /// End a deployment that is not live and undo what it made. Events, then `Done` when it has
    /// ended.
    DeploymentCancel {
        /// The app it must be of, when it is said.
        #[serde(default)]
        app: Option<AppName>,
        /// Which.
        id: DeploymentId,
        /// Who asks.
        by: String,
    },
    /// The kept releases. Replies a list of [`crate::ReleaseView`].
    ReleaseList {
        /// The app.
        app: AppName,
    },
    /// Make an earlier release live. Events.
    Rollback {
        /// The app.
        app: AppName,
        /// Which; the one before the active one when absent.
        to: Option<ReleaseNumber>,
        /// Who asks.
        by: String,
    },
    /// What the app's containers print. Output.
    Logs {
        /// The app.
        app: AppName,
        /// Whether to go on with what comes.
        follow: bool,
        /// How many of the last lines of each container.
        lines: u32,
        /// One process alone.
        process: Option<ProcessName>,
    },
    /// Run a command in a container of its own of the active release. Output, input.
    Run {
        /// The app.
        app: AppName,
        /// The command and its arguments; no shell reads them.
        command: Vec<String>,
        /// Whether it gets a terminal.
        tty: bool,
    },
    /// The processes of an app. Replies a list of [`crate::ProcessView`].
    ProcessList {
        /// The app.
        app: AppName,
    },
    /// Change how many containers processes have. Events.
    ProcessScale {
        /// The app.
        app: AppName,
        /// Processes and their numbers.
        counts: BTreeMap<ProcessName, u32>,
    },
    /// Let a key in over SSH. Replies [`crate::KeyAdded`].
    KeyAdd {
        /// Its name.
        name: AppName,
        /// The key.
        key: PublicKey,
        /// What it may say.
        role: Role,
        /// The apps it may touch; all when empty.
        apps: Vec<AppName>,
    },
    /// All keys. Replies a list of [`crate::KeyView`].
    KeyList,
    /// Let a key in no more.
    KeyRemove {
        /// Its name.
        name: AppName,
    },
    /// What somebody says who came by SSH with this key; the control plane looks it up and
    /// [`crate::permit`] decides. The answer is the inner request's.
    AsKey {
        /// The key's name.
        key: AppName,
        /// What is said.
        request: Box<Request>,
    },
    /// A push or fetch, by a key alone. [`crate::Frame::Open`], then [`crate::GitPiece`]s.
    Git {
        /// The app.
        app: AppName,
        /// Which.
        service: GitService,
        /// The version of the protocol that the client wishes for.
        protocol: Option<GitProtocol>,
    },
    /// The key that says this, and what it may. Replies [`crate::KeyView`].
    WhoAmI,
    /// Follow a repository of a forge, and take its webhooks. Replies [`crate::WebhookEnabled`].
    WebhookEnable {
        /// The app.
        app: AppName,
        /// Whose webhooks; those of before when absent.
        provider: Option<Provider>,
        /// The repository; the one of before when absent.
        repository: Option<RepositoryUrl>,
        /// The branch; the one of before or the app's deploy branch when absent.
        branch: Option<BranchName>,
        /// Seconds between two looks of our own.
        poll_seconds: Option<u64>,
        /// What opens the forge's interface.
        forge_token: Option<Secret>,
        /// Whether secret and deploy key are made anew when there is a webhook already; what is
        /// absent stays as it was then.
        rotate: bool,
    },
    /// The webhook of an app and its last deliveries. Replies [`crate::WebhookView`].
    WebhookShow {
        /// The app.
        app: AppName,
    },
    /// Follow nothing any more.
    WebhookDisable {
        /// The app.
        app: AppName,
    },
}

/// One line of what git gives a `pre-receive` hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefUpdate {
    /// The object before; null when the reference is new.
    pub old: CommitId,
    /// The object after; null when the reference is removed.
    pub new: CommitId,
    /// The full name of the reference, as the client sent it: never trusted, only compared.
    pub reference: String,
}

/// The objects of a push while its `pre-receive` hook runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incoming {
    /// The number under which the control plane knows the push.
    pub receive: Option<u64>,
    /// The folder of the repository's `objects` in which git has them: a name, never trusted, as
    /// part of a path only in the form that git gives it.
    pub quarantine: Option<String>,
}
