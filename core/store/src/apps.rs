//! Apps. A host name belongs to one app at most. Which release is active, and the number of the
//! next one, are moved by [`Store::activate`], [`Store::retire`] and [`Store::reserve_release`]
//! alone. An app is removed with everything that is its own, in one batch.

use std::collections::BTreeMap;

use zarpar_model::{App, AppName, EnvKey};

use crate::commit::Purpose;
use crate::env::{Sealed, seal_map};
use crate::rows::{Rows, Table};
use crate::{Store, StoreError};

impl Store {
    /// Adds an app, with the values that zarpar made for it (`SECRET_KEY`, `DB_PASSWORD`).
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::DomainTaken`], or a failed write.
    pub fn create_app(
        &self,
        app: App,
        secrets: BTreeMap<EnvKey, String>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        if find_app(&writer, &app.name)?.is_some() {
            return Err(StoreError::Exists {
                kind: "app",
                name: app.name.to_string(),
            });
        }
        if app.active.is_some() {
            return Err(StoreError::Invariant(format!(
                "the new app `{}` has no release that could be active",
                app.name
            )));
        }
        check_domains(&writer, &app)?;
        if !secrets.is_empty() {
            let sealed = seal_map(&self.inner.sealer, &app.name, Sealed::Secrets, &secrets)?;
            writer.put_bytes(Table::Env, Sealed::Secrets.key(&app.name), sealed);
        }
        writer.put(Table::Apps, app.name.as_str(), &app)?;
        writer.commit_and_export()
    }

    /// The app of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn app(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        find_app(&self.read(), name)
    }

    /// All apps, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn apps(&self) -> Result<Vec<App>, StoreError> {
        self.read().list(Table::Apps, "")
    }

    /// Changes an app: `change` sees it as it is and nobody else changes it meanwhile. When
    /// `change` fails, nothing happened. It must not call the store, which waits for it.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::DomainTaken`], [`StoreError::Invariant`] when name,
    /// active release or next number are touched, that of `change`, or a failed write.
    pub fn update_app<T, E: From<StoreError>>(
        &self,
        name: &AppName,
        change: impl FnOnce(&mut App) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = self.writer(Purpose::Begin)?;
        let before = the_app(&writer, name)?;
        let mut app = before.clone();
        let value = change(&mut app)?;
        if app == before {
            return Ok(value);
        }
        if (&app.name, app.active, app.next_release)
            != (&before.name, before.active, before.next_release)
        {
            return Err(StoreError::Invariant(format!(
                "name and releases of `{name}` are not changed this way"
            ))
            .into());
        }
        check_domains(&writer, &app)?;
        writer.put(Table::Apps, name.as_str(), &app)?;
        writer.commit_and_export()?;
        Ok(value)
    }

    /// Removes an app with its env, secrets, releases and deployments. Tokens stay as they are:
    /// one that names the app opens nothing until an app of that name is made again.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], or a failed write.
    pub fn remove_app(&self, name: &AppName) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        the_app(&writer, name)?;
        let own = format!("{name}/");
        for deployment in crate::deployments::of_app(&writer, name)? {
            writer.remove(
                Table::DeploymentIds,
                crate::deployments::id_key(deployment.id),
            );
        }
        crate::sources::remove(&mut writer, name)?;
        for table in [Table::Env, Table::Releases, Table::Deployments] {
            writer.remove_all(table, &own)?;
        }
        writer.remove(Table::Apps, name.as_str());
        writer.commit_and_export()
    }
}

pub(crate) fn find_app(rows: &Rows, name: &AppName) -> Result<Option<App>, StoreError> {
    rows.get(Table::Apps, name.as_str())
}

pub(crate) fn the_app(rows: &Rows, name: &AppName) -> Result<App, StoreError> {
    find_app(rows, name)?.ok_or_else(|| StoreError::no_such("app", name))
}

fn check_domains(rows: &Rows, app: &App) -> Result<(), StoreError> {
    if app.domains.is_empty() {
        return Ok(());
    }
    let others: Vec<App> = rows.list(Table::Apps, "")?;
    for other in others.into_iter().filter(|other| other.name != app.name) {
        if let Some(domain) = app.domains.iter().find(|d| other.domains.contains(d)) {
            return Err(StoreError::DomainTaken {
                domain: domain.to_string(),
                app: other.name,
            });
        }
    }
    Ok(())
}
