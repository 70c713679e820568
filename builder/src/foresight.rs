//! What the release before foretells. Most pushes change code alone: the new release then has
//! the settings and the static files of the one that is live, but that is known for certain only
//! after collectstatic. So the candidate is created and filled with those of the live release
//! while Django is being loaded, is started as soon as the database is migrated, and boots while
//! the static files are collected: on a machine with two cores a third of the whole deployment.
//!
//! What can never happen: a candidate is asked for its health, let alone routed, that holds
//! other static files or settings than its release. At the end of the release tasks the guess is
//! compared with what was found, and a wrong one is removed and made anew. A crash leaves
//! containers with the deployment's label, which are removed with it.

use std::collections::HashSet;

use tokio::sync::watch;
use zarpar_model::{CommitId, ProcessName, Release};

use crate::checkout::{Checkout, File};
use crate::error::DeployError;
use crate::pipeline::scale;
use crate::release_tasks::Progress;
use crate::{Builder, Draft};

/// Files that become neither static files nor dependencies nor a part of the recipe.
const CODE: [&str; 5] = ["py", "html", "md", "po", "mo"];

/// Containers that were started on a guess.
struct Early {
    /// The release as it was guessed.
    guess: Release,
    containers: Vec<String>,
}

impl Builder {
    /// Runs the release tasks and completes `release` with what they found. Returns its web
    /// containers when they could be started meanwhile.
    pub(crate) async fn release_and_foresee(
        &self,
        draft: &Draft<'_>,
        checkout: &Checkout,
        release: &mut Release,
    ) -> Result<Option<Vec<String>>, DeployError> {
        let live = match draft.app.active {
            Some(active) => self.store.release(&draft.app.name, active)?,
            None => None,
        };
        let before = live.as_ref().and_then(|live| live.static_set.as_deref());
        let (progress, seen) = watch::channel(Progress::default());
        let guess = live.as_ref().map(|live| Release {
            settings: live.settings.clone(),
            static_set: live.static_set.clone(),
            ..release.clone()
        });
        let foreseeing = async {
            let (live, guess) = (live.as_ref()?, guess?);
            if !self.can_be_guessed(draft, live, checkout) {
                return None;
            }
            match self.start_early(draft, &guess, seen).await {
                Ok(containers) => containers.map(|containers| Early { guess, containers }),
                Err(error) => {
                    tracing::debug!(app = %draft.app.name, %error, "the candidate is started after the release tasks");
                    None
                }
            }
        };
        let (released, early) = tokio::join!(self.release(draft, before, progress), foreseeing);
        let released = released?;
        release.settings = released.settings;
        release.static_set = released.static_set;
        if let Some(early) = early
            && early.guess == *release
        {
            return Ok(Some(early.containers));
        }
        // A new one has the same name.
        self.remove_containers(draft.deployment, Some(ProcessName::web().as_str()))
            .await?;
        Ok(None)
    }

    /// Whether the live release says much about the new one: no task but Django's own two, and
    /// nothing but code differs.
    fn can_be_guessed(&self, draft: &Draft<'_>, live: &Release, checkout: &Checkout) -> bool {
        draft.django
            && draft.project.release.tasks.is_none()
            && draft.project == live.project
            && tokio::task::block_in_place(|| {
                let before = live
                    .commit
                    .as_ref()
                    .and_then(|commit| self.checkout_of(draft, commit));
                before.is_some_and(|before| only_code_differs(&before, checkout))
            })
    }

    fn checkout_of(&self, draft: &Draft<'_>, commit: &CommitId) -> Option<Checkout> {
        let app = &draft.app.name;
        let checkout = Checkout::read(&self.repository(app), app, commit).ok()?;
        Some(match &draft.project.build.context {
            Some(folder) => checkout.below(folder),
            None => checkout,
        })
    }

    /// Creates the web containers of the guess and starts them when the database is migrated.
    /// `None` when the tasks ended before that, or the settings are not the guessed ones.
    async fn start_early(
        &self,
        draft: &Draft<'_>,
        guess: &Release,
        mut seen: watch::Receiver<Progress>,
    ) -> Result<Option<Vec<String>>, DeployError> {
        let web = ProcessName::web();
        let mut containers = Vec::new();
        for copy in 1..=scale(draft.app, guess, &web) {
            containers.push(self.create_process(draft, guess, &web, copy).await?);
        }
        let as_guessed = match seen.wait_for(|progress| progress.migrated).await {
            Ok(progress) => progress.settings.as_ref() == Some(&guess.settings),
            Err(_) => false,
        };
        if !as_guessed {
            return Ok(None);
        }
        for container in &containers {
            self.engine.start(container).await?;
        }
        Ok(Some(containers))
    }
}

fn only_code_differs(before: &Checkout, after: &Checkout) -> bool {
    fn set(checkout: &Checkout) -> HashSet<&File> {
        checkout.files.iter().collect()
    }
    set(before).symmetric_difference(&set(after)).all(|file| {
        let path = String::from_utf8_lossy(&file.path);
        path.rsplit_once('.')
            .is_some_and(|(_, extension)| CODE.contains(&extension))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::{FileKind, Source};

    fn checkout(files: &[(&str, &str)]) -> Checkout {
        let file = |(path, blob): &(&str, &str)| File {
            path: path.as_bytes().to_vec(),
            kind: FileKind::Plain,
            blob: (*blob).to_owned(),
        };
        Checkout {
            source: Source::Folder("".into()),
            time: 0,
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn only_code_is_told_from_what_may_change_the_static_files() {
        let before = checkout(&[
            ("a/views.py", "1"),
            ("static/site.css", "1"),
            ("gone.py", "1"),
        ]);
        let code = checkout(&[
            ("a/views.py", "2"),
            ("static/site.css", "1"),
            ("new.html", "1"),
        ]);
        assert!(only_code_differs(&before, &code));
        assert!(only_code_differs(&before, &before));
        for other in [
            checkout(&[
                ("a/views.py", "1"),
                ("static/site.css", "2"),
                ("gone.py", "1"),
            ]),
            checkout(&[("a/views.py", "1"), ("gone.py", "1")]),
            checkout(&[
                ("a/views.py", "1"),
                ("static/site.css", "1"),
                ("gone.py", "1"),
                ("requirements.txt", "1"),
            ]),
        ] {
            assert!(!only_code_differs(&before, &other));
        }
    }
}
