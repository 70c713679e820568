//! Images: looking at them, finding them by label, tagging, pulling, removing.
//!
//! An image is named by its id (`sha256:…`) wherever zarpar keeps it; a tag may
//! be moved by anybody, an id cannot.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bollard::query_parameters::{
    CreateImageOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use futures_util::TryStreamExt;

use crate::error::absent_is_none;
use crate::label::{checked_image, filters, from_map};
use crate::{Engine, EngineError, Label};

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// Size of all its layers, in bytes.
    pub size_bytes: u64,
    /// `ENTRYPOINT`, empty when unset.
    pub entrypoint: Vec<String>,
    /// `CMD`, empty when unset.
    pub cmd: Vec<String>,
    /// `EXPOSE`d TCP ports, ascending.
    pub exposed_ports: Vec<u16>,
    /// `USER`, empty for root.
    pub user: String,
    /// `WORKDIR`, empty for `/`.
    pub working_dir: String,
    /// `ENV`, in the image's order.
    pub env: Vec<(String, String)>,
    /// `LABEL`s.
    pub labels: BTreeMap<String, String>,
    /// When it was made, as the image says.
    pub created: Option<SystemTime>,
}

/// An image in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// `sha256:…`.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `repository:tag`, empty when untagged.
    pub tags: Vec<String>,
    /// Size of all its layers, in bytes.
    pub size_bytes: u64,
}

impl Engine {
    /// The image with this id or reference, or `None`.
    ///
    /// # Errors
    /// When the engine fails; an absent image is no error.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        let what = format!("inspect image `{reference}`");
        let reference = checked_image(&what, reference)?;
        let answer = self.ask(&what, self.docker.inspect_image(reference)).await;
        let Some(found) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let config = found.config.unwrap_or_default();
        Ok(Some(Image {
            id: found
                .id
                .ok_or_else(|| EngineError::broken(&what, "an image without an id"))?,
            size_bytes: found
                .size
                .and_then(|size| size.try_into().ok())
                .unwrap_or(0),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            exposed_ports: tcp_ports(&config.exposed_ports.unwrap_or_default()),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            env: config
                .env
                .unwrap_or_default()
                .iter()
                .map(|pair| split_pair(pair))
                .collect(),
            labels: from_map(config.labels),
            created: found.created.map(SystemTime::from),
        }))
    }

    /// Images that carry all these labels, untagged ones included.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn images_with_labels<'a, L: Into<Label<'a>> + Copy>(
        &self,
        labels: &[L],
    ) -> Result<Vec<ImageSummary>, EngineError> {
        let options = ListImagesOptions {
            filters: filters(labels),
            ..Default::default()
        };
        let images = self
            .ask(
                "list images by label",
                self.docker.list_images(Some(options)),
            )
            .await?;
        Ok(images
            .into_iter()
            .map(|image| ImageSummary {
                id: image.id,
                labels: image.labels.into_iter().collect(),
                // Engines before 25 call an untagged image `<none>:<none>`.
                tags: image
                    .repo_tags
                    .into_iter()
                    .filter(|tag| tag != "<none>:<none>")
                    .collect(),
                size_bytes: image.size.try_into().unwrap_or(0),
            })
            .collect())
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when there is no such image.
    pub async fn tag_image(
        &self,
        id: &str,
        repository: &str,
        tag: &str,
    ) -> Result<(), EngineError> {
        let what = format!("tag image `{id}` as `{repository}:{tag}`");
        let options = TagImageOptions {
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
        };
        let id = checked_image(&what, id)?;
        self.ask(&what, self.docker.tag_image(id, Some(options)))
            .await
    }

    /// Removes an image, with all its tags where `force`. `false`: it was not there.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when a container uses it.
    pub async fn remove_image(&self, reference: &str, force: bool) -> Result<bool, EngineError> {
        let what = format!("remove image `{reference}`");
        let options = RemoveImageOptions {
            force,
            ..Default::default()
        };
        let reference = checked_image(&what, reference)?;
        let answer = self
            .ask(
                &what,
                self.docker.remove_image(reference, Some(options), None),
            )
            .await;
        Ok(absent_is_none(answer)?.is_some())
    }

    /// Pulls an image from its registry; without a tag, `latest`. `tell` hears what the engine
    /// says, a line for each layer and for what came of it.
    ///
    /// # Errors
    /// [`EngineError::TimedOut`] after `timeout`; else what the registry said.
    pub async fn pull(
        &self,
        reference: &str,
        timeout: Duration,
        mut tell: impl FnMut(String),
    ) -> Result<(), EngineError> {
        let what = format!("pull image `{reference}`");
        let options = CreateImageOptions {
            from_image: Some(with_tag(checked_image(&what, reference)?)),
            ..Default::default()
        };
        let progress = self.docker.create_image(Some(options), None, None);
        let drained = progress.try_for_each(|info| {
            // Numbers that only grow are for a screen that can be painted over.
            let counts = info
                .progress_detail
                .is_some_and(|detail| detail.current.is_some());
            if let Some(status) = info.status.filter(|_| !counts) {
                tell(match info.id {
                    Some(layer) => format!("{layer}: {status}"),
                    None => status,
                });
            }
            std::future::ready(Ok(()))
        });
        self.ask_within(&what, timeout, drained).await
    }
}

/// The engine would pull every tag of a repository named without one.
fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

fn tcp_ports(exposed: &[String]) -> Vec<u16> {
    let mut ports: Vec<u16> = exposed
        .iter()
        .filter_map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            (protocol == "tcp").then(|| number.parse().ok()).flatten()
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn split_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_tag_means_latest() {
        assert_eq!(with_tag("python"), "python:latest");
        assert_eq!(with_tag("localhost:5000/app"), "localhost:5000/app:latest");
        assert_eq!(with_tag("python:3.13-slim"), "python:3.13-slim");
        assert_eq!(with_tag("a/b@sha256:00"), "a/b@sha256:00");
    }

    #[test]
    fn only_tcp_ports_are_listed_and_sorted() {
        let exposed = ["8000/tcp", "53/udp", "80/tcp"].map(str::to_owned);
        assert_eq!(tcp_ports(&exposed), [80, 8000]);
    }
}
