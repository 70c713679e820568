//! Which repository of a forge an app follows, with what is secret about it sealed beside its env.
//! A source is there whole, with its secrets, or not at all.

use std::collections::BTreeMap;
use std::fmt;

use zarpar_model::{AppName, CommitId, EnvKey, NameError, Source};

use crate::apps::the_app;
use crate::commit::{Purpose, Writer};
use crate::env::{Sealed, open_map, seal_map};
use crate::rows::Table;
use crate::{Store, StoreError};

const WEBHOOK: &str = "WEBHOOK_SECRET";
const DEPLOY_KEY: &str = "DEPLOY_KEY";
const FORGE_TOKEN: &str = "FORGE_TOKEN";

/// What is secret about a source. `Debug` shows what is there, never its value.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSecrets {
    /// What the forge signs its deliveries with.
    pub webhook: String,
    /// The private half of the deploy key, in OpenSSH's format.
    pub deploy_key: String,
    /// What opens the forge's interface.
    pub forge_token: Option<String>,
}

impl fmt::Debug for SourceSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.forge_token.as_ref().map(|_| "…");
        f.debug_struct("SourceSecrets")
            .field("forge_token", &token)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes the app follow a repository, or another one than before. Deliveries so far stay.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`] for the app, or a failed write.
    pub fn put_source(&self, source: &Source, secrets: &SourceSecrets) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        the_app(&writer, &source.app)?;
        let map = map_of(secrets).map_err(|error| StoreError::Invariant(error.to_string()))?;
        let sealed = seal_map(&self.inner.sealer, &source.app, Sealed::Source, &map)?;
        let mut source = source.clone();
        source.forge_token = secrets.forge_token.is_some();
        writer.put_bytes(Table::Env, Sealed::Source.key(&source.app), sealed);
        writer.put(Table::Sources, source.app.as_str(), &source)?;
        writer.commit_and_export()
    }

    /// The repository that an app follows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn source(&self, app: &AppName) -> Result<Option<Source>, StoreError> {
        self.read().get(Table::Sources, app.as_str())
    }

    /// All sources, by app.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sources(&self) -> Result<Vec<Source>, StoreError> {
        self.read().list(Table::Sources, "")
    }

    /// Notes that this head of the branch that `source` follows was handed on for deployment. It
    /// is durable: a head that looks new after a crash would undo what people deployed since. When
    /// the app follows something else by now, nothing is written.
    ///
    /// # Errors
    /// A failed read or write.
    pub fn note_seen(&self, source: &Source, head: &CommitId) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let Some(mut now) = writer.get::<Source>(Table::Sources, source.app.as_str())? else {
            return Ok(());
        };
        let same = now.url == source.url && now.branch == source.branch;
        if !same || now.last_seen.as_ref() == Some(head) {
            return Ok(());
        }
        now.last_seen = Some(head.clone());
        writer.put(Table::Sources, source.app.as_str(), &now)?;
        writer.commit()
    }

    /// What is secret about the source of an app; `None` when it follows no repository.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`], or a failed read.
    pub fn source_secrets(&self, app: &AppName) -> Result<Option<SourceSecrets>, StoreError> {
        let rows = self.read();
        let Some(mut map) = open_map(&self.inner.sealer, &rows, app, Sealed::Source)? else {
            return Ok(None);
        };
        let mut take = |name: &str| {
            let key: Option<EnvKey> = name.parse().ok();
            key.and_then(|key| map.remove(&key))
        };
        Ok(Some(SourceSecrets {
            webhook: take(WEBHOOK).unwrap_or_default(),
            deploy_key: take(DEPLOY_KEY).unwrap_or_default(),
            forge_token: take(FORGE_TOKEN),
        }))
    }

    /// Makes an app follow nothing any more, and forgets its deliveries; `false` when it did not.
    ///
    /// # Errors
    /// A failed write.
    pub fn remove_source(&self, app: &AppName) -> Result<bool, StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        if writer
            .get::<Source>(Table::Sources, app.as_str())?
            .is_none()
        {
            return Ok(false);
        }
        remove(&mut writer, app)?;
        writer.commit_and_export()?;
        Ok(true)
    }
}

/// Adds the removal of all that a source is.
pub(crate) fn remove(writer: &mut Writer<'_>, app: &AppName) -> Result<(), StoreError> {
    let own = format!("{app}/");
    writer.remove_all(Table::Deliveries, &own)?;
    writer.remove_all(Table::DeliveryIds, &own)?;
    writer.remove(Table::Env, Sealed::Source.key(app));
    writer.remove(Table::Sources, app.as_str());
    Ok(())
}

fn map_of(secrets: &SourceSecrets) -> Result<BTreeMap<EnvKey, String>, NameError> {
    let mut map = BTreeMap::new();
    map.insert(WEBHOOK.parse()?, secrets.webhook.clone());
    map.insert(DEPLOY_KEY.parse()?, secrets.deploy_key.clone());
    if let Some(token) = &secrets.forge_token {
        map.insert(FORGE_TOKEN.parse()?, token.clone());
    }
    Ok(map)
}
