//! Repositories of forges that apps follow: the words about them, and the handle to the task that
//! looks at them. What is kept in memory is who waits for a look and what the last looks of our
//! own found; the deliveries themselves are in the store, so a crash loses none.

mod change;
mod clock;
mod look;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{Notify, mpsc};
use zarpar_control::{Secret, WebhookEnabled, WebhookView};
use zarpar_model::{AppName, BranchName, CommitId, Provider, RepositoryUrl, Source, Transport};
use zarpar_receiver::{DeployKey, FetchSource, Taken, WebhookState};
use zarpar_store::SourceSecrets;

use super::control::Answer;
use super::{Daemon, views};

pub(crate) use worker::run;

/// Deliveries that `webhooks show` lists.
const LISTED: usize = 50;
/// The shortest time between two looks, in seconds; forges count requests.
const SHORTEST_POLL: u64 = 5;

/// The way to the task that looks at repositories; clones share it.
#[derive(Clone)]
pub(crate) struct Webhooks {
    taken: mpsc::UnboundedSender<Taken>,
    /// Somebody follows another repository than before, or none.
    changed: Arc<Notify>,
    /// What the last look without a delivery found, by app.
    looks: Arc<Mutex<BTreeMap<AppName, String>>>,
}

impl Webhooks {
    /// The handle, and what the task takes from it.
    pub(crate) fn new() -> (Webhooks, mpsc::UnboundedReceiver<Taken>) {
        let (taken, receiver) = mpsc::unbounded_channel();
        let webhooks = Webhooks {
            taken,
            changed: Arc::default(),
            looks: Arc::default(),
        };
        (webhooks, receiver)
    }

    fn note_look(&self, app: &AppName, found: Option<String>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(found) => looks.insert(app.clone(), found),
            None => looks.remove(app),
        };
    }

    fn last_look(&self, app: &AppName) -> Option<String> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(app).cloned()
    }
}

/// A wish to follow a repository.
pub(crate) struct Wish {
    pub(crate) app: AppName,
    pub(crate) provider: Option<Provider>,
    pub(crate) repository: Option<RepositoryUrl>,
    pub(crate) branch: Option<BranchName>,
    pub(crate) poll_seconds: Option<u64>,
    pub(crate) forge_token: Option<Secret>,
    pub(crate) rotate: bool,
}

impl Daemon {
    /// What the route of deliveries needs.
    pub(crate) fn webhook_state(&self) -> WebhookState {
        WebhookState::new(self.store.clone(), self.webhooks.taken.clone())
    }

    fn webhook_url(&self, app: &AppName) -> String {
        format!("{}/hooks/{app}", self.public_console_url())
    }

    pub(crate) async fn webhook_enable(
        &self,
        answer: &mut Answer,
        wish: Wish,
    ) -> anyhow::Result<u8> {
        let app = &wish.app;
        self.app(app)?;
        if let Some(poll) = wish.poll_seconds
            && poll < SHORTEST_POLL
        {
            anyhow::bail!(
                "expected at least {SHORTEST_POLL} seconds between two looks, found {poll}\nhint: `--poll 5m` looks every five minutes"
            );
        }
        let before = self.store.source(app)?;
        if let Some(before) = before.clone()
            && !wish.rotate
        {
            return self.webhook_change(answer, wish, before).await;
        }
        let provider = wish
            .provider
            .or(before.as_ref().map(|before| before.provider));
        let url = wish
            .repository
            .or(before.as_ref().map(|before| before.url.clone()));
        let (Some(provider), Some(url)) = (provider, url) else {
            anyhow::bail!(
                "`{app}` follows no repository yet, so there is nothing to change or to make anew\nhint: `zarpar webhooks enable {app} --provider github --repo URL`"
            );
        };
        let host_keys = match url.transport() {
            Transport::Ssh => zarpar_receiver::host_keys(&url, &self.fetch).await?,
            Transport::Https => Vec::new(),
        };
        let no_random = |error| anyhow::anyhow!("the system gives no random bytes: {error}");
        let key = DeployKey::new(app).map_err(no_random)?;
        // A token that was given once stays, it is not made by us; but only for the
        // repository it was given for, or whoever may name one could have it sent to a server of
        // theirs, or read with it what else it opens.
        let kept = match &before {
            Some(before) if before.provider == provider && is_one_repository(&before.url, &url) => {
                self.store.source_secrets(app)?
            }
            _ => None,
        };
        let secrets = SourceSecrets {
            webhook: zarpar_receiver::new_webhook_secret(provider).map_err(no_random)?,
            deploy_key: key.private.expose().to_owned(),
            forge_token: match wish.forge_token {
                Some(token) => Some(token.expose().to_owned()),
                None => kept.and_then(|secrets| secrets.forge_token),
            },
        };
        let branch = match (wish.branch, &before) {
            (Some(branch), _) => branch,
            (None, Some(before)) => before.branch.clone(),
            (None, None) => self.deploy_branch(app)?,
        };
        let last_seen = before
            .as_ref()
            .filter(|before| before.url == url && before.branch == branch)
            .and_then(|before| before.last_seen.clone());
        let source = Source {
            app: app.clone(),
            provider,
            url,
            branch,
            poll_seconds: wish
                .poll_seconds
                .or(before.and_then(|before| before.poll_seconds)),
            deploy_key_public: key.public,
            host_keys,
            forge_token: secrets.forge_token.is_some(),
            last_seen,
            created_at: SystemTime::now().into(),
        };
        tokio::task::block_in_place(|| self.store.put_source(&source, &secrets))?;
        self.webhooks.changed.notify_one();
        self.try_source(answer, &source, &secrets).await?;
        self.enabled(answer, source, secrets.webhook, false).await
    }

    /// Answers with what to do at the forge; `kept` when nothing new is to be pasted there.
    async fn enabled(
        &self,
        answer: &mut Answer,
        source: Source,
        secret: String,
        kept: bool,
    ) -> anyhow::Result<u8> {
        answer
            .reply(&WebhookEnabled {
                app: source.app.to_string(),
                provider: source.provider.to_string(),
                repository: source.url.to_string(),
                branch: source.branch.to_string(),
                url: self.webhook_url(&source.app),
                reachable: self.console_is_reachable(),
                secret,
                kept,
                deploy_key: source.deploy_key_public,
                host_keys: fingerprints(&source.host_keys),
                poll_seconds: source.poll_seconds,
                forge_token: source.forge_token,
            })
            .await
    }

    /// What is wrong with an https address is told now and not after the first push. An ssh
    /// address opens once the forge has the deploy key.
    async fn try_source(
        &self,
        answer: &mut Answer,
        source: &Source,
        secrets: &SourceSecrets,
    ) -> anyhow::Result<()> {
        if source.url.transport() == Transport::Ssh {
            return Ok(());
        }
        let wanted = FetchSource {
            url: &source.url,
            branch: &source.branch,
            credentials: look::credentials(source, secrets.clone()),
        };
        let tried =
            zarpar_receiver::fetch(&self.repositories, &source.app, &wanted, &self.fetch).await;
        if let Err(error) = tried {
            let reason = zarpar_model::explain(&error);
            answer
                .note(format!("it cannot be fetched yet: {reason}\n"))
                .await?;
        }
        Ok(())
    }

    /// What the app follows and the head of its branch, fetched now; `None` when it follows none.
    pub(crate) async fn fetched_head(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<Option<(Source, CommitId)>> {
        let (Some(source), Some(secrets)) =
            (self.store.source(app)?, self.store.source_secrets(app)?)
        else {
            return Ok(None);
        };
        let (url, branch) = (&source.url, &source.branch);
        answer
            .note(format!("fetching `{branch}` of {url} …"))
            .await?;
        let credentials = look::credentials(&source, secrets);
        let wanted = FetchSource {
            url,
            branch,
            credentials,
        };
        let head = zarpar_receiver::fetch(&self.repositories, app, &wanted, &self.fetch).await?;
        Ok(Some((source, head)))
    }

    /// Notes which head was accepted for deployment. The deployment goes on when that fails.
    pub(crate) fn note_seen(&self, source: &Source, head: &CommitId) {
        let noted = tokio::task::block_in_place(|| self.store.note_seen(source, head));
        if let Err(error) = noted {
            let error = zarpar_model::explain(&error);
            tracing::error!(app = %source.app, %error, "the head that was seen cannot be noted");
        }
    }

    pub(crate) async fn webhook_show(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        let source = self.followed(app)?;
        let deliveries = self.store.deliveries(app, LISTED)?;
        answer
            .reply(&WebhookView {
                app: app.to_string(),
                provider: source.provider.to_string(),
                repository: source.url.to_string(),
                branch: source.branch.to_string(),
                url: self.webhook_url(app),
                host_keys: fingerprints(&source.host_keys),
                deploy_key: source.deploy_key_public,
                poll_seconds: source.poll_seconds,
                last_look: self.webhooks.last_look(app),
                forge_token: source.forge_token,
                created_at: source.created_at.to_string(),
                deliveries: deliveries.iter().map(views::delivery).collect(),
            })
            .await
    }

    pub(crate) async fn webhook_disable(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        let source = self.followed(app)?;
        tokio::task::block_in_place(|| self.store.remove_source(app))?;
        self.webhooks.note_look(app, None);
        self.webhooks.changed.notify_one();
        answer
            .note(format!(
                "`{app}` follows `{}` no more\nhint: remove the webhook and the deploy key there too",
                source.url
            ))
            .await?;
        Ok(0)
    }

    fn followed(&self, app: &AppName) -> anyhow::Result<Source> {
        self.app(app)?;
        self.store.source(app)?.ok_or_else(|| {
            anyhow::anyhow!(
                "`{app}` follows no repository\nhint: `zarpar webhooks enable {app} --provider github --repo URL` makes it follow one"
            )
        })
    }
}

/// Whether a token for the one may be shown to the other.
fn is_one_repository(one: &RepositoryUrl, other: &RepositoryUrl) -> bool {
    // What tells a forge of a deployment goes to 443 when the repository is fetched over ssh.
    let port = |url: &RepositoryUrl| match url.transport() {
        Transport::Https => url.port(),
        Transport::Ssh => 443,
    };
    one.host() == other.host() && port(one) == port(other) && one.slug() == other.slug()
}

fn fingerprints(host_keys: &[String]) -> Vec<String> {
    host_keys
        .iter()
        .map(|key| zarpar_receiver::fingerprint(key))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_stays_with_the_repository_that_it_was_given_for() {
        let url = |text: &str| text.parse::<RepositoryUrl>().unwrap();
        let given = url("https://forge.example/ana/tienda.git");
        for (other, same) in [
            ("https://forge.example/ana/otra.git", false),
            ("https://forge.example/ana/tienda", true),
            ("ssh://git@forge.example/ana/tienda.git", true),
            ("https://forge.example:8443/ana/tienda.git", false),
            ("https://evil.example/ana/tienda.git", false),
        ] {
            assert_eq!(is_one_repository(&given, &url(other)), same, "{other}");
        }
    }
}
