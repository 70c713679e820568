//! A container's life: start, stop, kill, wait, remove.
//!
//! Stopping and removing are idempotent: what is already stopped or gone is a
//! success, so that a recovery may repeat any step.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerUpdateBody, ContainerWaitResponse};
use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptions, ResizeContainerTTYOptions, StopContainerOptions,
    WaitContainerOptions,
};
use futures_util::StreamExt;

use crate::connect::ANSWER_LIMIT;
use crate::error::absent_is_none;
use crate::label::checked;
use crate::{Engine, EngineError, RestartPolicy};

impl Engine {
    /// Starts a container; one that runs already is a success.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; or the engine's reason, such as a command that is not there.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        let what = format!("start container `{id}`");
        let id = checked(&what, id)?;
        self.ask(&what, self.docker.start_container(id, None)).await
    }

    /// Sends the stop signal, and kills after `grace` (whole seconds, rounded up).
    /// Returns when it has ended; one that is stopped or gone is a success.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let what = format!("stop container `{id}`");
        let id = checked(&what, id)?;
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..Default::default()
        };
        let request = self.docker.stop_container(id, Some(options));
        let answer = self
            .ask_within(&what, grace.saturating_add(ANSWER_LIMIT), request)
            .await;
        absent_is_none(answer).map(|_| ())
    }

    /// Changes what the engine does when the container ends.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn set_restart_policy(
        &self,
        id: &str,
        policy: RestartPolicy,
    ) -> Result<(), EngineError> {
        let what = format!("change the restart policy of container `{id}`");
        let id = checked(&what, id)?;
        let change = ContainerUpdateBody {
            restart_policy: Some(policy.into()),
            ..Default::default()
        };
        self.ask(&what, self.docker.update_container(id, change))
            .await
    }

    /// Sends a signal, for example `SIGHUP`; `None` is `SIGKILL`.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Conflict`] when it does not run.
    pub async fn kill(&self, id: &str, signal: Option<&str>) -> Result<(), EngineError> {
        let what = format!("signal container `{id}`");
        let id = checked(&what, id)?;
        let options = KillContainerOptions {
            signal: signal.unwrap_or("SIGKILL").to_owned(),
        };
        self.ask(&what, self.docker.kill_container(id, Some(options)))
            .await
    }

    /// Kills and removes a container with its anonymous volumes, or waits until somebody else who
    /// is at it has. `false`: it was not there.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] and what else the engine says.
    pub async fn remove_container(&self, id: &str) -> Result<bool, EngineError> {
        let what = format!("remove container `{id}`");
        let id = checked(&what, id)?;
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..Default::default()
        };
        let answer = self
            .ask(&what, self.docker.remove_container(id, Some(options)))
            .await;
        // 409 `removal of container … is already in progress`
        if let Err(EngineError::Conflict { message, .. }) = &answer
            && message.contains("already in progress")
        {
            let removed = WaitContainerOptions {
                condition: "removed".to_owned(),
            };
            let mut end = self.docker.wait_container(id, Some(removed));
            // Its exit code says nothing here, and that it is not there any more is the aim.
            let _ = tokio::time::timeout(ANSWER_LIMIT, end.next()).await;
            return Ok(true);
        }
        Ok(absent_is_none(answer)?.is_some())
    }

    /// Waits, however long, until a container does not run, and gives its exit code.
    /// One that ended before answers at once; one never started answers 0 at once.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Broken`] when the engine stops meanwhile.
    pub async fn wait(&self, id: &str) -> Result<i64, EngineError> {
        let what = format!("wait for container `{id}`");
        let id = checked(&what, id)?;
        let refused = |message| EngineError::Api {
            what: what.clone(),
            status: 200,
            message,
        };
        match self.docker.wait_container(id, None).next().await {
            // bollard takes an exit code above 0 for an error.
            Some(Err(Error::DockerContainerWaitError { error, code })) if error.is_empty() => {
                Ok(code)
            }
            Some(Err(Error::DockerContainerWaitError { error, .. })) => Err(refused(error)),
            Some(Err(error)) => Err(EngineError::new(&what, error)),
            Some(Ok(ContainerWaitResponse { status_code, error })) => {
                match error.and_then(|error| error.message) {
                    Some(message) if !message.is_empty() => Err(refused(message)),
                    _ => Ok(status_code),
                }
            }
            None => Err(EngineError::broken(&what, "no exit code")),
        }
    }

    /// Tells a container's terminal its size.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when it does not run.
    pub async fn resize_tty(&self, id: &str, columns: u16, rows: u16) -> Result<(), EngineError> {
        let what = format!("resize the terminal of container `{id}`");
        let id = checked(&what, id)?;
        let options = ResizeContainerTTYOptions {
            h: i32::from(rows),
            w: i32::from(columns),
        };
        self.ask(&what, self.docker.resize_container_tty(id, options))
            .await
    }
}
