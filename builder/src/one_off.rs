//! A container for one command of the live release: same image, environment, network and files.

use zarpar_engine::ContainerSpec;
use zarpar_model::AppName;

use crate::Builder;
use crate::error::DeployError;

impl Builder {
    /// Creates the container, not started, with its standard input open. The caller removes it;
    /// after a crash recovery does, by its label.
    ///
    /// # Errors
    /// [`DeployError::Missing`] when the app has no active release, or what the engine says.
    pub async fn one_off(
        &self,
        app: &AppName,
        command: Vec<String>,
        tty: bool,
    ) -> Result<String, DeployError> {
        let missing = |what: &str| DeployError::Missing {
            app: app.to_string(),
            what: what.to_owned(),
        };
        let record = self.store.app(app)?.ok_or_else(|| missing("record"))?;
        let active = record.active.ok_or_else(|| missing("release yet"))?;
        let release = self
            .store
            .release(app, active)?
            .ok_or_else(|| missing("active release"))?;
        let own = self.store.release_env(app, active)?;
        let env = self
            .environment(&record, &own, active, release.commit.as_ref(), release.port)
            .await?;
        let media = self.instance.volume(app, "media");
        let spec = ContainerSpec {
            image: release.image.clone(),
            entrypoint: Some(command),
            command: Some(Vec::new()),
            env,
            labels: self
                .instance
                .release_labels(app, active, release.deployment, "run"),
            network: Some(self.instance.network(app)),
            volumes: release
                .settings
                .media_root
                .iter()
                .map(|root| (media.clone(), root.clone()))
                .collect(),
            open_stdin: true,
            tty,
            ..ContainerSpec::default()
        };
        let id = self.engine.create_container(None, spec).await?;
        if let Err(error) = self.furnish(app, &release, &id).await {
            self.engine.remove_container(&id).await?;
            return Err(error);
        }
        Ok(id)
    }
}
