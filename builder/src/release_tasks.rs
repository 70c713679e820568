//! The release tasks: one container of the new image, one interpreter, in which Django is asked
//! for its settings and then migrates and collects its static files (`driver.py`). A Django
//! start costs about a second on a small machine, so it is paid once. The container is never
//! committed to an image, because its environment holds secrets; the collected files leave it
//! as an archive stream.

use std::ops::ControlFlow;

use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::{oneshot, watch};
use zarpar_engine::{ContainerSpec, LogOptions};
use zarpar_model::{AppSettings, DeploymentId, EventKind, MountConfig, ProjectConfig, show_span};

use crate::error::DeployError;
use crate::static_store::as_io;
use crate::{Builder, Draft};

const DRIVER: &str = include_str!("driver.py");

/// What the driver tells about itself, one JSON object a line after the mark.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Fact {
    Settings { settings: AppSettings },
    Failed { failed: String, code: i64 },
    Done { done: String, ms: u64 },
    Task { task: String },
    Finished { finished: bool },
    Waits { waits: u64 },
}

/// How far the driver has come, for who prepares the candidate meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What Django's settings said, once they are known.
    pub(crate) settings: Option<AppSettings>,
    /// Whether the database is as the new code wants it.
    pub(crate) migrated: bool,
}

/// What the tasks found out.
#[derive(Debug, Default)]
pub(crate) struct Released {
    pub(crate) settings: AppSettings,
    pub(crate) static_set: Option<String>,
}

impl Builder {
    /// Runs the tasks of a new release and keeps its static files; `before` is the static set
    /// that is live now.
    pub(crate) async fn release(
        &self,
        draft: &Draft<'_>,
        before: Option<&str>,
        progress: watch::Sender<Progress>,
    ) -> Result<Released, DeployError> {
        let project = &draft.project;
        let mut settings = AppSettings {
            uid: draft.user.0,
            gid: draft.user.1,
            ..AppSettings::default()
        };
        let mut container = None;
        if draft.django {
            let tasks = match &project.release.tasks {
                Some(tasks) => Some(
                    tasks
                        .iter()
                        .map(|task| split_command(task))
                        .collect::<Result<Vec<_>, _>>()?,
                ),
                None => None,
            };
            let program = ["python3", "-uc", DRIVER].map(str::to_owned);
            let arguments = [
                mark(draft.deployment),
                serde_json::json!(tasks).to_string(),
                serde_json::json!(self.holds_during_migrations(draft)).to_string(),
            ];
            let id = self
                .create_task(draft, [program.as_slice(), &arguments].concat())
                .await?;
            if let Some(work) = self.at_work.get(draft.deployment) {
                work.drives();
            }
            settings = self.drive(draft, &id, &progress).await?;
            container = Some(id);
        } else {
            for task in project.release.tasks.iter().flatten() {
                let id = self.create_task(draft, split_command(task)?).await?;
                self.plain_task(draft, task, &id).await?;
                container = Some(id);
            }
        }
        settle(&mut settings, project);
        let static_set = self
            .collect_static(draft, &settings, container, before)
            .await?;
        Ok(Released {
            settings,
            static_set,
        })
    }

    pub(crate) async fn create_task(
        &self,
        draft: &Draft<'_>,
        command: Vec<String>,
    ) -> Result<String, DeployError> {
        let spec = ContainerSpec {
            image: draft.image.clone(),
            // An entrypoint of the image's own may wait, migrate or start a server; the tasks
            // are what was asked for and nothing else.
            entrypoint: Some(command),
            command: Some(Vec::new()),
            env: draft.env.clone(),
            labels: self.instance.release_labels(
                &draft.app.name,
                draft.number,
                draft.deployment,
                "release",
            ),
            network: Some(self.instance.network(&draft.app.name)),
            log_max_bytes: Some(10 << 20),
            ..ContainerSpec::default()
        };
        Ok(self.create_whole(draft.deployment, None, spec).await?)
    }

    /// Follows the driver until it says that the last task is done: what is left then is the end
    /// of an interpreter, which nobody waits for.
    async fn drive(
        &self,
        draft: &Draft<'_>,
        id: &str,
        progress: &watch::Sender<Progress>,
    ) -> Result<AppSettings, DeployError> {
        let mark = mark(draft.deployment);
        let mut settings = AppSettings::default();
        let mut at = "django.setup()".to_owned();
        let mut code = None;
        let mut finished = false;
        let (waits, asked) = oneshot::channel();
        let mut waits = Some(waits);
        let holding = async {
            // Its other end lives as long as this future.
            let Ok(migrations) = asked.await else {
                return std::future::pending().await;
            };
            match self.hold_for_migrations(draft, id, migrations).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        self.engine.start(id).await?;
        let followed = self.each_line(id, |line| {
            // A task may end in the middle of a line, and the mark then stands behind it.
            let (text, fact) = match line.split_once(&mark) {
                Some((text, fact)) => (text, Some(serde_json::from_str(fact))),
                None => (line, None),
            };
            if fact.is_none() || !text.is_empty() {
                draft.tell(EventKind::Output {
                    text: text.to_owned(),
                });
            }
            match fact {
                None => {}
                Some(Ok(Fact::Settings { settings: found })) => {
                    settings = found.clone();
                    let mut settled = found;
                    settle(&mut settled, &draft.project);
                    progress.send_modify(|progress| progress.settings = Some(settled));
                }
                Some(Ok(Fact::Task { task })) if task != "settings" => {
                    at.clone_from(&task);
                    draft.tell(EventKind::Note { text: task })
                }
                Some(Ok(Fact::Done { done, ms })) if done != "settings" => {
                    let span = show_span(std::time::Duration::from_millis(ms));
                    draft.tell(EventKind::Output {
                        text: format!("{done} took {span}"),
                    });
                    if done == "migrate" {
                        progress.send_modify(|progress| progress.migrated = true);
                    }
                }
                Some(Ok(Fact::Failed {
                    failed,
                    code: found,
                })) => {
                    code = Some(found);
                    if failed != "settings" {
                        at = failed;
                    }
                }
                Some(Ok(Fact::Waits { waits: migrations })) => {
                    if let Some(waits) = waits.take() {
                        let _ = waits.send(migrations);
                    }
                }
                Some(Ok(Fact::Finished { finished: said })) => finished = said,
                Some(_) => {}
            }
            if finished {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        tokio::select! {
            followed = followed => followed?,
            error = holding => return Err(error),
        }
        if finished {
            return Ok(settings);
        }
        // Whoever ends the interpreter in the middle of a task has not done it, whatever the code.
        let code = match code {
            Some(code) => code,
            None => self.engine.wait(id).await?,
        };
        Err(DeployError::Task {
            app: draft.app.name.to_string(),
            task: at,
            code,
        })
    }

    async fn plain_task(&self, draft: &Draft<'_>, task: &str, id: &str) -> Result<(), DeployError> {
        draft.tell(EventKind::Note {
            text: task.to_owned(),
        });
        self.engine.start(id).await?;
        self.each_line(id, |line| {
            draft.tell(EventKind::Output {
                text: line.to_owned(),
            });
            ControlFlow::Continue(())
        })
        .await?;
        match self.engine.wait(id).await? {
            0 => Ok(()),
            code => Err(DeployError::Task {
                app: draft.app.name.to_string(),
                task: task.to_owned(),
                code,
            }),
        }
    }

    /// Reads what a container prints, line by line, until it ends or `line` has enough; a line
    /// beyond 64 KiB is cut.
    async fn each_line(
        &self,
        id: &str,
        mut line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), DeployError> {
        let mut output = self.engine.logs(
            id,
            LogOptions {
                follow: true,
                ..LogOptions::default()
            },
        );
        let mut rest = Vec::new();
        while let Some(chunk) = output.next().await {
            rest.extend_from_slice(&chunk?.bytes);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let whole: Vec<u8> = rest.drain(..=end).collect();
                if line(String::from_utf8_lossy(&whole).trim_end()).is_break() {
                    return Ok(());
                }
            }
            if rest.len() > 64 * 1024
                && line(&String::from_utf8_lossy(&std::mem::take(&mut rest))).is_break()
            {
                return Ok(());
            }
        }
        if !rest.is_empty() {
            let _ended = line(&String::from_utf8_lossy(&rest));
        }
        Ok(())
    }

    async fn collect_static(
        &self,
        draft: &Draft<'_>,
        settings: &AppSettings,
        container: Option<String>,
        before: Option<&str>,
    ) -> Result<Option<String>, DeployError> {
        let (Some(root), Some(_)) = (&settings.static_root, &settings.static_url) else {
            return Ok(None);
        };
        // Without tasks no container ran; one that is only created shows the image's files.
        let id = match container {
            Some(id) => id,
            None => self.create_task(draft, vec!["true".into()]).await?,
        };
        let archive = self.engine.download_archive(&id, root);
        let archive = archive.filter_map(|piece| async {
            match piece {
                // An app whose STATIC_ROOT does not exist has no static files.
                Err(error) if error.is_not_found() => None,
                other => Some(other),
            }
        });
        let set = self
            .static_store(&draft.app.name)
            .collect(Box::pin(as_io(archive)), before)
            .await?;
        Ok(set)
    }
}

/// What starts a line that is for us. The number makes it no constant that an app could print by
/// accident; an app that prints it on purpose fools only its own deployment.
fn mark(deployment: DeploymentId) -> String {
    format!("\u{1e}zarpar-{deployment} ")
}

pub(crate) fn split_command(command: &str) -> Result<Vec<String>, DeployError> {
    match shell_words::split(command) {
        Ok(words) if !words.is_empty() => Ok(words),
        _ => Err(DeployError::Command {
            command: command.to_owned(),
        }),
    }
}

/// `zarpar.toml` wins over the app's settings; what cannot be served by the edge is dropped: a
/// URL on another site, a root that is no absolute path.
fn settle(settings: &mut AppSettings, project: &ProjectConfig) {
    fn mount(url: &mut Option<String>, root: &mut Option<String>, written: &MountConfig) {
        if let Some(written) = &written.url {
            *url = Some(written.clone());
        }
        if let Some(written) = &written.root {
            *root = Some(written.clone());
        }
        *url = url
            .take()
            .map(|url| {
                if url.starts_with('/') || url.contains("://") {
                    url
                } else {
                    format!("/{url}")
                }
            })
            .filter(|url| {
                url.len() > 2
                    && url.starts_with('/')
                    && url.ends_with('/')
                    && !url.starts_with("//")
            });
        *root = root
            .take()
            .map(|root| root.trim_end_matches('/').to_owned())
            .filter(|root| root.starts_with('/') && root.len() > 1);
    }
    mount(
        &mut settings.static_url,
        &mut settings.static_root,
        &project.static_files,
    );
    mount(
        &mut settings.media_url,
        &mut settings.media_root,
        &project.media,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(static_url: &str, static_root: &str) -> (Option<String>, Option<String>) {
        let mut settings = AppSettings {
            static_url: Some(static_url.into()),
            static_root: Some(static_root.into()),
            ..AppSettings::default()
        };
        settle(&mut settings, &ProjectConfig::default());
        (settings.static_url, settings.static_root)
    }

    #[test]
    fn urls_of_other_sites_and_relative_roots_are_not_served() {
        assert_eq!(
            settled("static/", "/app/s/"),
            (Some("/static/".into()), Some("/app/s".into()))
        );
        assert_eq!(
            settled("https://cdn.example/s/", "staticfiles"),
            (None, None)
        );
        assert_eq!(settled("//cdn.example/s/", "/"), (None, None));
        assert_eq!(settled("/", "/app"), (None, Some("/app".into())));
    }

    #[test]
    fn facts_of_the_driver_are_told_apart() {
        let read = |text| serde_json::from_str::<Fact>(text);
        assert!(matches!(
            read(r#"{"task": "migrate"}"#),
            Ok(Fact::Task { .. })
        ));
        assert!(matches!(
            read(r#"{"failed": "migrate", "code": 1}"#),
            Ok(Fact::Failed { .. })
        ));
        assert!(matches!(
            read(r#"{"done": "migrate", "ms": 3}"#),
            Ok(Fact::Done { .. })
        ));
        assert!(matches!(
            read(r#"{"waits": 2}"#),
            Ok(Fact::Waits { waits: 2 })
        ));
        let settings = r#"{"settings": {"static_url": "/static/", "static_root": null, "media_url": null, "media_root": null, "uid": 1, "gid": 1}}"#;
        assert!(matches!(read(settings), Ok(Fact::Settings { .. })));
    }
}
