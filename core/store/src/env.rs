//! Env and secrets, sealed at rest as one value each. Env is what the user set; secrets are what
//! zarpar made once and must not make again (`SECRET_KEY`, `DB_PASSWORD`). Both live in memory
//! only while somebody asks.

use std::collections::BTreeMap;

use zarpar_model::{AppName, EnvKey, ReleaseNumber};

use crate::apps::the_app;
use crate::commit::Purpose;
use crate::rows::{Rows, Table};
use crate::sealed::Sealer;
use crate::{Store, StoreError};

/// The most env one app has, names and values together. Linux gives a process 128 KiB a string
/// (`MAX_ARG_STRLEN`) and at least 128 KiB, usually 2 MiB, in all (execve(2)).
const LIMIT: usize = 256 << 10;

/// What a sealed map is, and so where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sealed {
    Env,
    Secrets,
    Source,
    Release(ReleaseNumber),
}

impl Sealed {
    pub(crate) fn key(self, app: &AppName) -> String {
        format!("{app}/{}", self.what())
    }

    fn what(self) -> String {
        match self {
            Sealed::Env => "env".to_owned(),
            Sealed::Secrets => "secrets".to_owned(),
            Sealed::Source => "source".to_owned(),
            Sealed::Release(number) => format!("release/{:020}", number.0),
        }
    }
}

impl Store {
    /// What the user set for this app.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::Unsealable`], or a failed read.
    pub fn env(&self, app: &AppName) -> Result<BTreeMap<EnvKey, String>, StoreError> {
        self.sealed_map(app, Sealed::Env)
    }

    /// Sets (`Some`) and unsets (`None`) variables in one commit. Running releases keep theirs.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::EnvTooLarge`], [`StoreError::EnvValue`], or a
    /// failed write.
    pub fn set_env(
        &self,
        app: &AppName,
        changes: &[(EnvKey, Option<String>)],
    ) -> Result<(), StoreError> {
        self.change_sealed_map(app, Sealed::Env, changes)
    }

    /// What zarpar made for this app.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::Unsealable`], or a failed read.
    pub fn secrets(&self, app: &AppName) -> Result<BTreeMap<EnvKey, String>, StoreError> {
        self.sealed_map(app, Sealed::Secrets)
    }

    /// Sets and unsets values that zarpar made, in one commit.
    ///
    /// # Errors
    /// Those of [`Store::set_env`].
    pub fn set_secrets(
        &self,
        app: &AppName,
        changes: &[(EnvKey, Option<String>)],
    ) -> Result<(), StoreError> {
        self.change_sealed_map(app, Sealed::Secrets, changes)
    }

    fn sealed_map(
        &self,
        app: &AppName,
        which: Sealed,
    ) -> Result<BTreeMap<EnvKey, String>, StoreError> {
        let rows = self.read();
        the_app(&rows, app)?;
        Ok(open_map(&self.inner.sealer, &rows, app, which)?.unwrap_or_default())
    }

    fn change_sealed_map(
        &self,
        app: &AppName,
        which: Sealed,
        changes: &[(EnvKey, Option<String>)],
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        the_app(&writer, app)?;
        let mut map = open_map(&self.inner.sealer, &writer, app, which)?.unwrap_or_default();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        if map.is_empty() {
            writer.remove(Table::Env, which.key(app));
        } else {
            let sealed = seal_map(&self.inner.sealer, app, which, &map)?;
            writer.put_bytes(Table::Env, which.key(app), sealed);
        }
        writer.commit_and_export()
    }
}

pub(crate) fn open_map(
    sealer: &Sealer,
    rows: &Rows,
    app: &AppName,
    which: Sealed,
) -> Result<Option<BTreeMap<EnvKey, String>>, StoreError> {
    let key = which.key(app);
    let Some(sealed) = rows.get_bytes(Table::Env, &key)? else {
        return Ok(None);
    };
    let plain = sealer.open(app.as_str(), &which.what(), &sealed)?;
    crate::rows::parse(Table::Env, &key, &plain).map(Some)
}

pub(crate) fn seal_map(
    sealer: &Sealer,
    app: &AppName,
    which: Sealed,
    map: &BTreeMap<EnvKey, String>,
) -> Result<Vec<u8>, StoreError> {
    if let Some((key, _)) = map.iter().find(|(_, value)| value.contains('\0')) {
        return Err(StoreError::EnvValue { key: key.clone() });
    }
    let bytes = map
        .iter()
        .map(|(key, value)| key.as_str().len() + value.len())
        .sum();
    if bytes > LIMIT {
        return Err(StoreError::EnvTooLarge {
            app: app.clone(),
            bytes,
            limit: LIMIT,
        });
    }
    let plain = serde_json::to_vec(map).map_err(|source| StoreError::Row {
        table: Table::Env.name(),
        key: which.key(app),
        source,
    })?;
    sealer.seal(app.as_str(), &which.what(), &plain)
}
