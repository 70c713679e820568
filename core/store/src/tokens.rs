//! Tokens of push over HTTP. Only their hashes are here.

use zarpar_model::{AppName, Token};

use crate::commit::Purpose;
use crate::rows::Table;
use crate::{Store, StoreError};

impl Store {
    /// Adds a token.
    ///
    /// # Errors
    /// [`StoreError::Exists`], or a failed write.
    pub fn create_token(&self, token: Token) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        let there: Option<Token> = writer.get(Table::Tokens, token.name.as_str())?;
        if there.is_some() {
            return Err(StoreError::Exists {
                kind: "token",
                name: token.name.to_string(),
            });
        }
        writer.put(Table::Tokens, token.name.as_str(), &token)?;
        writer.commit_and_export()
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read().list(Table::Tokens, "")
    }

    /// Removes the token of this name; `false` when there is none.
    ///
    /// # Errors
    /// A failed write.
    pub fn revoke_token(&self, name: &AppName) -> Result<bool, StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let there: Option<Token> = writer.get(Table::Tokens, name.as_str())?;
        if there.is_none() {
            return Ok(false);
        }
        writer.remove(Table::Tokens, name.as_str());
        writer.commit_and_export()?;
        Ok(true)
    }

    /// The token whose secret has this SHA-256, in lower-case hexadecimal.
    ///
    /// The comparison need not take constant time: what it could tell is how much of a hash is
    /// right, and nobody can choose a secret by the beginning of its hash.
    ///
    /// # Errors
    /// When a token cannot be read.
    pub fn token_by_sha256(&self, hex: &str) -> Result<Option<Token>, StoreError> {
        Ok(self.tokens()?.into_iter().find(|token| token.sha256 == hex))
    }
}
