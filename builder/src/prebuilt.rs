//! A release from an image that was built elsewhere: no checkout, no build, and then the same as
//! any other: release tasks, candidate, health, swap.
//!
//! The registry is asked first, so that a tag means what it means there now; when it gives
//! nothing, the image of that name on this server is taken, and the pusher is told. From then on
//! the image is an id, which nobody can move. What `zarpar.toml` would say is taken from the
//! release that is live, since the image brings none; without one, the image's own `CMD`,
//! `EXPOSE` and `USER` say it. An image with a `manage.py` in its working folder is Django, and
//! gets Django's release tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use zarpar_engine::Image;
use zarpar_model::{
    App, AppName, AppSettings, Deployment, EventKind, ImageReference, LABEL_APP, LABEL_INSTANCE,
    ProjectConfig, Release, ReleaseState, WorkPhase,
};

use crate::error::DeployError;
use crate::make::{Made, numeric_user, port};
use crate::release_tasks::Progress;
use crate::{Builder, Draft, now};

/// What a registry may take for a whole image.
const PULL: Duration = Duration::from_secs(30 * 60);

impl Builder {
    /// A new release from an image that is pulled, or that the engine has.
    pub(crate) async fn make_from_image(
        &self,
        deployment: &Deployment,
        app: &App,
        reference: &ImageReference,
    ) -> Result<Made, DeployError> {
        let secrets = self.store.secrets(&app.name)?;
        let (image, ()) = self
            .step(deployment, WorkPhase::Pulling, async {
                tokio::try_join!(
                    self.find_image(deployment, reference),
                    self.prepare_surroundings(app, &secrets)
                )
            })
            .await?;
        let live = match app.active {
            Some(active) => self.store.release(&app.name, active)?,
            None => None,
        };
        let project = match &live {
            Some(live) => {
                let text = format!(
                    "the settings of `zarpar.toml` are those of {}, which is live",
                    live.number
                );
                self.journal.tell(deployment.id, EventKind::Note { text });
                live.project.clone()
            }
            None => ProjectConfig::default(),
        };
        let number = self.durable(|store| store.reserve_release(&app.name, deployment.id))?;
        let env = self.store.env(&app.name)?;
        let port = port(&project, &image);
        let containers_env = self.environment(app, &env, number, None, port).await?;
        let mut draft = Draft {
            journal: Some(&self.journal),
            app,
            deployment: deployment.id,
            number,
            image: image.id.clone(),
            user: numeric_user(&image.user),
            django: false,
            project: project.clone(),
            env: containers_env.clone(),
        };
        let before = live.as_ref().and_then(|live| live.static_set.as_deref());
        let released = self
            .step(deployment, WorkPhase::Releasing, async {
                draft.django = self.has_manage_py(&draft, &image).await?;
                let (progress, _nobody_foresees) = watch::channel(Progress::default());
                self.release(&draft, before, progress).await
            })
            .await?;
        let settings: AppSettings = released.settings;
        Ok(Made {
            release: Release {
                app: app.name.clone(),
                number,
                deployment: deployment.id,
                commit: None,
                reference: Some(reference.clone()),
                origin: None,
                by: deployment.by.clone(),
                created_at: now(),
                image: image.id,
                project,
                settings,
                port,
                static_set: released.static_set,
                state: ReleaseState::Candidate,
                targets: Vec::new(),
            },
            env,
            containers_env,
            started: None,
        })
    }

    async fn find_image(
        &self,
        deployment: &Deployment,
        reference: &ImageReference,
    ) -> Result<Image, DeployError> {
        let refused = if reference.is_id() {
            None
        } else {
            let tell = |text: String| {
                self.journal.tell(deployment.id, EventKind::Output { text });
            };
            self.engine.pull(reference.as_str(), PULL, tell).await.err()
        };
        let Some(image) = self.engine.image(reference.as_str()).await? else {
            return Err(DeployError::Pull {
                reference: reference.clone(),
                source: refused,
            });
        };
        if is_of_another_app(&image.labels, self.instance.id(), &deployment.app) {
            return Err(DeployError::ForeignImage {
                app: deployment.app.to_string(),
                reference: reference.clone(),
            });
        }
        let text = match refused {
            Some(error) => format!(
                "its registry does not give `{reference}` ({}), so the image of this name on the server is taken: {}",
                zarpar_model::explain(&error).replace('\n', "; "),
                image.id
            ),
            None => format!("the image is {}", image.id),
        };
        self.journal.tell(deployment.id, EventKind::Note { text });
        Ok(image)
    }

    /// Looked at in a container that is not started, and is removed with the deployment's.
    async fn has_manage_py(&self, draft: &Draft<'_>, image: &Image) -> Result<bool, DeployError> {
        let id = self.create_task(draft, vec!["true".to_owned()]).await?;
        let folder = image.working_dir.trim_end_matches('/');
        let mut archive = self
            .engine
            .download_archive(&id, &format!("{folder}/manage.py"));
        match archive.next().await {
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) if error.is_not_found() => Ok(false),
            Some(Err(error)) => Err(error.into()),
            None => Ok(false),
        }
    }
}

/// Whether this server built the image for another app. The engine takes the first digits of an id
/// for the whole of it, so whoever may deploy to one app could else try them all, run the code of
/// the others and read it; and that image goes with the releases of its own app.
fn is_of_another_app(labels: &BTreeMap<String, String>, instance: &str, app: &AppName) -> bool {
    labels.get(LABEL_INSTANCE).is_some_and(|id| id == instance)
        && labels
            .get(LABEL_APP)
            .is_some_and(|name| name != app.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_image_of_another_app_is_known_by_its_labels() {
        let app: AppName = "tienda".parse().unwrap();
        for (instance, name, foreign) in [
            ("ours", "tienda", false),
            ("ours", "blog", true),
            ("theirs", "blog", false),
        ] {
            let labels = BTreeMap::from([
                (LABEL_INSTANCE.to_owned(), instance.to_owned()),
                (LABEL_APP.to_owned(), name.to_owned()),
            ]);
            assert_eq!(is_of_another_app(&labels, "ours", &app), foreign);
        }
        assert!(!is_of_another_app(&BTreeMap::new(), "ours", &app));
    }
}
