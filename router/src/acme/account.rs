//! The accounts at the authorities.
//!
//! Kept: `account.json`, one set of credentials for each directory URL, on disk before the
//! account is used. A crash between making an account and writing it leaves an account that
//! nobody uses, which authorities allow. Lost credentials mean a new account, never an outage.

use std::collections::HashMap;
use std::path::PathBuf;

use instant_acme::{Account, AccountCredentials, NewAccount};
use serde_json::{Map, Value};

use super::client::AcmeClient;
use super::durable;
use super::failure::Failure;
use super::nonce::patiently;

const FILE: &str = "account.json";

/// The accounts; those in use are kept open, because opening one asks for the directory.
pub(crate) struct Accounts {
    folder: PathBuf,
    client: AcmeClient,
    contact: Option<String>,
    open: HashMap<String, Account>,
}

impl Accounts {
    /// Accounts kept in `folder`. `contact` is an address such as `mailto:me@example.org`.
    pub(crate) fn new(folder: PathBuf, client: AcmeClient, contact: Option<String>) -> Accounts {
        Accounts {
            folder,
            client,
            contact,
            open: HashMap::new(),
        }
    }

    /// The account at `directory`, made when there is none.
    pub(crate) async fn at(&mut self, directory: &str) -> Result<Account, Failure> {
        if let Some(account) = self.open.get(directory) {
            return Ok(account.clone());
        }
        let account = match self.stored(directory) {
            Some(credentials) => self.builder().from_credentials(credentials).await?,
            None => self.create(directory).await?,
        };
        self.open.insert(directory.to_owned(), account.clone());
        Ok(account)
    }

    /// Forgets the account at `directory`: the authority does not know it any more.
    pub(crate) fn forget(&mut self, directory: &str) -> Result<(), Failure> {
        self.open.remove(directory);
        let mut all = self.all();
        all.remove(directory);
        self.write(&all)
    }

    async fn create(&self, directory: &str) -> Result<Account, Failure> {
        let contact: Vec<&str> = self.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) =
            patiently!(self.builder().create(&new, directory.to_owned(), None))?;
        let mut all = self.all();
        let value = serde_json::to_value(&credentials)
            .map_err(|error| Failure::own(format!("cannot write an account down: {error}")))?;
        all.insert(directory.to_owned(), value);
        self.write(&all)?;
        tracing::info!(directory, "made an account at the certificate authority");
        Ok(account)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.client.clone()))
    }

    fn stored(&self, directory: &str) -> Option<AccountCredentials> {
        let value = self.all().remove(directory)?;
        match serde_json::from_value(value) {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                tracing::error!(%error, directory, "the kept account is damaged, making a new one");
                None
            }
        }
    }

    fn all(&self) -> Map<String, Value> {
        durable::load(&self.folder, FILE)
    }

    fn write(&self, all: &Map<String, Value>) -> Result<(), Failure> {
        durable::save(&self.folder, FILE, all).map_err(|error| {
            let path = self.folder.join(FILE);
            Failure::own(format!("cannot write `{}`: {error}", path.display()))
        })
    }
}
