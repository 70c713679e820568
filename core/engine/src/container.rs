//! Containers: making them, looking at them, finding them by label.
//!
//! What is said about a container is what the engine said at that moment; it
//! may have ended since.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::absent_is_none;
use crate::label::{checked, checked_image, filters, from_map};
use crate::spec::{ContainerSpec, to_body};
use crate::{Engine, EngineError, Label};

/// A container as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// `sha256:…` of its image.
    pub image_id: String,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Whether its process is there (also while paused).
    pub running: bool,
    /// How it ended; `None` before it ever did and while it runs.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// What the engine could not do when starting it, empty if nothing.
    pub error: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Last start, `None` when it never was.
    pub started_at: Option<SystemTime>,
    /// Last end, `None` when it never did. The engine notes a start after it happened, so for a
    /// program that ends at once this may lie some milliseconds before `started_at`.
    pub finished_at: Option<SystemTime>,
    /// Restarts by the engine's own policy.
    pub restart_count: u64,
    addresses: BTreeMap<String, IpAddr>,
}

impl Container {
    /// Its address on this network; `None` when it is not connected or not running.
    #[must_use]
    pub fn ip(&self, network: &str) -> Option<IpAddr> {
        self.addresses.get(network).copied()
    }
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// `sha256:…` of its image.
    pub image_id: String,
    /// As [`Container::status`].
    pub state: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a container, not started, and gives its id.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken, [`EngineError::NotFound`] when the image
    /// is absent.
    pub async fn create_container(
        &self,
        name: Option<&str>,
        spec: ContainerSpec,
    ) -> Result<String, EngineError> {
        let what = match name {
            Some(name) => format!("create container `{name}` from `{}`", spec.image),
            None => format!("create a container from `{}`", spec.image),
        };
        checked_image(&what, &spec.image)?;
        let options = CreateContainerOptions {
            name: name.map(str::to_owned),
            ..Default::default()
        };
        let request = self.docker.create_container(Some(options), to_body(spec));
        Ok(self.ask(&what, request).await?.id)
    }

    /// The container with this id or name, or `None`.
    ///
    /// # Errors
    /// When the engine fails; an absent container is no error.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let what = format!("inspect container `{id}`");
        let request = self.docker.inspect_container(checked(&what, id)?, None);
        let answer = self.ask(&what, request).await;
        absent_is_none(answer)?
            .map(|found| from_inspection(&what, found))
            .transpose()
    }

    /// Containers in any state that carry all these labels.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn containers_with_labels<'a, L: Into<Label<'a>> + Copy>(
        &self,
        labels: &[L],
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: filters(labels),
            ..Default::default()
        };
        let request = self.docker.list_containers(Some(options));
        let found = self.ask("list containers by label", request).await?;
        Ok(found
            .into_iter()
            .map(|container| ContainerSummary {
                id: container.id.unwrap_or_default(),
                name: container
                    .names
                    .unwrap_or_default()
                    .first()
                    .map(|name| name.trim_start_matches('/').to_owned())
                    .unwrap_or_default(),
                image_id: container.image_id.unwrap_or_default(),
                state: container
                    .state
                    .map(|state| state.to_string())
                    .unwrap_or_default(),
                labels: from_map(container.labels),
            })
            .collect())
    }
}

fn from_inspection(what: &str, found: ContainerInspectResponse) -> Result<Container, EngineError> {
    let state = found.state.unwrap_or_default();
    let running = state.running.unwrap_or(false);
    let finished_at = state.finished_at.as_deref().and_then(moment);
    let addresses = found
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, endpoint)| {
            let address = endpoint.ip_address?.parse().ok()?;
            Some((name, address))
        })
        .collect();
    Ok(Container {
        id: found
            .id
            .ok_or_else(|| EngineError::broken(what, "a container without an id"))?,
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image_id: found.image.unwrap_or_default(),
        status: state
            .status
            .map(|status| status.to_string())
            .unwrap_or_default(),
        running,
        exit_code: state
            .exit_code
            .filter(|_| !running && finished_at.is_some()),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        labels: from_map(found.config.and_then(|config| config.labels)),
        started_at: state.started_at.as_deref().and_then(moment),
        finished_at,
        restart_count: found
            .restart_count
            .and_then(|count| count.try_into().ok())
            .unwrap_or(0),
        addresses,
    })
}

/// The engine writes "never" as the first moment of the year 1.
fn moment(text: &str) -> Option<SystemTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (moment.year() > 1).then(|| moment.into())
}
