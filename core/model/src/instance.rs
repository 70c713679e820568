//! How the things zarpar makes in Docker are named and labelled. Every name and label set
//! carries the instance, an id that a data folder gets once: two zarpars on one engine (a test
//! beside a server, say) never touch each other's things, and recovery can remove what nobody
//! names without asking whose it is.

use std::collections::BTreeMap;

use crate::{AppName, DeploymentId, ProcessName, ReleaseNumber};

/// The label with the instance; everything zarpar makes has it.
pub const LABEL_INSTANCE: &str = "zarpar.instance";
/// The label with the app.
pub const LABEL_APP: &str = "zarpar.app";
/// The label with the release.
pub const LABEL_RELEASE: &str = "zarpar.release";
/// The label with the deployment.
pub const LABEL_DEPLOYMENT: &str = "zarpar.deployment";
/// The label with the process.
pub const LABEL_PROCESS: &str = "zarpar.process";

/// The identity of a data folder in Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    id: String,
    extra: BTreeMap<String, String>,
}

impl Instance {
    /// `id` is eight hexadecimal digits; `extra` are further labels that the server's
    /// configuration asks for.
    pub fn new(id: String, extra: BTreeMap<String, String>) -> Instance {
        Instance { id, extra }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The app's network.
    pub fn network(&self, app: &AppName) -> String {
        format!("zarpar-{}-{app}", self.id)
    }

    /// A volume of the app: `media`, `db`.
    pub fn volume(&self, app: &AppName, what: &str) -> String {
        format!("zarpar-{}-{app}-{what}", self.id)
    }

    /// The container of a service of the app: `db`.
    pub fn service(&self, app: &AppName, what: &str) -> String {
        format!("zarpar-{}-{app}-{what}", self.id)
    }

    /// A container of a release. Release numbers are never used twice, so neither are these.
    pub fn container(
        &self,
        app: &AppName,
        release: ReleaseNumber,
        process: &ProcessName,
        copy: u32,
    ) -> String {
        format!("zarpar-{}-{app}-{release}-{process}-{copy}", self.id)
    }

    /// Labels of what belongs to the app alone: networks, volumes, services.
    pub fn app_labels(&self, app: &AppName) -> BTreeMap<String, String> {
        let mut labels = self.extra.clone();
        labels.insert(LABEL_INSTANCE.to_owned(), self.id.clone());
        labels.insert(LABEL_APP.to_owned(), app.to_string());
        labels
    }

    /// Labels of what a deployment makes.
    pub fn release_labels(
        &self,
        app: &AppName,
        release: ReleaseNumber,
        deployment: DeploymentId,
        process: &str,
    ) -> BTreeMap<String, String> {
        let mut labels = self.app_labels(app);
        labels.insert(LABEL_RELEASE.to_owned(), release.to_string());
        labels.insert(LABEL_DEPLOYMENT.to_owned(), deployment.to_string());
        labels.insert(LABEL_PROCESS.to_owned(), process.to_owned());
        labels
    }
}
