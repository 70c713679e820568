//! `webhooks enable` of an app that follows its repository already: branch, poll and token, one by
//! one, with the secret and the key that were pasted at the forge.

use zarpar_model::Source;

use super::super::Daemon;
use super::super::control::Answer;
use super::Wish;

impl Daemon {
    /// Changes what is said of a repository that the app follows already. Secret and key stay:
    /// they were pasted at the forge.
    pub(super) async fn webhook_change(
        &self,
        answer: &mut Answer,
        wish: Wish,
        before: Source,
    ) -> anyhow::Result<u8> {
        let app = &wish.app;
        let another = wish.provider.is_some_and(|it| it != before.provider)
            || wish.repository.is_some_and(|it| it != before.url);
        if another {
            anyhow::bail!(
                "`{app}` follows `{}` of {} already\nhint: `zarpar webhooks disable {app}` first, then enable it for the other one",
                before.url,
                before.provider
            );
        }
        if wish.branch.is_none() && wish.poll_seconds.is_none() && wish.forge_token.is_none() {
            anyhow::bail!(
                "`{app}` follows `{}` of `{}` already\nhint: `--branch`, `--poll` and `--token-stdin` change these alone; `zarpar webhooks enable {app} --rotate` makes a new secret and a new deploy key; `zarpar webhooks show {app}` shows what there is, `zarpar webhooks disable {app}` ends it",
                before.branch,
                before.url
            );
        }
        let Some(mut secrets) = self.store.source_secrets(app)? else {
            anyhow::bail!(
                "the secrets of `{app}` are gone\nhint: `zarpar webhooks enable {app} --rotate` makes them anew"
            );
        };
        let mut source = before;
        if let Some(branch) = wish.branch
            && branch != source.branch
        {
            source.branch = branch;
            source.last_seen = None;
        }
        source.poll_seconds = wish.poll_seconds.or(source.poll_seconds);
        if let Some(token) = wish.forge_token {
            secrets.forge_token = Some(token.expose().to_owned());
            source.forge_token = true;
        }
        tokio::task::block_in_place(|| self.store.put_source(&source, &secrets))?;
        self.webhooks.changed.notify_one();
        self.try_source(answer, &source, &secrets).await?;
        self.enabled(answer, source, String::new(), true).await
    }
}
