//! After a start: store, Docker and disk are made to agree. A deployment that was at work is
//! undone with a reason; one that waited runs; a release that is active runs with all its
//! processes and is routed, made anew from its image where containers are gone; one that was
//! replaced is retired; labelled things that no record names are removed. Nothing needs a hand,
//! and doing it twice changes nothing.

use std::collections::HashSet;

use zarpar_engine::{Label, RestartPolicy};
use zarpar_model::{
    App, DeploymentId, EventKind, LABEL_DEPLOYMENT, LABEL_INSTANCE, LABEL_PROCESS, Outcome, Phase,
    PhaseEvent, ProcessName, Release, ReleaseState, Target,
};

use crate::error::DeployError;
use crate::pipeline::scale;
use crate::{Builder, Draft, now};

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
            self.tell_end(deployment.id);
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

    /// Makes the active release whole: every container it should have runs, is healthy when it
    /// was started here, and is recorded with its address.
    async fn recover_app(&self, app: &App) -> Result<(), DeployError> {
        let secrets = self.store.secrets(&app.name)?;
        self.prepare_surroundings(app, &secrets).await?;
        let Some(active) = app.active else {
            return Ok(());
        };
        let Some(release) = self.store.release(&app.name, active)? else {
            return Ok(());
        };
        // Visitors do not need the repository: one that cannot be read keeps no site down.
        if let Err(error) = self.recover_branch(app, &release) {
            tracing::error!(app = %app.name, error = %error.explain(), "whether the branch names the live commit cannot be made sure");
        }
        let own = self.store.release_env(&app.name, active)?;
        let env = self
            .environment(app, &own, active, release.commit.as_ref(), release.port)
            .await?;
        let draft = self.draft(app, &release, env, None);
        let mut targets = Vec::new();
        for process in std::iter::once(&ProcessName::web()).chain(release.project.processes.keys())
        {
            for copy in 1..=scale(app, &release, process) {
                match self.recover_copy(&draft, &release, process, copy).await {
                    Ok(target) => targets.push(target),
                    Err(error) => {
                        tracing::error!(app = %app.name, %process, error = %error.explain(), "a process could not be brought up; `zarpar deploy {}` builds it anew", app.name);
                        targets.extend(self.as_recorded(&release, process, copy).await);
                    }
                }
            }
        }
        if targets != release.targets {
            self.durable(|store| store.set_targets(&app.name, active, targets))?;
        }
        Ok(())
    }

    /// What is recorded of a copy that could not be brought up: kept, or a passing trouble of the
    /// engine would end a container that serves; unless the engine says that it is gone.
    async fn as_recorded(
        &self,
        release: &Release,
        process: &ProcessName,
        copy: u32,
    ) -> Option<Target> {
        let mut recorded = release
            .targets
            .iter()
            .filter(|target| target.process == *process);
        let target = recorded.nth(copy as usize - 1)?;
        let gone = matches!(self.engine.container(&target.container).await, Ok(None));
        (!gone).then(|| target.clone())
    }

    /// A recorded container is started when it does not run. One that no record names was being
    /// made when zarpar stopped: it may lack its files, so it is made anew, as one that is gone.
    async fn recover_copy(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        process: &ProcessName,
        copy: u32,
    ) -> Result<Target, DeployError> {
        let name = self
            .instance
            .container(&draft.app.name, release.number, process, copy);
        let found = self.engine.container(&name).await?;
        let recorded = found.filter(|container| {
            let mut recorded = release.targets.iter();
            recorded.any(|target| target.container == container.id)
        });
        let target = match recorded {
            Some(container) => {
                if !container.running {
                    self.engine.start(&container.id).await?;
                }
                let address = if process.is_web() {
                    Some(self.address(draft, release, &container.id).await?)
                } else {
                    None
                };
                let target = Target {
                    process: process.clone(),
                    container: container.id,
                    address,
                };
                if container.running {
                    return Ok(target);
                }
                target
            }
            None => {
                self.engine.remove_container(&name).await?;
                self.start_copy(draft, release, process, copy).await?
            }
        };
        // Slow is better than nothing: what was live is routed also when it is not healthy, and
        // the engine goes on starting it.
        if let Err(error) = self.probe(draft, release, &target).await {
            tracing::error!(app = %draft.app.name, %process, error = %error.explain(), "a container was started and is not healthy");
            let keep = RestartPolicy::UnlessStopped;
            self.engine
                .set_restart_policy(&target.container, keep)
                .await?;
        }
        Ok(target)
    }

    /// Removes containers and images of this instance that belong to a deployment no kept
    /// release names. Networks, volumes and databases are an app's and are never removed here.
    async fn remove_unnamed(&self) -> Result<(), DeployError> {
        let mut containers: HashSet<String> = HashSet::new();
        let mut images: HashSet<String> = HashSet::new();
        for app in self.store.apps()? {
            for release in self.store.releases(&app.name)? {
                containers.extend(release.targets.into_iter().map(|target| target.container));
                images.insert(release.image);
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
        for image in self.engine.images_with_labels(&labels).await? {
            if !images.contains(&image.id) {
                self.engine.remove_image(&image.id, true).await?;
            }
        }
        Ok(())
    }
}
