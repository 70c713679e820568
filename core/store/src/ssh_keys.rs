//! Public keys of those who come by SSH. What `authorized_keys` says is made from these records
//! and never the other way round: a key that is not here says nothing.

use zarpar_model::{AppName, SshKey};

use crate::commit::Purpose;
use crate::rows::Table;
use crate::{Store, StoreError};

impl Store {
    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::KeyKnown`], or a failed write.
    pub fn create_key(&self, key: &SshKey) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        for there in writer.list::<SshKey>(Table::Keys, "")? {
            if there.name == key.name {
                return Err(StoreError::Exists {
                    kind: "key",
                    name: key.name.to_string(),
                });
            }
            if there.key.is_same(&key.key) {
                return Err(StoreError::KeyKnown { name: there.name });
            }
        }
        writer.put(Table::Keys, key.name.as_str(), key)?;
        writer.commit_and_export()
    }

    /// All keys, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn keys(&self) -> Result<Vec<SshKey>, StoreError> {
        self.read().list(Table::Keys, "")
    }

    /// The key of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key(&self, name: &AppName) -> Result<Option<SshKey>, StoreError> {
        self.read().get(Table::Keys, name.as_str())
    }

    /// Removes the key of this name; `false` when there is none.
    ///
    /// # Errors
    /// A failed write.
    pub fn remove_key(&self, name: &AppName) -> Result<bool, StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let there: Option<SshKey> = writer.get(Table::Keys, name.as_str())?;
        if there.is_none() {
            return Ok(false);
        }
        writer.remove(Table::Keys, name.as_str());
        writer.commit_and_export()?;
        Ok(true)
    }
}
