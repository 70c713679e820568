//! The way of one deployment, from its commit to the swap, in the order things happen. Each step
//! takes what the step before made. Everything made on the way carries the deployment's label,
//! so one sweep undoes a deployment that did not reach its end (`retention.rs`).

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::FutureExt;
use zarpar_model::{
    App, Deployment, DeploymentId, DeploymentKind, EnvKey, EventKind, Outcome, Phase, PhaseEvent,
    ProcessName, Release, Target, WorkPhase, show_span,
};

use crate::cancel::{TooLate, Work};
use crate::error::{DeployError, cancelled};
use crate::{Builder, Draft, hold, now};

impl Builder {
    /// Runs one deployment to its end and tells the end in its log. Never panics and never
    /// leaves a deployment without a final phase, unless the store takes no more changes.
    pub async fn deploy(&self, deployment: &Deployment) {
        let began = Instant::now();
        let work = self.at_work.begin(deployment.id);
        let attempt = std::panic::AssertUnwindSafe(self.attempt(deployment)).catch_unwind();
        // A cancelled attempt is dropped at the end of this statement, before anything is undone.
        let result = tokio::select! {
            biased;
            result = attempt => {
                result.unwrap_or_else(|panic| Err(DeployError::Bug(panic_text(panic.as_ref()))))
            }
            () = work.cancelled(1) => Err(DeployError::Bug("cancelled by nobody".to_owned())),
        };
        let result = match (work.close(TooLate::Ending), result) {
            (Some(by), Err(_)) => Err(DeployError::Cancelled { by }),
            (_, result) => result,
        };
        // However it ended; visitors come first.
        self.give_up_hold(deployment).await;
        let end = match result {
            Ok(url) => Some((
                Outcome::Live,
                format!("{url} ({} in all)", show_span(began.elapsed())),
            )),
            Err(error) => self.end_without_release(deployment, &work, error).await,
        };
        self.at_work.end(deployment.id);
        if let Some((outcome, text)) = end {
            self.journal
                .tell(deployment.id, EventKind::Finished { outcome, text });
            self.tell_end(deployment.id);
        }
    }

    /// Undoes and records; what to tell. `None` when it was superseded or cancelled between its
    /// turn and its first step, which was told then.
    async fn end_without_release(
        &self,
        deployment: &Deployment,
        work: &Work,
        error: DeployError,
    ) -> Option<(Outcome, String)> {
        let record = self.store.deployment(deployment.id).ok().flatten();
        let phase = record.map(|record| record.phase);
        if phase
            .as_ref()
            .is_some_and(|phase| phase.outcome().is_some_and(|end| end != Outcome::Live))
        {
            return None;
        }
        if phase.as_ref().and_then(Phase::outcome) == Some(Outcome::Live) {
            // What failed came after the release was recorded as active. It serves, so nothing of
            // it is undone.
            let text = format!(
                "it is live, and what follows did not work: {}\nhint: `zarpar serve` makes it whole when it starts again",
                error.explain()
            );
            tracing::error!(deployment = %deployment.id, %text, "after a release went live");
            return Some((Outcome::Live, text));
        }
        let (outcome, event, text) = match error {
            DeployError::Cancelled { by } => {
                let during = match phase {
                    Some(Phase::Working { phase }) => Some(phase),
                    _ => None,
                };
                let note = format!("cancelled by {by}, ending what is at work");
                self.journal
                    .tell(deployment.id, EventKind::Note { text: note });
                self.end_work(deployment, work).await;
                if during == Some(WorkPhase::Building) {
                    self.sweep_images_later(deployment.id);
                }
                let text = cancelled(deployment, &by, during);
                (Outcome::Cancelled, PhaseEvent::Cancel(by), text)
            }
            error => {
                let reason = error.explain();
                (Outcome::Failed, PhaseEvent::Fail(reason.clone()), reason)
            }
        };
        // A store that takes no more changes may or may not have recorded the release as active;
        // what runs is left alone, and the next start reads what was recorded.
        if self.store.fault().is_none() {
            self.undo(deployment).await;
        }
        if let Err(error) = self.durable(|store| store.advance(deployment.id, event, now())) {
            tracing::error!(deployment = %deployment.id, %error, "cannot record how the deployment ended");
        }
        Some((outcome, text))
    }

    async fn attempt(&self, deployment: &Deployment) -> Result<String, DeployError> {
        let app = self.app(deployment)?;
        if let DeploymentKind::Push {
            commit,
            branch: Some(pushed),
        } = &deployment.kind
        {
            self.may_move(&app.name, commit, pushed)?;
        }
        let files = self.files.collects(&app.name).await;
        let made = match &deployment.kind {
            DeploymentKind::Push { commit, .. } | DeploymentKind::Deploy { commit } => {
                self.make(deployment, &app, commit).await?
            }
            DeploymentKind::Image { reference } => {
                self.make_from_image(deployment, &app, reference).await?
            }
            DeploymentKind::Rollback { to } => {
                let env = self.store.release_env(&app.name, *to)?;
                self.repeat(deployment, &app, *to, env).await?
            }
            DeploymentKind::Restart => {
                let active = app.active.ok_or_else(|| missing(&app, "active release"))?;
                let env = self.store.env(&app.name)?;
                self.repeat(deployment, &app, active, env).await?
            }
        };
        let release = made.release;
        let draft = self.draft(&app, &release, made.containers_env, Some(&self.journal));
        self.durable(|store| store.put_candidate(&release, &made.env))?;
        drop(files);
        let web = self
            .step(
                deployment,
                WorkPhase::Starting,
                self.start_candidate(&draft, &release, made.started),
            )
            .await?;
        self.step(
            deployment,
            WorkPhase::Probing,
            self.probe_all(&draft, &release, &web),
        )
        .await?;
        let live = self.go_live(&draft, release, web).await?;
        self.move_pushed(deployment);
        Ok(live)
    }

    pub(crate) async fn prepare_surroundings(
        &self,
        app: &App,
        secrets: &BTreeMap<EnvKey, String>,
    ) -> Result<(), DeployError> {
        self.ensure_network(app).await?;
        if app.postgres {
            self.postgres(&app.name).ensure(secrets).await?;
        }
        Ok(())
    }

    pub(crate) async fn ensure_network(&self, app: &App) -> Result<(), DeployError> {
        let (name, labels) = (
            self.instance.network(&app.name),
            self.instance.app_labels(&app.name),
        );
        self.engine.ensure_network(&name, &labels).await?;
        Ok(())
    }

    async fn start_candidate(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        started: Option<Vec<String>>,
    ) -> Result<Vec<Target>, DeployError> {
        let web = ProcessName::web();
        if let Some(started) = started {
            return self.web_targets(draft, release, started).await;
        }
        if self.engine.image(&release.image).await?.is_none() {
            let kept = release.origin.unwrap_or(release.number);
            return Err(DeployError::ImageGone {
                app: draft.app.name.to_string(),
                release: kept.to_string(),
                again: match (&release.commit, &release.reference) {
                    (Some(commit), _) => commit.to_string(),
                    (None, Some(reference)) => format!("--image {reference}"),
                    (None, None) => String::new(),
                },
            });
        }
        let starting = self.start_process(draft, release, &web, scale(draft.app, release, &web));
        if release.origin.is_none() {
            // A new build had its network and database before its release tasks.
            return starting.await;
        }
        self.ensure_network(draft.app).await?;
        let secrets = self.store.secrets(&draft.app.name)?;
        let (targets, ()) =
            tokio::try_join!(starting, self.prepare_surroundings(draft.app, &secrets))?;
        Ok(targets)
    }

    async fn probe_all(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        web: &[Target],
    ) -> Result<(), DeployError> {
        for target in web {
            self.probe(draft, release, target).await?;
        }
        Ok(())
    }

    /// Record the release as active (durable), then swap (visible), then start the other
    /// processes, then let the old release end its requests, outside of the deployment.
    async fn go_live(
        &self,
        draft: &Draft<'_>,
        release: Release,
        web: Vec<Target>,
    ) -> Result<String, DeployError> {
        let app = &draft.app.name;
        self.close_to_cancels(draft.deployment)?;
        let previous = self.durable(|store| {
            store.activate(app, release.number, draft.deployment, web.clone(), now())
        })?;
        // From here on the deployment is live whatever happens: what fails is reported, and
        // recovery or the next deployment puts it right.
        let held = self.holds.lift(app);
        let published = self.publish().await;
        if let (Some(after), Ok(())) = (held, &published) {
            draft.tell(EventKind::Note {
                text: hold::released(after),
            });
        }
        if let Err(error) = &published {
            draft.tell(EventKind::Note {
                text: format!(
                    "the edge does not take the new route yet, so visitors are on the release before: {}\nhint: it is sent again when `zarpar serve` or the edge starts", error.explain()
                ),
            });
            tracing::error!(%app, %error, "the edge does not take the table");
        }
        let mut targets = web;
        for process in release.project.processes.keys() {
            match self
                .start_process(
                    draft,
                    &release,
                    process,
                    scale(draft.app, &release, process),
                )
                .await
            {
                Ok(started) => targets.extend(started),
                Err(error) => draft.tell(EventKind::Note {
                    text: format!(
                        "the process `{process}` does not start: {}",
                        error.explain()
                    ),
                }),
            }
        }
        if let Err(error) = self.durable(|store| store.set_targets(app, release.number, targets)) {
            tracing::error!(%app, %error, "cannot record the processes of the release");
        }
        // While the edge has the old table, its visitors are on the old release.
        if let Some(previous) = previous
            && published.is_ok()
        {
            self.retire_later(app.clone(), previous);
        }
        self.remove_task_containers_later(draft.deployment);
        if let Some(set) = &release.static_set {
            self.compress_later(app, set);
        }
        let sites = self.sites(&draft.app.domains).await;
        let address = sites.first().map_or("", |site| &site.url);
        Ok(format!("{} is live: {address}", release.number))
    }

    /// One step: journalled before it begins, told when it begins and when it is done.
    pub(crate) async fn step<T>(
        &self,
        deployment: &Deployment,
        phase: WorkPhase,
        work: impl Future<Output = Result<T, DeployError>>,
    ) -> Result<T, DeployError> {
        let record =
            self.durable(|store| store.advance(deployment.id, PhaseEvent::Begin(phase), now()))?;
        self.journal.tell(deployment.id, EventKind::Began { phase });
        if phase == first_step(&deployment.kind) {
            self.moves.tell(&record);
        }
        let began = Instant::now();
        let product = work.await?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.journal
            .tell(deployment.id, EventKind::Ended { phase, ms });
        Ok(product)
    }

    fn app(&self, deployment: &Deployment) -> Result<App, DeployError> {
        self.store
            .app(&deployment.app)?
            .ok_or_else(|| DeployError::Missing {
                app: deployment.app.to_string(),
                what: "record any more: it was destroyed".to_owned(),
            })
    }

    /// Outside of the deployment: it costs some 200 ms that the pusher need not wait for.
    fn remove_task_containers_later(&self, deployment: DeploymentId) {
        let builder = self.clone();
        self.retiring.spawn(async move {
            if let Err(error) = builder.remove_containers(deployment, Some("release")).await {
                tracing::warn!(%deployment, %error, "a container of release tasks is left, the next start removes it");
            }
        });
    }
}

/// The step that a deployment begins with.
fn first_step(kind: &DeploymentKind) -> WorkPhase {
    match kind {
        DeploymentKind::Push { .. } | DeploymentKind::Deploy { .. } => WorkPhase::CheckingOut,
        DeploymentKind::Image { .. } => WorkPhase::Pulling,
        DeploymentKind::Rollback { .. } | DeploymentKind::Restart => WorkPhase::Starting,
    }
}

pub(crate) fn missing(app: &App, what: &str) -> DeployError {
    DeployError::Missing {
        app: app.name.to_string(),
        what: what.to_owned(),
    }
}

/// How many containers of a process: what `ps scale` said, else `zarpar.toml`, else one.
pub(crate) fn scale(app: &App, release: &Release, process: &ProcessName) -> u32 {
    let said = app
        .scale
        .iter()
        .find(|(name, _)| name == process)
        .map(|(_, count)| *count);
    said.unwrap_or(if process.is_web() {
        release.project.web.scale
    } else {
        1
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
