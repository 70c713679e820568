//! Certificates: the edge keeps them and knows what is wrong with one; here the app is looked up.

use zarpar_control::{EdgeClient, EdgeRequest, Secret};
use zarpar_model::{AppName, HostName};

use super::Daemon;
use super::control::Answer;

impl Daemon {
    pub(crate) async fn certificate_add(
        &self,
        answer: &mut Answer,
        app: &AppName,
        pem: Secret,
    ) -> anyhow::Result<u8> {
        let app = self.app(app)?;
        let request = EdgeRequest::CertificateAdd {
            hosts: app.domains.iter().map(ToString::to_string).collect(),
            pem,
        };
        let added = self.edge().await?.certificates(&request).await?;
        answer.reply(&added.first()).await
    }

    pub(crate) async fn certificate_remove(
        &self,
        answer: &mut Answer,
        name: String,
    ) -> anyhow::Result<u8> {
        let request = EdgeRequest::CertificateRemove { name };
        let removed = self.edge().await?.certificates(&request).await?;
        answer.reply(&removed.first()).await
    }

    pub(crate) async fn certificate_renew(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        let app = self.app(app)?.name.to_string();
        self.order(answer, app).await
    }

    pub(crate) async fn console_certificate_add(
        &self,
        answer: &mut Answer,
        host: &HostName,
        pem: Secret,
    ) -> anyhow::Result<u8> {
        self.is_the_console(host)?;
        let hosts = vec![host.to_string()];
        let request = EdgeRequest::CertificateAdd { hosts, pem };
        let added = self.edge().await?.certificates(&request).await?;
        answer.reply(&added.first()).await
    }

    pub(crate) async fn console_certificate_renew(
        &self,
        answer: &mut Answer,
        host: &HostName,
    ) -> anyhow::Result<u8> {
        self.is_the_console(host)?;
        self.order(answer, zarpar_router::CONSOLE.to_owned()).await
    }

    async fn order(&self, answer: &mut Answer, app: String) -> anyhow::Result<u8> {
        let request = EdgeRequest::CertificateRenew { app };
        self.edge().await?.certificates(&request).await?;
        answer
            .note("ordering now; `zarpar certificates list` shows how it went")
            .await?;
        Ok(0)
    }

    pub(crate) async fn certificate_list(&self, answer: &mut Answer) -> anyhow::Result<u8> {
        let request = EdgeRequest::Certificates;
        let all = self.edge().await?.certificates(&request).await?;
        answer.reply(&all).await
    }

    async fn edge(&self) -> anyhow::Result<EdgeClient> {
        Ok(EdgeClient::connect(&self.edge_socket).await?)
    }
}
