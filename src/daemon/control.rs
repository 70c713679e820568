//! The control socket: one request a connection, answered by the handler of its word. A client
//! that goes away ends its answer, never its deployment.

use std::os::unix::net::UnixListener;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zarpar_control::{Frame, LineReader, LineWriter, Request, Word};
use zarpar_model::{Scope, explain};

use super::Daemon;
use super::webhooks::Wish;

/// The answer to one request, as its handler writes it.
pub(crate) struct Answer {
    pub(crate) writer: LineWriter<OwnedWriteHalf>,
    pub(crate) reader: LineReader<OwnedReadHalf>,
    /// Whether the connection carries git's bytes by now, which have an end of their own.
    pub(crate) carries_git: bool,
    /// Who asks, when it is a key.
    pub(crate) who: Option<String>,
}

/// What comes in by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Everything, from our own user.
    Own,
    /// What keys say, from the user whom sshd logs in.
    Keys { uid: u32 },
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
pub(crate) async fn listen(
    listener: UnixListener,
    daemon: Daemon,
    stop: CancellationToken,
    door: Door,
) {
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
        if !may_knock(&stream, door) {
            tracing::warn!("another user's process knocked at the control socket");
            continue;
        }
        let daemon = daemon.clone();
        tasks.spawn(async move { converse(daemon, stream, door).await });
    }
}

/// The socket's mode keeps others out already; a socket that was handed over does not.
fn may_knock(stream: &UnixStream, door: Door) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| {
        let peer = peer.uid();
        peer == own || peer == 0 || door == Door::Keys { uid: peer }
    })
}

async fn converse(daemon: Daemon, stream: UnixStream, door: Door) {
    let (reader, writer) = stream.into_split();
    let mut answer = Answer {
        reader: LineReader::new(reader),
        writer: LineWriter::new(writer),
        carries_git: false,
        who: None,
    };
    let end = match answer.reader.next::<Request>().await {
        Ok(None) => return,
        Ok(Some(request)) if door != Door::Own && request.word() != Word::AsKey => Frame::Refused {
            text: "this socket takes what keys say, and nothing else".to_owned(),
            code: 1,
        },
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
    if answer.carries_git {
        return;
    }
    // The client may be gone; what it asked for is done all the same.
    let _ = answer.send(end).await;
}

impl Daemon {
    pub(crate) async fn handle(&self, request: Request, answer: &mut Answer) -> anyhow::Result<u8> {
        match request {
            Request::CheckPush {
                app,
                updates,
                incoming,
            } => self.check_push(&app, &updates, incoming).await,
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
            Request::AppList => self.app_list(answer, &Scope::All).await,
            Request::AppInfo { name } => self.app_info(answer, &name).await,
            Request::AppDestroy { name } => self.app_destroy(answer, &name).await,
            Request::TokenCreate {
                name,
                apps,
                access,
                lifetime,
            } => {
                self.token_create(answer, name, apps, access, lifetime)
                    .await
            }
            Request::TokenList => self.token_list(answer).await,
            Request::TokenRevoke { name } => self.token_revoke(answer, &name).await,
            Request::DomainAdd { app, hosts } => self.domain_add(answer, &app, hosts).await,
            Request::DomainRemove { app, hosts } => self.domain_remove(answer, &app, &hosts).await,
            Request::DomainList { app } => self.domain_list(answer, &app).await,
            Request::Maintenance { app, on } => self.maintenance(answer, &app, on).await,
            Request::CertificateAdd { app, pem } => self.certificate_add(answer, &app, pem).await,
            Request::CertificateRemove { name } => self.certificate_remove(answer, name).await,
            Request::CertificateRenew { app } => self.certificate_renew(answer, &app).await,
            Request::ConsoleCertificateAdd { host, pem } => {
                self.console_certificate_add(answer, &host, pem).await
            }
            Request::ConsoleCertificateRenew { host } => {
                self.console_certificate_renew(answer, &host).await
            }
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
            Request::KeyAdd {
                name,
                key,
                role,
                apps,
            } => self.key_add(answer, name, key, role, apps).await,
            Request::KeyList => self.key_list(answer).await,
            Request::KeyRemove { name } => self.key_remove(answer, &name).await,
            Request::AsKey { key, request } => self.as_key(answer, &key, *request).await,
            Request::Git { .. } | Request::WhoAmI => {
                anyhow::bail!("only a key says this, over SSH")
            }
            Request::WebhookEnable {
                app,
                provider,
                repository,
                branch,
                poll_seconds,
                forge_token,
                rotate,
            } => {
                let wish = Wish {
                    app,
                    provider,
                    repository,
                    branch,
                    poll_seconds,
                    forge_token,
                    rotate,
                };
                self.webhook_enable(answer, wish).await
            }
            Request::WebhookShow { app } => self.webhook_show(answer, &app).await,
            Request::WebhookDisable { app } => self.webhook_disable(answer, &app).await,
        }
    }
}
