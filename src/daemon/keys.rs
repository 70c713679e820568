//! Keys of those who come by SSH, and what one of them says.

use std::time::SystemTime;

use zarpar_control::{Frame, GitProtocol, GitService, KeyAdded, Request, permit};
use zarpar_model::{AppName, PublicKey, Role, Scope, SshKey};
use zarpar_receiver::Visit;

use super::control::Answer;
use super::{Daemon, views};

impl Daemon {
    /// All or nothing: a key that sshd does not let in is not kept.
    pub(crate) async fn key_add(
        &self,
        answer: &mut Answer,
        name: AppName,
        key: PublicKey,
        role: Role,
        apps: Vec<AppName>,
    ) -> anyhow::Result<u8> {
        let first = match apps.first() {
            Some(app) => Some(self.app(app)?),
            None => None,
        };
        for app in &apps {
            self.app(app)?;
        }
        self.ssh.check()?;
        let scope = if apps.is_empty() {
            Scope::All
        } else {
            Scope::Apps(apps)
        };
        let key = SshKey {
            name: name.clone(),
            key,
            role,
            scope,
            created_at: SystemTime::now().into(),
        };
        tokio::task::block_in_place(|| self.store.create_key(&key))?;
        if let Err(error) = self.ssh.agree(self).await {
            tokio::task::block_in_place(|| self.store.remove_key(&name))?;
            return Err(error);
        }
        answer
            .reply(&KeyAdded {
                key: views::key(&key),
                remote: self.ssh.remote(
                    self.console_host.as_ref().map(|console| console.name()),
                    first.as_ref(),
                ),
                branch: first.map(|app| app.branch.to_string()),
            })
            .await
    }

    pub(crate) async fn key_list(&self, answer: &mut Answer) -> anyhow::Result<u8> {
        let keys = self.store.keys()?;
        answer
            .reply(&keys.iter().map(views::key).collect::<Vec<_>>())
            .await
    }

    /// The store first: from then on the key says nothing, whatever the file has.
    pub(crate) async fn key_remove(
        &self,
        answer: &mut Answer,
        name: &AppName,
    ) -> anyhow::Result<u8> {
        if !tokio::task::block_in_place(|| self.store.remove_key(name))? {
            anyhow::bail!("there is no key `{name}`\nhint: `zarpar keys list` shows what there is");
        }
        if let Err(error) = self.ssh.agree(self).await {
            let error = zarpar_model::explain(error.as_ref());
            answer.note(format!("the line of `{name}` could not be taken out, but opens nothing any more: {error}")).await?;
        }
        answer
            .note(format!("the key `{name}` opens nothing any more; what it has open goes on until it ends\nhint: `pkill -f -- '--key {name}( |$)'` ends that too"))
            .await?;
        Ok(0)
    }

    /// The one way of whatever a key says: who it is, whether it may, in whose name.
    pub(crate) async fn as_key(
        &self,
        answer: &mut Answer,
        name: &AppName,
        mut request: Request,
    ) -> anyhow::Result<u8> {
        let Some(key) = self.store.key(name)? else {
            anyhow::bail!(
                "the key `{name}` opens nothing here any more\nhint: ask the server's admin for `zarpar keys add`"
            );
        };
        let deployment = match request.deployment() {
            Some(id) => self.store.deployment(id)?,
            None => None,
        };
        let deployed = deployment.as_ref().map(|deployment| &deployment.app);
        permit(key.role, &key.scope, &request, deployed)?;
        let by = format!("ssh:{name}");
        request.set_by(&by);
        answer.who = Some(by.clone());
        match request {
            Request::WhoAmI => answer.reply(&views::key(&key)).await,
            Request::AppList => self.app_list(answer, &key.scope).await,
            Request::Git {
                app,
                service,
                protocol,
            } => self.git(answer, &app, service, protocol, &by).await,
            request => Box::pin(self.handle(request, answer)).await,
        }
    }

    async fn git(
        &self,
        answer: &mut Answer,
        app: &AppName,
        service: GitService,
        protocol: Option<GitProtocol>,
        by: &str,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        let session = self.receiver.visit(Visit {
            app,
            service,
            protocol,
            by,
        })?;
        if answer.send(Frame::Open).await.is_ok() {
            answer.carries_git = true;
        }
        session
            .run(answer.reader.get_mut(), answer.writer.get_mut())
            .await?;
        Ok(0)
    }
}
