//! Building an image with BuildKit from a streamed context.
//!
//! The context goes to the engine as it is produced; nothing is buffered. The
//! lines of progress are awaited, so a slow reader slows the build down and a
//! reader that left does not fail it. Dropping the future cuts every connection
//! of the build, and the engine cancels it. An image of a cancelled or failed
//! build does not exist; layers already made stay in the engine's cache.

use std::collections::BTreeMap;
use std::io;

use bollard::errors::Error;
use bollard::models::{BuildInfoAux, ImageId};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use crate::body::Failure;
use crate::label::to_map;
use crate::progress::{BuildLine, Progress};
use crate::{Engine, EngineError};

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Path of the Dockerfile inside the context; empty is `Dockerfile`.
    pub dockerfile: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Build arguments. They end up in the image's history: nothing secret.
    pub args: BTreeMap<String, String>,
    /// Stage to build; `None` is the last.
    pub target: Option<String>,
    /// `host`, `none`, or `None` for the default network.
    pub network: Option<String>,
    /// Whether to look for newer base images in their registries.
    pub pull: bool,
    /// `repository:tag` to give the image.
    pub tag: Option<String>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, a base image or a command in it; the engine's words, such as
    /// `process "/bin/sh -c …" did not complete successfully: exit code: 1`.
    #[error("{message}")]
    Step {
        /// Name of the step that failed, where one did: `[2/3] RUN …`.
        step: Option<String>,
        /// What the engine said.
        message: String,
    },
    /// The context could not be read.
    #[error("the build context could not be read")]
    Context(#[source] io::Error),
    /// Engines before 27.5 cannot take a streamed context when their images are in containerd's
    /// store (that store is optional until 28 and the default from 29 on).
    #[error(
        "this Docker Engine cannot build from a streamed context: {message}\nhint: update Docker Engine to 27.5 or later, or set `containerd-snapshotter` to false in /etc/docker/daemon.json"
    )]
    ImageStore {
        /// What the engine said.
        message: String,
    },
    /// The engine, not the build.
    #[error("the image could not be built")]
    Engine(#[from] EngineError),
}

impl Engine {
    /// Builds an image from `context` (a tar archive) and gives its id, `sha256:…`.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(
        &self,
        request: BuildRequest,
        context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        log: Sender<BuildLine>,
    ) -> Result<String, BuildError> {
        let severed = CancellationToken::new();
        let docker = self.severable(severed.clone())?;
        let _severs_when_dropped = severed.drop_guard();
        let failure = Failure::default();
        let body = bollard::body_try_stream(failure.watch(context));

        let mut progress = Progress::default();
        let mut built = Ok(None);
        {
            let mut answers = docker.build_image(to_options(request)?, None, Some(body));
            while let Some(answer) = answers.next().await {
                match answer.map(|info| info.aux) {
                    Ok(Some(BuildInfoAux::BuildKit(report))) => {
                        tell(&log, progress.lines(report)).await;
                    }
                    Ok(Some(BuildInfoAux::Default(ImageId { id: Some(id) }))) => {
                        built = Ok(Some(id));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        built = Err(error);
                        break;
                    }
                }
            }
        }
        tell(&log, progress.rest()).await;

        if let Some(error) = failure.take() {
            return Err(BuildError::Context(error));
        }
        let id = built
            .map_err(|error| to_error(error, progress.failed.take()))?
            .ok_or_else(|| EngineError::broken("build an image", "no image id at the end"))?;
        match self.image(&id).await? {
            Some(image) => Ok(image.id),
            None => Err(EngineError::broken("build an image", "its image is not there").into()),
        }
    }
}

/// A reader that left does not matter; a full channel is waited for.
async fn tell(log: &Sender<BuildLine>, lines: Vec<BuildLine>) {
    for line in lines {
        let _ = log.send(line).await;
    }
}

fn to_options(request: BuildRequest) -> Result<BuildImageOptions, EngineError> {
    let mut session = [0; 16];
    getrandom::fill(&mut session).map_err(|source| EngineError::Broken {
        what: "name a build session".to_owned(),
        source: source.into(),
    })?;
    let dockerfile = if request.dockerfile.is_empty() {
        "Dockerfile".to_owned()
    } else {
        request.dockerfile
    };
    Ok(BuildImageOptions {
        dockerfile,
        t: request.tag,
        labels: to_map(&request.labels),
        buildargs: to_map(&request.args),
        target: request.target.unwrap_or_default(),
        networkmode: request.network,
        pull: request.pull.then(|| "true".to_owned()),
        rm: true,
        forcerm: true,
        version: BuilderVersion::BuilderBuildKit,
        session: Some(format!("{:032x}", u128::from_be_bytes(session))),
        ..Default::default()
    })
}

fn to_error(error: Error, step: Option<String>) -> BuildError {
    match error {
        Error::DockerStreamError { error } => {
            let message = without_wrapping(&error).to_owned();
            // The engine asks the network for a name it made up for the context.
            if message.contains("failed to read downloaded context: failed to load cache key") {
                BuildError::ImageStore { message }
            } else {
                BuildError::Step { step, message }
            }
        }
        error => EngineError::new("build an image", error).into(),
    }
}

/// Each layer of BuildKit that passes an error on puts its own words before it.
fn without_wrapping(message: &str) -> &str {
    const WRAPPERS: [&str; 5] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to build LLB: ",
        "failed to create LLB definition: ",
        "rpc error: code = Unknown desc = ",
    ];
    let mut message = message.trim();
    while let Some(inner) = WRAPPERS
        .iter()
        .find_map(|wrapper| message.strip_prefix(wrapper))
    {
        message = inner;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_innermost_message_is_kept() {
        let wrapped = "failed to solve: rpc error: code = Unknown desc = executor failed running [/bin/sh -c exit 3]: exit code: 3";
        assert_eq!(
            without_wrapping(wrapped),
            "executor failed running [/bin/sh -c exit 3]: exit code: 3"
        );
    }

    #[test]
    fn an_engine_that_cannot_take_a_streamed_context_is_told_with_a_way_out() {
        // Recorded from 26.1.5 with containerd's image store.
        let said = "failed to read downloaded context: failed to load cache key: Get \"http://build-context-lgr4r27p\": dial tcp: lookup build-context-lgr4r27p: no such host";
        let error = said.to_owned();
        let error = to_error(Error::DockerStreamError { error }, None).to_string();
        assert!(error.contains("hint: update Docker Engine"), "{error}");
    }
}
