//! What runs: processes, their logs, and commands of the moment.

use futures_util::TryStreamExt;
use futures_util::stream::SelectAll;
use tokio::io::AsyncWriteExt;
use zarpar_control::{Bytes64, ClientFrame, Frame, OutputStream, ProcessView};
use zarpar_engine::Label;
use zarpar_engine::{LogOptions, OutputKind};
use zarpar_model::{
    App, AppName, LABEL_APP, LABEL_INSTANCE, LABEL_PROCESS, LABEL_RELEASE, ProcessName, Release,
    Timestamp,
};

use super::control::Answer;
use super::{Daemon, Map, process_names};

/// What a terminal takes for the end of its input, Ctrl-D.
const END_OF_TRANSMISSION: u8 = 4;

impl Daemon {
    pub(crate) async fn process_list(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        let engine = self.builder.engine();
        let network = self.builder.instance().network(app);
        let mut views = Vec::new();
        for summary in engine
            .containers_with_labels(&[
                Label::Is(LABEL_INSTANCE, self.builder.instance().id()),
                Label::Is(LABEL_APP, app.as_str()),
            ])
            .await?
        {
            let label = |name: &str| summary.labels.get(name).cloned();
            let found = engine.container(&summary.id).await?;
            views.push(ProcessView {
                process: label(LABEL_PROCESS).unwrap_or_default(),
                release: label(LABEL_RELEASE),
                state: summary.state.clone(),
                container: summary.id.chars().take(12).collect(),
                address: found
                    .as_ref()
                    .and_then(|container| container.ip(&network))
                    .map(|ip| ip.to_string()),
                started_at: found
                    .and_then(|container| container.started_at)
                    .map(|time| Timestamp::from(time).to_string()),
            });
        }
        views.sort_by(|a, b| (&a.process, &a.container).cmp(&(&b.process, &b.container)));
        answer.reply(&views).await
    }

    fn live(&self, app: &App) -> anyhow::Result<Option<Release>> {
        Ok(match app.active {
            Some(active) => self.store.release(&app.name, active)?,
            None => None,
        })
    }

    pub(crate) async fn process_scale(
        &self,
        answer: &mut Answer,
        app: &AppName,
        counts: Map<ProcessName, u32>,
    ) -> anyhow::Result<u8> {
        let record = self.app(app)?;
        // Before the first release nobody knows its processes.
        if let Some(release) = self.live(&record)? {
            let known = process_names::known(&record, &release);
            for process in counts.keys() {
                process_names::check(process, &known)?;
            }
        }
        if let Some((process, count)) = counts.iter().find(|(_, count)| **count > 64) {
            anyhow::bail!("expected at most 64 containers for `{process}`, found `{count}`");
        }
        // A release without web processes would be live and serve nobody.
        if counts
            .iter()
            .any(|(process, count)| process.is_web() && *count == 0)
        {
            anyhow::bail!(
                "expected at least 1 container for `web`, found `0`\nhint: `zarpar maintenance on {app}` shows visitors a maintenance page instead of the app"
            );
        }
        tokio::task::block_in_place(|| {
            self.store.update_app(app, |record| {
                record
                    .scale
                    .retain(|(process, _)| !counts.contains_key(process));
                record.scale.extend(counts);
                Ok::<(), zarpar_store::StoreError>(())
            })
        })?;
        self.restart(answer, app, "scale").await
    }

    /// Durable, then visible: a crash in between is put right by the next start, which sends the
    /// table as the records say.
    pub(crate) async fn maintenance(
        &self,
        answer: &mut Answer,
        app: &AppName,
        on: bool,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        tokio::task::block_in_place(|| {
            self.store.update_app(app, |record| {
                record.maintenance = on;
                Ok::<(), zarpar_store::StoreError>(())
            })
        })?;
        self.builder
            .publish()
            .await
            .map_err(|error| anyhow::anyhow!(error.explain()))?;
        let text = if on {
            format!(
                "visitors of `{app}` get the maintenance page (503); `503.html` among its static files is the page, when there is one\nnext: `zarpar maintenance off {app}`"
            )
        } else {
            format!("visitors of `{app}` reach the app again")
        };
        answer.note(text).await?;
        Ok(0)
    }

    pub(crate) async fn logs(
        &self,
        answer: &mut Answer,
        app: &AppName,
        follow: bool,
        lines: u32,
        process: Option<ProcessName>,
    ) -> anyhow::Result<u8> {
        let record = self.app(app)?;
        let Some(release) = self.live(&record)? else {
            answer.note(format!("`{app}` has no release yet, so nothing is printed\nhint: `zarpar deployments {app}` shows what was tried")).await?;
            return Ok(0);
        };
        if let Some(process) = &process {
            process_names::check(process, &process_names::known(&record, &release))?;
        }
        let mut all = SelectAll::new();
        for target in release
            .targets
            .iter()
            .filter(|target| process.as_ref().is_none_or(|name| *name == target.process))
        {
            let options = LogOptions {
                follow,
                tail: Some(lines.into()),
                ..LogOptions::default()
            };
            all.push(self.builder.engine().logs(&target.container, options));
        }
        loop {
            let chunk = tokio::select! {
                chunk = all.try_next() => match chunk? {
                    Some(chunk) => chunk,
                    None => break,
                },
                // An app that prints nothing would else be read for a client that went away.
                _ = answer.reader.next::<ClientFrame>() => break,
            };
            answer
                .send(Frame::Output {
                    stream: stream(&chunk.stream),
                    data: Bytes64(chunk.bytes.to_vec()),
                })
                .await?;
        }
        Ok(0)
    }

    /// A container of its own, with the image, environment, network and files of the live
    /// release: a command that eats all memory does not take the web process with it.
    pub(crate) async fn run(
        &self,
        answer: &mut Answer,
        app: &AppName,
        command: Vec<String>,
        tty: bool,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        let engine = self.builder.engine();
        let id = self
            .builder
            .one_off(app, command, tty)
            .await
            .map_err(|error| anyhow::anyhow!(error.explain()))?;
        let result = self.converse(answer, &id, tty).await;
        engine.remove_container(&id).await?;
        result
    }

    async fn converse(&self, answer: &mut Answer, id: &str, tty: bool) -> anyhow::Result<u8> {
        let engine = self.builder.engine();
        let attached = engine.attach(id, true).await?;
        engine.start(id).await?;
        let Answer { reader, writer, .. } = answer;
        // Apart from each other: a command that does not read while it prints would else stop
        // both.
        let printing = async {
            let mut output = attached.output;
            while let Some(chunk) = output.try_next().await? {
                let data = Bytes64(chunk.bytes.to_vec());
                writer
                    .send(&Frame::Output {
                        stream: stream(&chunk.stream),
                        data,
                    })
                    .await?;
            }
            anyhow::Ok(())
        };
        let feeding = async {
            let mut input = Some(attached.input);
            while let Some(frame) = reader.next::<ClientFrame>().await? {
                match frame {
                    ClientFrame::Input(Bytes64(bytes)) => {
                        // A command that reads no more ends by itself, with a code of its own.
                        if let Some(open) = &mut input
                            && (open.write_all(&bytes).await.is_err()
                                || open.flush().await.is_err())
                        {
                            input = None;
                        }
                    }
                    // A terminal's input has no end but this letter; closing it would close the
                    // output too (moby, attach of a container with a terminal).
                    ClientFrame::Eof if tty => {
                        if let Some(open) = &mut input {
                            let _ = open.write_all(&[END_OF_TRANSMISSION]).await;
                            let _ = open.flush().await;
                        }
                    }
                    ClientFrame::Eof => {
                        if let Some(mut open) = input.take() {
                            let _ = open.shutdown().await;
                        }
                    }
                    ClientFrame::Resize { width, height } => {
                        if tty && let Err(error) = engine.resize_tty(id, width, height).await {
                            tracing::debug!(%error, "a terminal could not be resized");
                        }
                    }
                }
            }
            anyhow::bail!("the client went away")
        };
        tokio::select! {
            printed = printing => printed?,
            fed = feeding => return fed,
        }
        Ok(u8::try_from(engine.wait(id).await?).unwrap_or(1))
    }
}

fn stream(kind: &OutputKind) -> OutputStream {
    match kind {
        OutputKind::Stderr => OutputStream::Err,
        _ => OutputStream::Out,
    }
}
