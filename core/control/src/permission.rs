//! Who may say what: one table, from each word to the least role that may say it and to what it
//! is about. A request without a row does not compile, so nothing is allowed by being forgotten.
//! [`permit`] is the one choke point; the control plane asks it for every request that comes by
//! a key.

use zarpar_model::{AppName, DeploymentId, Role, Scope};

use crate::Request;

/// What a request says, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the request of its name")]
pub enum Word {
    AppCreate,
    AppDestroy,
    AppInfo,
    AppList,
    AsKey,
    CertificateAdd,
    CertificateList,
    CertificateRemove,
    CertificateRenew,
    CheckPush,
    ConsoleCertificateAdd,
    ConsoleCertificateRenew,
    Deploy,
    DeploymentCancel,
    DeploymentFollow,
    DeploymentList,
    DomainAdd,
    DomainList,
    DomainRemove,
    EnvChange,
    EnvList,
    Git,
    KeyAdd,
    KeyList,
    KeyRemove,
    Logs,
    Maintenance,
    ProcessList,
    ProcessScale,
    Push,
    ReleaseList,
    Rollback,
    Run,
    TokenCreate,
    TokenList,
    TokenRevoke,
    WebhookDisable,
    WebhookEnable,
    WebhookShow,
    WhoAmI,
}

/// What a word is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One app, which must be in the key's scope.
    App,
    /// What the key itself may see; the handler leaves out the rest.
    Own,
    /// The whole server; for keys whose scope is all of it.
    Server,
}

impl Word {
    /// The least role that may say it, and what it is about; `None`: no key ever may.
    pub fn rule(self) -> Option<(Role, Reach)> {
        use Role::{Admin, Deploy, Operate};
        Some(match self {
            // Only git's hooks on this server say these, and nobody is a key within a key.
            Word::AsKey | Word::CheckPush | Word::Push => return None,
            Word::WhoAmI | Word::AppList => (Deploy, Reach::Own),
            Word::AppInfo
            | Word::Deploy
            | Word::DeploymentCancel
            | Word::DeploymentFollow
            | Word::DeploymentList
            | Word::DomainList
            | Word::Git
            | Word::Logs
            | Word::ProcessList
            | Word::ReleaseList
            | Word::Rollback
            | Word::WebhookShow => (Deploy, Reach::App),
            Word::CertificateRenew
            | Word::DomainAdd
            | Word::DomainRemove
            | Word::EnvChange
            | Word::EnvList
            | Word::Maintenance
            | Word::ProcessScale
            | Word::Run
            | Word::WebhookDisable
            | Word::WebhookEnable => (Operate, Reach::App),
            Word::AppDestroy | Word::CertificateAdd => (Admin, Reach::App),
            Word::AppCreate
            | Word::CertificateList
            | Word::CertificateRemove
            | Word::ConsoleCertificateAdd
            | Word::ConsoleCertificateRenew
            | Word::KeyAdd
            | Word::KeyList
            | Word::KeyRemove
            | Word::TokenCreate
            | Word::TokenList
            | Word::TokenRevoke => (Admin, Reach::Server),
        })
    }
}

impl Request {
    /// What it says.
    pub fn word(&self) -> Word {
        self.sort().0
    }

    /// The app it names.
    pub fn app(&self) -> Option<&AppName> {
        self.sort().1
    }

    /// The deployment it names; the app it belongs to must be in the key's scope too.
    pub fn deployment(&self) -> Option<DeploymentId> {
        match self {
            Request::DeploymentFollow { id, .. } | Request::DeploymentCancel { id, .. } => {
                Some(*id)
            }
            _ => None,
        }
    }

    fn sort(&self) -> (Word, Option<&AppName>) {
        match self {
            Request::CheckPush { app, .. } => (Word::CheckPush, Some(app)),
            Request::Push { app, .. } => (Word::Push, Some(app)),
            Request::AppCreate { name, .. } => (Word::AppCreate, Some(name)),
            Request::AppList => (Word::AppList, None),
            Request::AppInfo { name } => (Word::AppInfo, Some(name)),
            Request::AppDestroy { name } => (Word::AppDestroy, Some(name)),
            Request::TokenCreate { .. } => (Word::TokenCreate, None),
            Request::TokenList => (Word::TokenList, None),
            Request::TokenRevoke { .. } => (Word::TokenRevoke, None),
            Request::DomainAdd { app, .. } => (Word::DomainAdd, Some(app)),
            Request::DomainRemove { app, .. } => (Word::DomainRemove, Some(app)),
            Request::DomainList { app } => (Word::DomainList, Some(app)),
            Request::Maintenance { app, .. } => (Word::Maintenance, Some(app)),
            Request::CertificateAdd { app, .. } => (Word::CertificateAdd, Some(app)),
            Request::CertificateRemove { .. } => (Word::CertificateRemove, None),
            Request::CertificateRenew { app } => (Word::CertificateRenew, Some(app)),
            Request::ConsoleCertificateAdd { .. } => (Word::ConsoleCertificateAdd, None),
            Request::ConsoleCertificateRenew { .. } => (Word::ConsoleCertificateRenew, None),
            Request::CertificateList => (Word::CertificateList, None),
            Request::EnvChange { app, .. } => (Word::EnvChange, Some(app)),
            Request::EnvList { app } => (Word::EnvList, Some(app)),
            Request::Deploy { app, .. } => (Word::Deploy, Some(app)),
            Request::DeploymentList { app } => (Word::DeploymentList, Some(app)),
            Request::DeploymentFollow { app, .. } => (Word::DeploymentFollow, app.as_ref()),
            Request::DeploymentCancel { app, .. } => (Word::DeploymentCancel, app.as_ref()),
            Request::ReleaseList { app } => (Word::ReleaseList, Some(app)),
            Request::Rollback { app, .. } => (Word::Rollback, Some(app)),
            Request::Logs { app, .. } => (Word::Logs, Some(app)),
            Request::Run { app, .. } => (Word::Run, Some(app)),
            Request::ProcessList { app } => (Word::ProcessList, Some(app)),
            Request::ProcessScale { app, .. } => (Word::ProcessScale, Some(app)),
            Request::KeyAdd { .. } => (Word::KeyAdd, None),
            Request::KeyList => (Word::KeyList, None),
            Request::KeyRemove { .. } => (Word::KeyRemove, None),
            Request::AsKey { .. } => (Word::AsKey, None),
            Request::Git { app, .. } => (Word::Git, Some(app)),
            Request::WebhookEnable { app, .. } => (Word::WebhookEnable, Some(app)),
            Request::WebhookShow { app } => (Word::WebhookShow, Some(app)),
            Request::WebhookDisable { app } => (Word::WebhookDisable, Some(app)),
            Request::WhoAmI => (Word::WhoAmI, None),
        }
    }

    /// Writes down who asks, whatever the client said of itself.
    pub fn set_by(&mut self, who: &str) {
        if let Request::Push { by, .. }
        | Request::Deploy { by, .. }
        | Request::DeploymentCancel { by, .. }
        | Request::Rollback { by, .. } = self
        {
            who.clone_into(by);
        }
    }
}

/// Why a key may not say something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody may, by a key.
    #[error("no key may say this\nhint: it is for zarpar's own programs on the server")]
    Never,
    /// A larger role is needed.
    #[error(
        "this needs the role `{needed}`, and the key has `{found}`\nhint: an admin changes it with `zarpar keys remove` and `zarpar keys add … --role {needed}`"
    )]
    Role {
        /// The least role that may.
        needed: Role,
        /// The key's.
        found: Role,
    },
    /// The app is none of the key's, or there is none of this name: both look the same.
    #[error("this key opens no app of this name\nhint: `apps list` shows those that it opens")]
    App,
    /// It is about the whole server.
    #[error(
        "this is about the whole server, and the key is limited to apps\nhint: `zarpar keys add` without `--app` gives a key that is not"
    )]
    Server,
}

/// Whether a key of this role and scope may say `request`. `deployed` is the app whose deployment
/// [`Request::deployment`] is, when there is such a deployment.
///
/// # Errors
/// [`Denied`].
pub fn permit(
    role: Role,
    scope: &Scope,
    request: &Request,
    deployed: Option<&AppName>,
) -> Result<(), Denied> {
    let (needed, reach) = request.word().rule().ok_or(Denied::Never)?;
    if reach == Reach::App {
        let mut named = request.app().into_iter().chain(deployed).peekable();
        // Nothing that is known to be the key's: a scope over everything alone covers it.
        let covered = named.peek().is_some() || *scope == Scope::All;
        if !covered || !named.all(|app| scope.allows(app)) {
            return Err(Denied::App);
        }
    }
    if role < needed {
        return Err(Denied::Role {
            needed,
            found: role,
        });
    }
    if reach == Reach::Server && *scope != Scope::All {
        return Err(Denied::Server);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
