//! After a start: store, Docker and disk are made to agree. A deployment that was at work is
//! undone with a reason; one that waited runs; a release that is active runs and is routed; one
//! that was replaced is retired; labelled things that no record names are removed. Nothing needs
//! a hand, and doing it twice changes nothing.

use std::collections::HashSet;

use zarpar_engine::{Container, Label};
use zarpar_model::{
    App, DeploymentId, EventKind, LABEL_DEPLOYMENT, LABEL_INSTANCE, LABEL_PROCESS, Outcome, Phase,
    PhaseEvent, Release, ReleaseState, Target,
};

use crate::error::DeployError;
use crate::{Builder, now};

impl Builder {
    /// Brings everything in order; call it before the queue runs.
    ///
    /// # Errors
    /// [`DeployError`] when the store or the engine cannot be read at all; a single app that
    /// cannot be brought up is logged and does not stop the others.
    pub async fn recover(&self) -> Result<(), DeployError> {
        self.undo_interrupted().await?;
        for app in self.store.apps()? {
            if let Err(error) = self.recover_app(&app).await {
                tracing::error!(app = %app.name, error = %error.explain(), "the app could not be brought up");
            }
        }
        self.publish().await?;
        for app in self.store.apps()? {
            for release in self.store.releases(&app.name)? {
                if release.state == ReleaseState::Draining {
                    self.retire_later(app.name.clone(), release.number);
                }
            }
        }
        self.remove_unnamed().await
    }

    async fn undo_interrupted(&self) -> Result<(), DeployError> {
        for deployment in self.store.unfinished()? {
            let Phase::Working { phase } = deployment.phase else {
                continue;
            };
            // A release task may be in the middle of a migration, which goes on without us;
            // removing its container would cut it. It gets to its end first.
            self.wait_for_tasks(deployment.id).await?;
            self.undo(&deployment).await;
            let again = match deployment.kind {
                zarpar_model::DeploymentKind::Push { .. } => "push again".to_owned(),
                _ => format!("`zarpar deploy {}` tries again", deployment.app),
            };
            let reason = format!(
                "zarpar stopped while it was {phase}; what it had made was removed and the release that was live was not touched\nhint: {again}"
            );
            self.durable(|store| {
                store.advance(deployment.id, PhaseEvent::Fail(reason.clone()), now())
            })?;
            self.journal.tell(
                deployment.id,
                EventKind::Finished {
                    outcome: Outcome::Failed,
                    text: reason,
                },
            );
        }
        Ok(())
    }

    async fn wait_for_tasks(&self, deployment: DeploymentId) -> Result<(), DeployError> {
        let id = deployment.to_string();
        let labels = [
            Label::Is(LABEL_INSTANCE, self.instance.id()),
            Label::Is(LABEL_DEPLOYMENT, &id),
            Label::Is(LABEL_PROCESS, "release"),
        ];
        for container in self.engine.containers_with_labels(&labels).await? {
            if container.state == "running" {
                self.engine.wait(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Starts what should run, and notes addresses that changed.
    async fn recover_app(&self, app: &App) -> Result<(), DeployError> {
        if app.postgres {
            self.postgres(&app.name)
                .ensure(&self.store.secrets(&app.name)?)
                .await?;
        }
        let Some(active) = app.active else {
            return Ok(());
        };
        let Some(release) = self.store.release(&app.name, active)? else {
            return Ok(());
        };
        let mut targets = Vec::new();
        for target in &release.targets {
            if let Some(target) = self.recover_target(app, &release, target).await? {
                targets.push(target);
            }
        }
        if targets != release.targets {
            self.durable(|store| store.set_targets(&app.name, active, targets))?;
        }
        Ok(())
    }

    async fn recover_target(
        &self,
        app: &App,
        release: &Release,
        target: &Target,
    ) -> Result<Option<Target>, DeployError> {
        let Some(mut container) = self.engine.container(&target.container).await? else {
            tracing::error!(app = %app.name, release = %release.number, process = %target.process, "its container is gone; `zarpar deploy {}` makes a new one", app.name);
            return Ok(None);
        };
        if !container.running {
            self.engine.start(&container.id).await?;
            if let Some(started) = self.engine.container(&container.id).await? {
                container = started;
            }
        }
        Ok(Some(Target {
            address: self.web_address(app, release, target, &container),
            ..target.clone()
        }))
    }

    fn web_address(
        &self,
        app: &App,
        release: &Release,
        target: &Target,
        container: &Container,
    ) -> Option<std::net::SocketAddr> {
        let ip = container.ip(&self.instance.network(&app.name))?;
        target
            .process
            .is_web()
            .then(|| std::net::SocketAddr::new(ip, release.port))
    }

    /// Removes containers and images of this instance that belong to a deployment no kept
    /// release names. Networks, volumes and databases are an app's and are never removed here.
    async fn remove_unnamed(&self) -> Result<(), DeployError> {
        let mut deployments: HashSet<String> = HashSet::new();
        let mut containers: HashSet<String> = HashSet::new();
        for app in self.store.apps()? {
            for release in self.store.releases(&app.name)? {
                deployments.insert(release.deployment.to_string());
                containers.extend(release.targets.into_iter().map(|target| target.container));
            }
        }
        let labels = [
            Label::Is(LABEL_INSTANCE, self.instance.id()),
            Label::Has(LABEL_DEPLOYMENT),
        ];
        for container in self.engine.containers_with_labels(&labels).await? {
            if !containers.contains(&container.id) {
                tracing::info!(container = %container.name, "removed, no record names it");
                self.engine.remove_container(&container.id).await?;
            }
        }
        let mut images: HashSet<String> = HashSet::new();
        for app in self.store.apps()? {
            images.extend(
                self.store
                    .releases(&app.name)?
                    .into_iter()
                    .map(|release| release.image),
            );
        }
        for image in self.engine.images_with_labels(&labels).await? {
            if !images.contains(&image.id) {
                self.engine.remove_image(&image.id, true).await?;
            }
        }
        Ok(())
    }
}
