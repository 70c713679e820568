//! What a deployment makes before anything of it starts: a new release from a commit, or a new
//! release that repeats a kept one. Nothing here is visible to visitors.

use std::collections::BTreeMap;

use zarpar_engine::Image;
use zarpar_model::{
    App, AppSettings, CommitId, Deployment, EnvKey, ProjectConfig, Release, ReleaseNumber,
    ReleaseState, WorkPhase,
};

use crate::checkout::Checkout;
use crate::error::DeployError;
use crate::pipeline::missing;
use crate::plan::Plan;
use crate::{Builder, Draft, now};

/// Where web processes listen when nothing says otherwise.
const PORT: u16 = 8000;

/// What a deployment has before it starts its candidate.
pub(crate) struct Made {
    pub(crate) release: Release,
    /// The user's variables of that moment.
    pub(crate) env: BTreeMap<EnvKey, String>,
    /// The whole environment of its containers.
    pub(crate) containers_env: Vec<(String, String)>,
    /// The web containers, when they were started while the release tasks ran (`foresight.rs`).
    pub(crate) started: Option<Vec<String>>,
}

impl Builder {
    /// A new release from a commit: checkout, plan, image, release tasks.
    pub(crate) async fn make(
        &self,
        deployment: &Deployment,
        app: &App,
        commit: &CommitId,
    ) -> Result<Made, DeployError> {
        let checkout = self
            .step(deployment, WorkPhase::CheckingOut, async {
                Ok(tokio::task::block_in_place(|| {
                    Checkout::read(&self.repository(&app.name), &app.name, commit)
                })?)
            })
            .await?;
        let plan = self
            .step(deployment, WorkPhase::Planning, async {
                Ok(tokio::task::block_in_place(|| Plan::decide(checkout))?)
            })
            .await?;
        let secrets = self.store.secrets(&app.name)?;
        // Looking whether the database answers costs an exec of some 100 ms, as much as a cached
        // build; they do not need each other.
        let (image, ()) = self
            .step(deployment, WorkPhase::Building, async {
                tokio::try_join!(
                    self.build(deployment, app, &plan),
                    self.prepare_surroundings(app, &secrets)
                )
            })
            .await?;
        let number = self.durable(|store| store.reserve_release(&app.name, deployment.id))?;
        let env = self.store.env(&app.name)?;
        let port = port(&plan.project, &image);
        let containers_env = self
            .environment(app, &env, number, Some(commit), port)
            .await?;
        let draft = Draft {
            journal: Some(&self.journal),
            app,
            deployment: deployment.id,
            number,
            image: image.id.clone(),
            user: numeric_user(&image.user),
            django: plan.django,
            project: plan.project.clone(),
            env: containers_env.clone(),
        };
        let mut release = Release {
            app: app.name.clone(),
            number,
            deployment: deployment.id,
            commit: Some(commit.clone()),
            reference: None,
            origin: None,
            by: deployment.by.clone(),
            created_at: now(),
            image: image.id,
            project: plan.project,
            settings: AppSettings::default(),
            port,
            static_set: None,
            state: ReleaseState::Candidate,
            targets: Vec::new(),
        };
        let started = self
            .step(
                deployment,
                WorkPhase::Releasing,
                self.release_and_foresee(&draft, &plan.checkout, &mut release),
            )
            .await?;
        Ok(Made {
            release,
            env,
            containers_env,
            started,
        })
    }

    /// A new release that repeats a kept one: same image, static set and settings.
    pub(crate) async fn repeat(
        &self,
        deployment: &Deployment,
        app: &App,
        of: ReleaseNumber,
        env: BTreeMap<EnvKey, String>,
    ) -> Result<Made, DeployError> {
        let kept = self
            .store
            .release(&app.name, of)?
            .ok_or_else(|| missing(app, &format!("release `{of}`")))?;
        let number = self.durable(|store| store.reserve_release(&app.name, deployment.id))?;
        let containers_env = self
            .environment(app, &env, number, kept.commit.as_ref(), kept.port)
            .await?;
        let release = Release {
            number,
            deployment: deployment.id,
            origin: Some(kept.origin.unwrap_or(of)),
            by: deployment.by.clone(),
            created_at: now(),
            state: ReleaseState::Candidate,
            targets: Vec::new(),
            ..kept
        };
        Ok(Made {
            release,
            env,
            containers_env,
            started: None,
        })
    }
}

/// `[web] port`, else the one port the image exposes, else 8000.
pub(crate) fn port(project: &ProjectConfig, image: &Image) -> u16 {
    project.web.port.unwrap_or(match image.exposed_ports[..] {
        [port] => port,
        _ => PORT,
    })
}

/// The ids of an image's `USER`, where they are numbers; a named user is asked inside (driver)
/// or taken for root.
pub(crate) fn numeric_user(user: &str) -> (u32, u32) {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let uid = user.parse().unwrap_or(0);
    (uid, group.parse().unwrap_or(uid))
}
