//! Bridge networks, one per app.
//!
//! Older engines do not keep names unique: two that create the same name at once
//! both succeed, and then the name is ambiguous for ever. So creations through
//! one [`Engine`] and its clones wait for each other. Against another process
//! there is only the look afterwards: the oldest network of the name wins and
//! ours, if it is not that one, goes again.

use std::collections::BTreeMap;

use bollard::models::{Network as EngineNetwork, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use crate::error::absent_is_none;
use crate::label::{checked, filters, from_map, to_map};
use crate::subnet::is_exhausted;
use crate::{Engine, EngineError, Label};

/// A network of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Makes the bridge network of this exact name where it is not there yet, and gives its id.
    /// The labels of one that is stay as they are.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn ensure_network(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        let what = format!("create network `{name}`");
        checked(&what, name)?;
        let _one_at_a_time = self.network_creation.lock().await;
        if let Some(id) = self.oldest_network(&what, name).await? {
            return Ok(id);
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: to_map(labels),
            ..Default::default()
        };
        let made = self.docker.create_network(request.clone());
        let made = match self.ask(&what, made).await {
            Ok(made) => Some(made.id),
            Err(error) if is_exhausted(&error) => {
                Some(self.create_in_own_range(&what, &request).await?)
            }
            // Newer engines refuse a second network of the name: somebody was faster.
            Err(EngineError::Conflict { .. }) => None,
            Err(error) => return Err(error),
        };
        let oldest = self
            .oldest_network(&what, name)
            .await?
            .ok_or_else(|| EngineError::broken(&what, "a network that was made is not listed"))?;
        if let Some(made) = made.filter(|made| *made != oldest) {
            let removed = self.ask(&what, self.docker.remove_network(&made)).await;
            absent_is_none(removed)?;
        }
        Ok(oldest)
    }

    /// Removes a network by name or id. `false`: it was not there.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] or [`EngineError::Api`] (403 on older engines) while containers
    /// are connected.
    pub async fn remove_network(&self, name: &str) -> Result<bool, EngineError> {
        let what = format!("remove network `{name}`");
        let name = checked(&what, name)?;
        let answer = self.ask(&what, self.docker.remove_network(name)).await;
        Ok(absent_is_none(answer)?.is_some())
    }

    /// Networks that carry all these labels.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn networks_with_labels<'a, L: Into<Label<'a>> + Copy>(
        &self,
        labels: &[L],
    ) -> Result<Vec<Network>, EngineError> {
        let options = ListNetworksOptions {
            filters: filters(labels),
        };
        let request = self.docker.list_networks(Some(options));
        let found = self.ask("list networks by label", request).await?;
        Ok(found
            .into_iter()
            .map(|network| Network {
                id: network.id.unwrap_or_default(),
                name: network.name.unwrap_or_default(),
                labels: from_map(network.labels),
            })
            .collect())
    }

    async fn oldest_network(&self, what: &str, name: &str) -> Result<Option<String>, EngineError> {
        // The engine's own name filter matches parts of names, so all are listed.
        let all = self.ask(what, self.docker.list_networks(None)).await?;
        let mut named: Vec<EngineNetwork> = all
            .into_iter()
            .filter(|network| network.name.as_deref() == Some(name))
            .collect();
        named.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(named.into_iter().next().and_then(|network| network.id))
    }
}
