//! The containers of a release: created with what they need in place (static set, media
//! volume) and started.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio_tar::{EntryType, Header};
use zarpar_engine::{Container, ContainerSpec, LogOptions, RestartPolicy};
use zarpar_model::{EventKind, ProcessName, Release, Target};

use crate::error::DeployError;
use crate::release_tasks::split_command;
use crate::{Builder, Draft};

/// Lines of a container that ended shown to the pusher.
const LAST_LINES: u64 = 30;

impl Builder {
    /// Creates and starts `count` containers of a process.
    pub(crate) async fn start_process(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        process: &ProcessName,
        count: u32,
    ) -> Result<Vec<Target>, DeployError> {
        let mut targets = Vec::new();
        for copy in 1..=count {
            targets.push(self.start_copy(draft, release, process, copy).await?);
        }
        Ok(targets)
    }

    /// Creates and starts one container of a process.
    pub(crate) async fn start_copy(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        process: &ProcessName,
        copy: u32,
    ) -> Result<Target, DeployError> {
        let container = self.create_process(draft, release, process, copy).await?;
        self.engine.start(&container).await?;
        let address = if process.is_web() {
            Some(self.address(draft, release, &container).await?)
        } else {
            let keep = RestartPolicy::UnlessStopped;
            self.engine.set_restart_policy(&container, keep).await?;
            None
        };
        Ok(Target {
            process: process.clone(),
            container,
            address,
        })
    }

    /// Web containers that are started, with where they listen.
    pub(crate) async fn web_targets(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        containers: Vec<String>,
    ) -> Result<Vec<Target>, DeployError> {
        let mut targets = Vec::new();
        for container in containers {
            targets.push(Target {
                process: ProcessName::web(),
                address: Some(self.address(draft, release, &container).await?),
                container,
            });
        }
        Ok(targets)
    }

    /// Creates one container of a process, with its files, and does not start it.
    pub(crate) async fn create_process(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        process: &ProcessName,
        copy: u32,
    ) -> Result<String, DeployError> {
        let app = &draft.app.name;
        let command = if process.is_web() {
            release.project.web.command.as_ref()
        } else {
            release.project.processes.get(process)
        };
        let mut volumes = Vec::new();
        if let Some(root) = &release.settings.media_root {
            let volume = self
                .engine
                .ensure_volume(
                    &self.instance.volume(app, "media"),
                    &self.instance.app_labels(app),
                )
                .await?;
            volumes.push((volume.name, root.clone()));
        }
        let spec = ContainerSpec {
            image: release.image.clone(),
            command: command
                .map(|command| split_command(command))
                .transpose()?
                .map(|words| expand(words, &draft.env)),
            env: draft.env.clone(),
            labels: self.instance.release_labels(
                app,
                release.number,
                draft.deployment,
                process.as_str(),
            ),
            network: Some(self.instance.network(app)),
            aliases: vec![process.to_string()],
            volumes,
            log_max_bytes: Some(10 << 20),
            ..ContainerSpec::default()
        };
        let name = self.instance.container(app, release.number, process, copy);
        let id = self
            .create_whole(draft.deployment, Some(name), spec)
            .await?;
        self.furnish(app, release, &id).await?;
        Ok(id)
    }

    /// Puts the static set into `STATIC_ROOT` (Django reads its manifest there) and gives the
    /// media folder to the user that the app runs as. Works on a container that never ran.
    pub(crate) async fn furnish(
        &self,
        app: &zarpar_model::AppName,
        release: &Release,
        id: &str,
    ) -> Result<(), DeployError> {
        let settings = &release.settings;
        if let (Some(set), Some(root)) = (&release.static_set, &settings.static_root) {
            let archive = self.static_store(app).archive(
                set,
                root.trim_start_matches('/').to_owned(),
                settings.uid,
                settings.gid,
            )?;
            self.engine.upload_archive(id, "/", archive).await?;
        }
        if let Some(root) = &settings.media_root {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            header.set_uid(settings.uid.into());
            header.set_gid(settings.gid.into());
            let mut tar = tokio_tar::Builder::new_non_terminated(Vec::new());
            let failed = |source| {
                DeployError::Static(crate::static_store::StaticError::Io {
                    root: root.into(),
                    source,
                })
            };
            tar.append_data(
                &mut header,
                format!("{}/", root.trim_start_matches('/')),
                tokio::io::empty(),
            )
            .await
            .map_err(failed)?;
            let bytes = tar.into_inner().await.map_err(failed)?;
            self.engine
                .upload_archive(
                    id,
                    "/",
                    futures_util::stream::iter([Ok(Bytes::from(bytes))]),
                )
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn address(
        &self,
        draft: &Draft<'_>,
        release: &Release,
        id: &str,
    ) -> Result<SocketAddr, DeployError> {
        let network = self.instance.network(&draft.app.name);
        match self.engine.container(id).await? {
            Some(container) => match container.ip(&network) {
                Some(ip) if container.running => Ok(SocketAddr::new(ip, release.port)),
                _ => Err(self.ended(draft, &container).await),
            },
            None => Err(gone(draft, id)),
        }
    }

    pub(crate) async fn ended(&self, draft: &Draft<'_>, container: &Container) -> DeployError {
        self.show_last_lines(draft, &container.id).await;
        let reason = if container.oom_killed {
            ": it ran out of memory"
        } else {
            ""
        };
        DeployError::Ended {
            app: draft.app.name.to_string(),
            code: container.exit_code.unwrap_or(0),
            reason,
        }
    }

    pub(crate) async fn show_last_lines(&self, draft: &Draft<'_>, id: &str) {
        use futures_util::StreamExt;
        let mut logs = self.engine.logs(
            id,
            LogOptions {
                tail: Some(LAST_LINES),
                ..LogOptions::default()
            },
        );
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = logs.next().await {
            text.extend_from_slice(&chunk.bytes);
        }
        for line in String::from_utf8_lossy(&text).lines() {
            draft.tell(EventKind::Output {
                text: line.to_owned(),
            });
        }
    }
}

pub(crate) fn gone(draft: &Draft<'_>, id: &str) -> DeployError {
    DeployError::Missing {
        app: draft.app.name.to_string(),
        what: format!("container `{id}`"),
    }
}

/// `$PORT` and `${PORT}` in a command of `zarpar.toml`, for every injected or set variable. No
/// shell reads the command, and this is the one thing people miss of it.
fn expand(words: Vec<String>, env: &[(String, String)]) -> Vec<String> {
    let mut names: Vec<&(String, String)> = env.iter().collect();
    // Longest first, or `$DB` would eat the start of `$DB_NAME`.
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let value = |word: String| {
        names.iter().fold(word, |word, (name, value)| {
            if word.contains('$') {
                word.replace(&format!("${{{name}}}"), value)
                    .replace(&format!("${name}"), value)
            } else {
                word
            }
        })
    };
    words.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_command_get_their_values() {
        let env = [
            ("DB".to_owned(), "x".to_owned()),
            ("DB_NAME".to_owned(), "tienda".to_owned()),
            ("PORT".to_owned(), "8000".to_owned()),
        ];
        let words = ["0.0.0.0:$PORT", "${DB_NAME}-$DB", "$UNKNOWN", "plain"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            expand(words, &env),
            ["0.0.0.0:8000", "tienda-x", "$UNKNOWN", "plain"]
        );
    }
}
