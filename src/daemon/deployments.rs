//! The words that deploy: every one of them goes through the one `Intake` and then shows the
//! deployment's log to whoever asked.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use zarpar_builder::Follower;
use zarpar_control::{Frame, Incoming, RefUpdate};
use zarpar_model::{
    App, AppName, BranchName, CommitId, Deployment, DeploymentId, EnvKey, EventKind,
    ImageReference, Outcome, Phase, PushedBranch, ReleaseNumber, Timestamp,
};
use zarpar_receiver::{IntakeError, Submission, check_push};

use super::control::Answer;
use super::{Daemon, Map, views};

/// After this a deployment without a log has none.
const FIRST_EVENT: Duration = Duration::from_secs(2);
/// Deployments a listing shows.
const LISTED: usize = 50;

impl Daemon {
    /// The app's record, or words.
    pub(crate) fn app(&self, name: &AppName) -> anyhow::Result<App> {
        Ok(self
            .store
            .app(name)?
            .ok_or_else(|| IntakeError::NoApp(name.clone()))?)
    }

    pub(crate) async fn check_push(
        &self,
        app: &AppName,
        updates: &[RefUpdate],
        incoming: Incoming,
    ) -> anyhow::Result<u8> {
        // From here on it is the deployment that takes its time, not the client.
        if let Some(receive) = incoming.receive {
            self.repositories.received(receive);
        }
        let tip = check_push(app, &self.deploy_branch(app)?, updates)?;
        let quarantine = incoming.quarantine.as_deref().map(str::parse).transpose()?;
        self.repositories
            .check_tree(app, tip, quarantine.as_ref())
            .await?;
        Ok(0)
    }

    /// `[deploy] branch` of the live release wins over what the app was made with.
    pub(crate) fn deploy_branch(&self, app: &AppName) -> anyhow::Result<BranchName> {
        let record = self.app(app)?;
        let live = match record.active {
            Some(active) => self.store.release(app, active)?,
            None => None,
        };
        Ok(live
            .and_then(|release| release.project.deploy.branch)
            .unwrap_or(record.branch))
    }

    pub(crate) async fn push(
        &self,
        answer: &mut Answer,
        app: &AppName,
        commit: CommitId,
        old: Option<CommitId>,
        by: String,
    ) -> anyhow::Result<u8> {
        answer
            .note(format!("zarpar deploys {} to {app}", commit.short()))
            .await?;
        let name = self.deploy_branch(app)?;
        let pushed = old.map(|old| PushedBranch {
            name: name.clone(),
            old,
        });
        let submission = self.intake.push(app, commit.clone(), pushed.clone(), by)?;
        // No deployment moves the branch to a commit that is live.
        if let (Submission::AlreadyLive { .. }, Some(pushed)) = (&submission, &pushed) {
            self.builder.may_move(app, &commit, pushed)?;
            self.builder.move_branch(app, &name, &commit)?;
        }
        let code = self.show(answer, app, submission).await?;
        if code == 0 && pushed.is_some() && !self.builder.is_tip(app, &name, &commit)? {
            anyhow::bail!(
                "the release is live, and `{name}` does not name its commit yet\nhint: push again, which only moves the branch"
            );
        }
        Ok(code)
    }

    pub(crate) async fn deploy(
        &self,
        answer: &mut Answer,
        app: &AppName,
        revision: Option<String>,
        by: String,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        // What the app follows at a forge is its newest code; a push of another day is not.
        if revision.is_none()
            && let Some((source, commit)) = self.fetched_head(answer, app).await?
        {
            let submission = self.intake.commit(app, commit.clone(), by, false)?;
            self.note_seen(&source, &commit);
            return self.show(answer, app, submission).await;
        }
        let wanted = match revision {
            Some(revision) => revision,
            None => self.deploy_branch(app)?.to_string(),
        };
        let Some(commit) = self.repositories.resolve(app, &wanted).await? else {
            anyhow::bail!(
                "the repository of `{app}` has no commit or branch `{}`\nhint: push it first, or give a full commit id (`git rev-parse HEAD`)",
                wanted.escape_debug()
            );
        };
        let submission = self.intake.commit(app, commit, by, false)?;
        self.show(answer, app, submission).await
    }

    pub(crate) async fn deploy_image(
        &self,
        answer: &mut Answer,
        app: &AppName,
        image: ImageReference,
        by: String,
    ) -> anyhow::Result<u8> {
        let submission = self.intake.image(app, image, by)?;
        self.show(answer, app, submission).await
    }

    pub(crate) async fn rollback(
        &self,
        answer: &mut Answer,
        app: &AppName,
        to: Option<ReleaseNumber>,
        by: String,
    ) -> anyhow::Result<u8> {
        let submission = self.intake.rollback(app, to, by)?;
        self.show(answer, app, submission).await
    }

    /// Starts the active release anew, when there is one.
    pub(crate) async fn restart(
        &self,
        answer: &mut Answer,
        app: &AppName,
        why: &str,
    ) -> anyhow::Result<u8> {
        let by = match &answer.who {
            Some(who) => format!("{who} ({why})"),
            None => why.to_owned(),
        };
        match self.intake.restart(app, by) {
            Ok(submission) => self.show(answer, app, submission).await,
            Err(IntakeError::NoRelease(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn show(
        &self,
        answer: &mut Answer,
        app: &AppName,
        submission: Submission,
    ) -> anyhow::Result<u8> {
        match submission {
            Submission::AlreadyLive { release } => {
                answer.note(format!("this commit is live already, as {release}: nothing to do\nhint: `zarpar deploy {app}` builds it again")).await?;
                Ok(0)
            }
            Submission::UnderWay { deployment } => {
                answer
                    .note(format!(
                        "this commit is being deployed already, as deployment {}, which is followed here",
                        deployment.id
                    ))
                    .await?;
                self.follow(answer, deployment.id).await
            }
            Submission::Accepted {
                deployment,
                superseded,
            } => {
                self.queue.accepted(&deployment, &superseded);
                self.follow(answer, deployment.id).await
            }
        }
    }

    async fn follow(&self, answer: &mut Answer, id: DeploymentId) -> anyhow::Result<u8> {
        let mut events = self.log(id).await?;
        let mut code = 1;
        while let Some(event) = events.next().await? {
            if let EventKind::Finished { outcome, .. } = &event.kind {
                code = u8::from(*outcome != Outcome::Live);
            }
            answer.send(Frame::Event(event)).await?;
        }
        Ok(code)
    }

    /// The log of a deployment. Whoever finds one that was accepted a moment ago may be here
    /// before its first event is.
    async fn log(&self, id: DeploymentId) -> anyhow::Result<Follower> {
        let began = Instant::now();
        loop {
            match self.builder.journal().follow(id).await {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && began.elapsed() < FIRST_EVENT =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => {
                    return Err(anyhow::Error::new(error)
                        .context(format!("the log of deployment {id} cannot be read")));
                }
                Ok(events) => return Ok(events),
            }
        }
    }

    pub(crate) async fn deployment_follow(
        &self,
        answer: &mut Answer,
        app: Option<&AppName>,
        id: DeploymentId,
    ) -> anyhow::Result<u8> {
        let deployment = self.deployment(app, id)?;
        if let Some(place) = self.place(&deployment)? {
            answer.note(place).await?;
        }
        self.follow(answer, id).await
    }

    pub(crate) async fn deployment_cancel(
        &self,
        answer: &mut Answer,
        app: Option<&AppName>,
        id: DeploymentId,
        by: String,
    ) -> anyhow::Result<u8> {
        let deployment = self.deployment(app, id)?;
        let asked: Timestamp = SystemTime::now().into();
        self.queue.cancel(&deployment, by)?;
        let mut events = self.log(id).await?;
        let mut code = 1;
        while let Some(event) = events.next().await? {
            if let EventKind::Finished { outcome, .. } = &event.kind {
                code = u8::from(*outcome != Outcome::Cancelled);
            }
            // What it did before is not what was asked for.
            if event.at >= asked {
                answer.send(Frame::Event(event)).await?;
            }
        }
        Ok(code)
    }

    fn deployment(&self, app: Option<&AppName>, id: DeploymentId) -> anyhow::Result<Deployment> {
        if let Some(app) = app {
            self.app(app)?;
        }
        match (self.store.deployment(id)?, app) {
            (Some(deployment), None) => Ok(deployment),
            (Some(deployment), Some(app)) if deployment.app == *app => Ok(deployment),
            (_, Some(app)) => anyhow::bail!(
                "`{app}` has no deployment {id}\nhint: `zarpar deployments {app}` lists them"
            ),
            (None, None) => anyhow::bail!(
                "there is no deployment {id}\nhint: `zarpar deployments APP` lists those of an app"
            ),
        }
    }

    /// The place of one that waits, in words.
    fn place(&self, deployment: &Deployment) -> anyhow::Result<Option<String>> {
        if deployment.phase != Phase::Queued {
            return Ok(None);
        }
        let unfinished = self.store.unfinished()?;
        let before = |waits: bool| {
            let earlier = unfinished.iter().filter(|other| other.id < deployment.id);
            earlier
                .filter(|other| (other.phase == Phase::Queued) == waits)
                .count()
        };
        Ok(Some(format!(
            "deployment {} of `{}` waits: {} at work, {} before it in the queue",
            deployment.id,
            deployment.app,
            before(false),
            before(true)
        )))
    }

    pub(crate) async fn deployment_list(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        let word = app.as_str();
        // An app may be called so; without one it was the word that was meant.
        if ["follow", "cancel"].contains(&word) && self.store.app(app)?.is_none() {
            anyhow::bail!(
                "expected the id of a deployment after `{word}`\nhint: `zarpar deployments {word} ID`; `zarpar deployments APP` lists them"
            );
        }
        self.app(app)?;
        let deployments = self.store.deployments(app, LISTED)?;
        answer
            .reply(
                &deployments
                    .iter()
                    .map(views::deployment)
                    .collect::<Vec<_>>(),
            )
            .await
    }

    pub(crate) async fn release_list(
        &self,
        answer: &mut Answer,
        app: &AppName,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        let releases = self.store.releases(app)?;
        answer
            .reply(&releases.iter().map(views::release).collect::<Vec<_>>())
            .await
    }

    pub(crate) async fn env_change(
        &self,
        answer: &mut Answer,
        app: &AppName,
        changes: Map<EnvKey, Option<String>>,
        restart: bool,
    ) -> anyhow::Result<u8> {
        self.app(app)?;
        let changes: Vec<(EnvKey, Option<String>)> = changes.into_iter().collect();
        tokio::task::block_in_place(|| self.store.set_env(app, &changes))?;
        if restart {
            self.restart(answer, app, "env").await
        } else {
            Ok(0)
        }
    }

    pub(crate) async fn env_list(&self, answer: &mut Answer, app: &AppName) -> anyhow::Result<u8> {
        self.app(app)?;
        answer.reply(&self.store.env(app)?).await
    }
}
