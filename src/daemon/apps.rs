//! Apps, their hosts, and tokens.

use std::collections::BTreeMap;
use std::time::SystemTime;

use zarpar_control::{AppView, DomainView, TokenCreated};
use zarpar_model::{
    Access, App, AppName, BranchName, EnvKey, HostName, ReleaseNumber, Scope, Timestamp, Token,
};
use zarpar_services::Postgres;

use super::control::Answer;
use super::{Daemon, views};

impl Daemon {
    pub(crate) async fn app_create(
        &self,
        answer: &mut Answer,
        name: AppName,
        mut domains: Vec<HostName>,
        postgres: bool,
        branch: BranchName,
    ) -> anyhow::Result<u8> {
        if domains.is_empty() {
            domains.push(format!("{name}.localhost").parse()?);
        }
        self.not_the_console(&domains)?;
        if self.store.app(&name)?.is_some() {
            anyhow::bail!(
                "there is an app `{name}` already\nhint: `zarpar apps info {name}` shows it"
            );
        }
        let mut secrets = if postgres {
            Postgres::secrets(&name)?
        } else {
            BTreeMap::new()
        };
        let (_, random) = zarpar_receiver::new_token()
            .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        secrets.insert("SECRET_KEY".parse::<EnvKey>()?, random);
        let app = App {
            name: name.clone(),
            branch: branch.clone(),
            domains,
            postgres,
            created_at: SystemTime::now().into(),
            active: None,
            next_release: ReleaseNumber(1),
            scale: Vec::new(),
            maintenance: false,
        };
        tokio::task::block_in_place(|| self.store.create_app(app, secrets.clone()))?;
        if let Err(error) = self
            .furnish(answer, &name, &branch, postgres, &secrets)
            .await
        {
            // All or nothing: an app that is half there would refuse the next try.
            if let Err(left) = self.remove(&name).await {
                tracing::error!(app = %name, error = %zarpar_model::explain(left.as_ref()), "an app that could not be made is left in parts");
            }
            return Err(error);
        }
        answer.reply(&self.view(&self.app(&name)?).await?).await
    }

    async fn furnish(
        &self,
        answer: &mut Answer,
        name: &AppName,
        branch: &BranchName,
        postgres: bool,
        secrets: &BTreeMap<EnvKey, String>,
    ) -> anyhow::Result<()> {
        // What an app of this name left that was destroyed in part: its commits are not this one's.
        self.repositories.remove(name)?;
        self.repositories.create(name, branch).await?;
        if postgres {
            answer.note("starting Postgres 17 …").await?;
            self.builder.postgres(name).ensure(secrets).await?;
        }
        self.builder
            .publish()
            .await
            .map_err(|error| anyhow::anyhow!(error.explain()))
    }

    async fn remove(&self, name: &AppName) -> anyhow::Result<()> {
        self.builder
            .destroy(name)
            .await
            .map_err(|error| anyhow::anyhow!(error.explain()))?;
        Ok(self.repositories.remove(name)?)
    }

    /// The apps within `scope`.
    pub(crate) async fn app_list(&self, answer: &mut Answer, scope: &Scope) -> anyhow::Result<u8> {
        let mut views = Vec::new();
        for app in self.store.apps()? {
            if !scope.allows(&app.name) {
                continue;
            }
            views.push(self.view(&app).await?);
        }
        answer.reply(&views).await
    }

    pub(crate) async fn app_info(&self, answer: &mut Answer, name: &AppName) -> anyhow::Result<u8> {
        answer.reply(&self.view(&self.app(name)?).await?).await
    }

    pub(crate) async fn app_destroy(
        &self,
        answer: &mut Answer,
        name: &AppName,
    ) -> anyhow::Result<u8> {
        self.app(name)?;
        if self
            .store
            .unfinished()?
            .iter()
            .any(|deployment| deployment.app == *name)
        {
            anyhow::bail!(
                "a deployment of `{name}` is under way\nhint: wait for its end: `zarpar deployments {name}`"
            );
        }
        self.remove(name).await?;
        answer
            .note(format!(
                "`{name}` is gone, with its containers, images, database and files"
            ))
            .await?;
        Ok(0)
    }

    async fn view(&self, app: &App) -> anyhow::Result<AppView> {
        let active = match app.active {
            Some(active) => self.store.release(&app.name, active)?,
            None => None,
        };
        let state = match &active {
            None => "no release",
            Some(release) if release.web_targets().next().is_none() => {
                "down: its container is gone"
            }
            Some(_) => "live",
        };
        let sites = self.builder.sites(&app.domains).await;
        Ok(AppView {
            name: app.name.to_string(),
            state: state.to_owned(),
            release: active.as_ref().map(|release| release.number.to_string()),
            commit: active
                .as_ref()
                .and_then(|release| release.commit.as_ref())
                .map(ToString::to_string),
            domains: app.domains.iter().map(ToString::to_string).collect(),
            url: sites
                .first()
                .map(|site| site.url.clone())
                .unwrap_or_default(),
            branch: app.branch.to_string(),
            postgres: app.postgres,
            remote: format!("{}/git/{}.git", self.public_console_url(), app.name),
            created_at: app.created_at.to_string(),
        })
    }

    pub(crate) async fn domain_add(
        &self,
        answer: &mut Answer,
        app: &AppName,
        hosts: Vec<HostName>,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        self.not_the_console(&hosts)?;
        tokio::task::block_in_place(|| {
            self.store.update_app(app, |record| {
                for host in hosts {
                    if !record.domains.contains(&host) {
                        record.domains.push(host);
                    }
                }
                Ok::<(), zarpar_store::StoreError>(())
            })
        })?;
        self.domains_changed(answer, app).await
    }

    pub(crate) async fn domain_remove(
        &self,
        answer: &mut Answer,
        app: &AppName,
        hosts: &[HostName],
    ) -> anyhow::Result<u8> {
        let record = self.app(app)?;
        if let Some(unknown) = hosts.iter().find(|host| !record.domains.contains(host)) {
            anyhow::bail!(
                "`{app}` has no host `{unknown}`\nhint: `zarpar domains list {app}` shows what it has"
            );
        }
        if record.domains.iter().all(|host| hosts.contains(host)) {
            anyhow::bail!(
                "an app keeps at least one host, and these are all that `{app}` has\nhint: add another one first: `zarpar domains add {app} HOST`"
            );
        }
        tokio::task::block_in_place(|| {
            self.store.update_app(app, |record| {
                record.domains.retain(|host| !hosts.contains(host));
                Ok::<(), zarpar_store::StoreError>(())
            })
        })?;
        self.domains_changed(answer, app).await
    }

    /// The route changes at once; the app learns its hosts (`ALLOWED_HOSTS`) by a restart.
    async fn domains_changed(&self, answer: &mut Answer, app: &AppName) -> anyhow::Result<u8> {
        self.builder
            .publish()
            .await
            .map_err(|error| anyhow::anyhow!(error.explain()))?;
        self.restart(answer, app, "domains").await
    }

    pub(crate) async fn domain_list(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        let record = self.app(app)?;
        let hosts = record.domains.iter().enumerate();
        answer
            .reply(
                &hosts
                    .map(|(place, host)| DomainView {
                        domain: host.to_string(),
                        main: place == 0,
                    })
                    .collect::<Vec<_>>(),
            )
            .await
    }

    pub(crate) async fn token_create(
        &self,
        answer: &mut Answer,
        name: AppName,
        apps: Vec<AppName>,
        access: Access,
        lifetime: Option<u64>,
    ) -> anyhow::Result<u8> {
        for app in &apps {
            self.app(app)?;
        }
        let (secret, sha256) = zarpar_receiver::new_token()
            .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        let scope = if apps.is_empty() {
            Scope::All
        } else {
            Scope::Apps(apps)
        };
        let now = Timestamp::from(SystemTime::now());
        let token = Token {
            name: name.clone(),
            sha256,
            scope,
            created_at: now,
            access,
            expires_at: lifetime
                .map(|seconds| Timestamp(now.0.saturating_add(seconds.saturating_mul(1000)))),
        };
        tokio::task::block_in_place(|| self.store.create_token(token))?;
        answer
            .reply(&TokenCreated {
                name: name.to_string(),
                token: secret,
            })
            .await
    }

    pub(crate) async fn token_list(&self, answer: &mut Answer) -> anyhow::Result<u8> {
        let tokens = self.store.tokens()?;
        answer
            .reply(&tokens.iter().map(views::token).collect::<Vec<_>>())
            .await
    }

    pub(crate) async fn token_revoke(
        &self,
        answer: &mut Answer,
        name: &AppName,
    ) -> anyhow::Result<u8> {
        if !tokio::task::block_in_place(|| self.store.revoke_token(name))? {
            anyhow::bail!(
                "there is no token `{name}`\nhint: `zarpar tokens list` shows what there is"
            );
        }
        answer
            .note(format!("the token `{name}` opens nothing any more"))
            .await?;
        Ok(0)
    }
}
