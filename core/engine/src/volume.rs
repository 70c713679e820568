//! Named volumes of the `local` driver.

use std::collections::BTreeMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptions, RemoveVolumeOptions};

use crate::error::absent_is_none;
use crate::label::{checked, filters, to_map};
use crate::{Engine, EngineError, Label};

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its folder on the engine's machine.
    pub mountpoint: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Makes the volume where it is not there yet. The labels of one that is stay as they are.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when another driver has a volume of that name.
    pub async fn ensure_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let what = format!("create volume `{name}`");
        let request = VolumeCreateRequest {
            name: Some(checked(&what, name)?.to_owned()),
            labels: to_map(labels),
            ..Default::default()
        };
        let made = self.ask(&what, self.docker.create_volume(request)).await?;
        Ok(to_volume(made))
    }

    /// Removes a volume and its data. `false`: it was not there.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when a container, even a stopped one, uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<bool, EngineError> {
        let what = format!("remove volume `{name}`");
        let name = checked(&what, name)?;
        let request = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        Ok(absent_is_none(self.ask(&what, request).await)?.is_some())
    }

    /// Volumes that carry all these labels.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn volumes_with_labels<'a, L: Into<Label<'a>> + Copy>(
        &self,
        labels: &[L],
    ) -> Result<Vec<Volume>, EngineError> {
        let options = ListVolumesOptions {
            filters: filters(labels),
        };
        let request = self.docker.list_volumes(Some(options));
        let found = self.ask("list volumes by label", request).await?;
        Ok(found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(to_volume)
            .collect())
    }
}

fn to_volume(volume: bollard::models::Volume) -> Volume {
    Volume {
        name: volume.name,
        mountpoint: volume.mountpoint,
        labels: volume.labels.into_iter().collect(),
    }
}
