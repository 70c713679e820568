//! What goes away: the traces of a deployment that failed, a release that was replaced, and
//! releases beyond the number that is kept. Everything here may be done twice, because recovery
//! does it again after a crash.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use zarpar_control::{ClientError, EdgeClient};
use zarpar_engine::{EngineError, Label};
use zarpar_model::{
    AppName, Deployment, DeploymentId, LABEL_DEPLOYMENT, LABEL_INSTANCE, LABEL_PROCESS, Release,
    ReleaseNumber, ReleaseState, Target,
};

use crate::Builder;
use crate::error::DeployError;

/// What a container gets to end after its last request: gunicorn's own graceful timeout.
const STOP: Duration = Duration::from_secs(30);

impl Builder {
    /// Removes all that a deployment made and that is not live: containers, image, static set,
    /// release record. Failures are logged; the next start tries again.
    pub(crate) async fn undo(&self, deployment: &Deployment) {
        let undone = async {
            self.remove_containers(deployment.id, None).await?;
            // A rollback repeats a release, so the image is not its own and has another
            // deployment's label.
            let id = deployment.id.to_string();
            for image in self
                .engine
                .images_with_labels(&[
                    Label::Is(LABEL_INSTANCE, self.instance.id()),
                    Label::Is(LABEL_DEPLOYMENT, &id),
                ])
                .await?
            {
                self.engine.remove_image(&image.id, true).await?;
            }
            for release in self.store.releases(&deployment.app)? {
                if release.deployment == deployment.id && release.state == ReleaseState::Candidate {
                    self.durable(|store| {
                        store
                            .retire(&deployment.app, release.number)
                            .and_then(|()| store.remove_release(&deployment.app, release.number))
                    })?;
                }
            }
            self.prune_static(&deployment.app).await
        };
        if let Err(error) = undone.await {
            tracing::error!(deployment = %deployment.id, %error, "traces of a failed deployment are left, the next start removes them");
        }
    }

    /// Removes the containers of a deployment, or those of one process of it.
    pub(crate) async fn remove_containers(
        &self,
        deployment: DeploymentId,
        process: Option<&str>,
    ) -> Result<(), EngineError> {
        let id = deployment.to_string();
        let mut labels = vec![
            Label::Is(LABEL_INSTANCE, self.instance.id()),
            Label::Is(LABEL_DEPLOYMENT, &id),
        ];
        labels.extend(process.map(|process| Label::Is(LABEL_PROCESS, process)));
        for container in self.engine.containers_with_labels(&labels).await? {
            self.engine.remove_container(&container.id).await?;
        }
        Ok(())
    }

    /// Drains and retires a replaced release, in a task of its own: the deployment that replaced
    /// it is done, and the pusher does not wait for slow visitors.
    pub(crate) fn retire_later(&self, app: AppName, number: ReleaseNumber) {
        let builder = self.clone();
        self.retiring.spawn(async move {
            let retired = builder.retire(&app, number).await;
            // An app that was destroyed meanwhile took its releases with it.
            let there = !matches!(builder.store.app(&app), Ok(None));
            if let Err(error) = retired
                && there
            {
                tracing::error!(%app, release = %number, %error, "the replaced release could not be retired, the next start does it");
            }
        });
    }

    /// Workers end first, since they take no requests; web containers end when their requests
    /// have, or when `[web] drain` is over.
    pub(crate) async fn retire(
        &self,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<(), DeployError> {
        let Some(release) = self.store.release(app, number)? else {
            return Ok(());
        };
        let (web, others): (Vec<&Target>, Vec<&Target>) = release
            .targets
            .iter()
            .partition(|target| target.process.is_web());
        self.end(&others).await?;
        let addresses: Vec<SocketAddr> = web.iter().filter_map(|target| target.address).collect();
        match self.drain(addresses, release.project.web.drain).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%app, release = %number, %error, "the edge could not be asked whether the old release still has requests")
            }
        }
        self.end(&web).await?;
        self.durable(|store| store.retire(app, number))?;
        self.prune(app).await
    }

    async fn drain(&self, targets: Vec<SocketAddr>, limit: Duration) -> Result<(), ClientError> {
        let mut edge = EdgeClient::connect(&self.folders.edge_socket).await?;
        for left in edge.wait_drained(targets, limit).await? {
            tracing::warn!(target = %left.address, requests = left.requests, "requests were not done within the drain limit");
        }
        Ok(())
    }

    async fn end(&self, targets: &[&Target]) -> Result<(), EngineError> {
        for target in targets {
            self.engine.stop(&target.container, STOP).await?;
            self.engine.remove_container(&target.container).await?;
        }
        Ok(())
    }

    /// Removes releases beyond the number that the active one wants kept, their images, and
    /// static files that no kept release names.
    pub(crate) async fn prune(&self, app: &AppName) -> Result<(), DeployError> {
        let Some(record) = self.store.app(app)? else {
            return Ok(());
        };
        let releases = self.store.releases(app)?;
        let keep = releases
            .iter()
            .find(|release| Some(release.number) == record.active)
            .map_or(5, |release| release.project.deploy.keep);
        let retired = releases
            .iter()
            .filter(|release| release.state == ReleaseState::Retired);
        let surplus: Vec<&Release> = retired.skip((keep as usize).saturating_sub(1)).collect();
        let images_kept: HashSet<&str> = releases
            .iter()
            .filter(|release| !surplus.iter().any(|gone| gone.number == release.number))
            .map(|release| release.image.as_str())
            .collect();
        for release in surplus {
            // An image that was built elsewhere is not ours to remove.
            if release.reference.is_none() && !images_kept.contains(release.image.as_str()) {
                self.engine.remove_image(&release.image, true).await?;
            }
            self.durable(|store| store.remove_release(app, release.number))?;
        }
        tokio::task::block_in_place(|| {
            self.journal
                .prune(|id| Ok::<bool, DeployError>(self.store.deployment(id)?.is_some()))
        })?;
        self.prune_static(app).await
    }

    async fn prune_static(&self, app: &AppName) -> Result<(), DeployError> {
        let _nobody_collects = self.files.removes(app).await;
        let kept: HashSet<String> = self
            .store
            .releases(app)?
            .into_iter()
            .filter_map(|release| release.static_set)
            .collect();
        Ok(tokio::task::block_in_place(|| {
            self.static_store(app).prune(&kept)
        })?)
    }

    /// Removes everything an app has: containers, images, network, database, volumes, files and
    /// records.
    ///
    /// # Errors
    /// [`DeployError`]; what is already gone is no error, so it can be said again.
    pub async fn destroy(&self, app: &AppName) -> Result<(), DeployError> {
        let labels = [
            Label::Is(LABEL_INSTANCE, self.instance.id()),
            Label::Is(zarpar_model::LABEL_APP, app.as_str()),
        ];
        self.durable(|store| store.remove_app(app))?;
        self.publish().await?;
        for container in self.engine.containers_with_labels(&labels).await? {
            self.engine.stop(&container.id, STOP).await?;
            self.engine.remove_container(&container.id).await?;
        }
        for image in self.engine.images_with_labels(&labels).await? {
            self.engine.remove_image(&image.id, true).await?;
        }
        for volume in self.engine.volumes_with_labels(&labels).await? {
            self.engine.remove_volume(&volume.name).await?;
        }
        self.engine
            .remove_network(&self.instance.network(app))
            .await?;
        tokio::task::block_in_place(|| self.static_store(app).prune(&HashSet::new()))?;
        Ok(())
    }
}
