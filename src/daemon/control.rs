//! The control socket: one request a connection, answered by the handler of its word. A client
//! that goes away ends its answer, never its deployment.

use std::os::unix::net::UnixListener;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zarpar_control::{Frame, LineReader, LineWriter, Request};
use zarpar_model::explain;

use super::Daemon;

/// The answer to one request, as its handler writes it.
pub(crate) struct Answer {
    pub(crate) writer: LineWriter<OwnedWriteHalf>,
    pub(crate) reader: LineReader<OwnedReadHalf>,
}

impl Answer {
    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: Frame) -> anyhow::Result<()> {
        Ok(self.writer.send(&frame).await?)
    }

    /// The one value of a listing, and the end.
    pub(crate) async fn reply(&mut self, value: &impl Serialize) -> anyhow::Result<u8> {
        self.send(Frame::Reply(serde_json::to_value(value)?))
            .await?;
        Ok(0)
    }

    /// A line for people.
    pub(crate) async fn note(&mut self, text: impl Into<String>) -> anyhow::Result<()> {
        self.send(Frame::Note(text.into())).await
    }
}

/// Accepts until `stop`.
pub(crate) async fn listen(listener: UnixListener, daemon: Daemon, stop: CancellationToken) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the control socket cannot be used"),
    };
    let tasks = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        if !ours(&stream) {
            tracing::warn!("another user's process knocked at the control socket");
            continue;
        }
        let daemon = daemon.clone();
        tasks.spawn(async move { converse(daemon, stream).await });
    }
}

/// The socket's mode keeps others out already; a socket that was handed over does not.
fn ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse(daemon: Daemon, stream: UnixStream) {
    let (reader, writer) = stream.into_split();
    let mut answer = Answer {
        reader: LineReader::new(reader),
        writer: LineWriter::new(writer),
    };
    let end = match answer.reader.next::<Request>().await {
        Ok(None) => return,
        Ok(Some(request)) => match daemon.handle(request, &mut answer).await {
            Ok(code) => Frame::Done { code },
            Err(error) => Frame::Refused {
                text: explain(error.as_ref()),
                code: 1,
            },
        },
        Err(error) => Frame::Refused {
            text: explain(&error),
            code: 2,
        },
    };
    // The client may be gone; what it asked for is done all the same.
    let _ = answer.send(end).await;
}

impl Daemon {
    async fn handle(&self, request: Request, answer: &mut Answer) -> anyhow::Result<u8> {
        match request {
            Request::CheckPush { app, updates } => self.check_push(&app, &updates),
            Request::Push {
                app,
                commit,
                by,
                old,
            } => self.push(answer, &app, commit, old, by).await,
            Request::AppCreate {
                name,
                domains,
                postgres,
                branch,
            } => {
                self.app_create(answer, name, domains, postgres, branch)
                    .await
            }
            Request::AppList => self.app_list(answer).await,
            Request::AppInfo { name } => self.app_info(answer, &name).await,
            Request::AppDestroy { name } => self.app_destroy(answer, &name).await,
            Request::TokenCreate { name, apps } => self.token_create(answer, name, apps).await,
            Request::TokenList => self.token_list(answer).await,
            Request::TokenRevoke { name } => self.token_revoke(answer, &name).await,
            Request::DomainAdd { app, hosts } => self.domain_add(answer, &app, hosts).await,
            Request::DomainRemove { app, hosts } => self.domain_remove(answer, &app, &hosts).await,
            Request::DomainList { app } => self.domain_list(answer, &app).await,
            Request::Maintenance { app, on } => self.maintenance(answer, &app, on).await,
            Request::CertificateAdd { app, pem } => self.certificate_add(answer, &app, pem).await,
            Request::CertificateRemove { name } => self.certificate_remove(answer, name).await,
            Request::CertificateRenew { app } => self.certificate_renew(answer, &app).await,
            Request::CertificateList => self.certificate_list(answer).await,
            Request::EnvChange {
                app,
                changes,
                restart,
            } => self.env_change(answer, &app, changes, restart).await,
            Request::EnvList { app } => self.env_list(answer, &app).await,
            Request::Deploy {
                app,
                image: Some(image),
                by,
                ..
            } => self.deploy_image(answer, &app, image, by).await,
            Request::Deploy {
                app, revision, by, ..
            } => self.deploy(answer, &app, revision, by).await,
            Request::DeploymentList { app } => self.deployment_list(answer, &app).await,
            Request::DeploymentFollow { app, id } => {
                self.deployment_follow(answer, app.as_ref(), id).await
            }
            Request::DeploymentCancel { app, id, by } => {
                self.deployment_cancel(answer, app.as_ref(), id, by).await
            }
            Request::ReleaseList { app } => self.release_list(answer, &app).await,
            Request::Rollback { app, to, by } => self.rollback(answer, &app, to, by).await,
            Request::Logs {
                app,
                follow,
                lines,
                process,
            } => self.logs(answer, &app, follow, lines, process).await,
            Request::Run { app, command, tty } => self.run(answer, &app, command, tty).await,
            Request::ProcessList { app } => self.process_list(answer, &app).await,
            Request::ProcessScale { app, counts } => self.process_scale(answer, &app, counts).await,
        }
    }
}
