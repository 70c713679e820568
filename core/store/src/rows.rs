//! Rows: text key, bytes, in named tables over sled trees. A value is cut into chunks of 5 KiB,
//! because sled keeps up to 20 items in a node and writes a node above 128 KiB to a file of its
//! own that it never syncs. One set of [`Changes`] is one sled transaction: after a crash all of
//! it is there or nothing. Flushed rows survive a kill; only [`Rows::sync`] makes them survive a
//! power cut, since sled's `flush` does not fsync.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::StoreError;

const CHUNK: usize = 5 * 1024;
/// Ends the key; what follows is the chunk's number. No key has it, they are printable text.
const END_OF_KEY: u8 = 0;
/// The whole daemon has 25 MiB; the records of a hundred apps fit into this.
const CACHE_BYTES: u64 = 4 << 20;

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `APP` → `App`.
    Apps,
    /// `APP/env`, `APP/secrets`, `APP/source`, `APP/release/NUMBER` → sealed bytes.
    Env,
    /// `APP/NUMBER` → `Release`.
    Releases,
    /// `APP/ID` → `Deployment`.
    Deployments,
    /// `ID` → the name of the app whose deployment it is.
    DeploymentIds,
    /// `APP` → `Source`.
    Sources,
    /// `APP/NUMBER` → `Delivery`.
    Deliveries,
    /// `APP/ID` → the number of the newest delivery of this id.
    DeliveryIds,
    /// `NAME` → `Token`.
    Tokens,
    /// `NAME` → `SshKey`.
    Keys,
    /// Counters, the format, the key's check value.
    Meta,
}

impl Table {
    pub(crate) const ALL: [Table; 11] = [
        Table::Apps,
        Table::Env,
        Table::Releases,
        Table::Deployments,
        Table::DeploymentIds,
        Table::Sources,
        Table::Deliveries,
        Table::DeliveryIds,
        Table::Tokens,
        Table::Keys,
        Table::Meta,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Apps => "apps",
            Table::Env => "env",
            Table::Releases => "releases",
            Table::Deployments => "deployments",
            Table::DeploymentIds => "deployment_ids",
            Table::Sources => "sources",
            Table::Deliveries => "deliveries",
            Table::DeliveryIds => "delivery_ids",
            Table::Tokens => "tokens",
            Table::Keys => "keys",
            Table::Meta => "meta",
        }
    }
}

/// What one batch puts and removes, whole values; the last word on a row counts.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<(Table, String), Option<Vec<u8>>>);

impl Changes {
    pub(crate) fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: impl Into<String>,
        value: &T,
    ) -> Result<(), StoreError> {
        let key = key.into();
        let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Row {
            table: table.name(),
            key: key.clone(),
            source,
        })?;
        self.put_bytes(table, key, bytes);
        Ok(())
    }

    pub(crate) fn put_bytes(&mut self, table: Table, key: impl Into<String>, bytes: Vec<u8>) {
        self.0.insert((table, key.into()), Some(bytes));
    }

    pub(crate) fn remove(&mut self, table: Table, key: impl Into<String>) {
        self.0.insert((table, key.into()), None);
    }
}

/// A row of sled's: where it is, and what to put there (`None` removes it).
type Chunk<'c> = (Table, Vec<u8>, Option<&'c [u8]>);

pub(crate) struct Rows {
    trees: Vec<sled::Tree>,
    db: sled::Db,
    /// Our own handle to sled's file, to sync it by.
    file: File,
}

impl Rows {
    /// Opens or creates the database in `dir`. The outer error is a panic of sled, which is how
    /// it meets some kinds of damage.
    pub(crate) fn open(dir: &Path) -> std::thread::Result<Result<Rows, sled::Error>> {
        catch_unwind(|| {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                // Its thread syncs at its own times and hides a failed sync.
                .flush_every_ms(None)
                .open()?;
            let trees = Table::ALL
                .into_iter()
                .map(|table| db.open_tree(table.name()))
                .collect::<Result<_, _>>()?;
            let file = File::open(dir.join("db"))?;
            Ok(Rows { trees, db, file })
        })
    }

    pub(crate) fn get_bytes(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        for chunk in self.tree(table).scan_prefix(chunk_prefix(key)) {
            let (_, bytes) = chunk.map_err(reading)?;
            found.get_or_insert_with(Vec::new).extend_from_slice(&bytes);
        }
        Ok(found)
    }

    pub(crate) fn get<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        self.get_bytes(table, key)?
            .map(|bytes| parse(table, key, &bytes))
            .transpose()
    }

    /// Calls `visit` for each row whose key starts with `prefix`, in the order of the keys.
    pub(crate) fn each(
        &self,
        table: Table,
        prefix: &str,
        mut visit: impl FnMut(&str, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut row: Option<(String, Vec<u8>)> = None;
        for chunk in self.tree(table).scan_prefix(prefix) {
            let (chunk_key, bytes) = chunk.map_err(reading)?;
            let key = key_of(&chunk_key);
            match &mut row {
                Some((open, value)) if *open == key => value.extend_from_slice(&bytes),
                _ => {
                    if let Some((done, value)) = row.replace((key, bytes.to_vec())) {
                        visit(&done, &value)?;
                    }
                }
            }
        }
        match row {
            Some((key, value)) => visit(&key, &value),
            None => Ok(()),
        }
    }

    /// The keys that start with `prefix`, in their order and from either end; a value of more than
    /// one chunk gives its key more than once.
    pub(crate) fn keys(
        &self,
        table: Table,
        prefix: &str,
    ) -> impl DoubleEndedIterator<Item = Result<String, StoreError>> {
        self.tree(table)
            .scan_prefix(prefix)
            .keys()
            .map(|key| key.map(|key| key_of(&key)).map_err(reading))
    }

    /// All values whose key starts with `prefix`, in the order of the keys.
    pub(crate) fn list<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &str,
    ) -> Result<Vec<T>, StoreError> {
        let mut values = Vec::new();
        self.each(table, prefix, |key, bytes| {
            values.push(parse(table, key, bytes)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// Adds the removal of every row whose key starts with `prefix` to `changes`.
    pub(crate) fn remove_all(
        &self,
        changes: &mut Changes,
        table: Table,
        prefix: &str,
    ) -> Result<(), StoreError> {
        self.each(table, prefix, |key, _| {
            changes.remove(table, key);
            Ok(())
        })
    }

    /// Writes all changes as one batch and hands it to the kernel: it survives a kill of this
    /// process. After an error the batch may or may not be there.
    pub(crate) fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let chunks = self.chunks(changes)?;
            self.trees
                .as_slice()
                .transaction(|trees| {
                    for (table, key, value) in &chunks {
                        let tree = &trees[*table as usize];
                        match value {
                            Some(bytes) => tree.insert(key.as_slice(), *bytes)?,
                            None => tree.remove(key.as_slice())?,
                        };
                    }
                    Ok::<(), ConflictableTransactionError<std::convert::Infallible>>(())
                })
                .map_err(|error| match error {
                    TransactionError::Storage(source) => writing(source),
                    TransactionError::Abort(never) => match never {},
                })?;
            self.db.flush().map_err(writing)?;
            Ok(())
        }));
        outcome.unwrap_or_else(|_| Err(writing("the database panicked")))
    }

    /// Makes all that was written survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fdatasync(&self.file).map_err(|errno| writing(std::io::Error::from(errno)))
    }

    /// Cuts values into chunks, and finds the chunks of the old value that must go.
    fn chunks<'c>(&self, changes: &'c Changes) -> Result<Vec<Chunk<'c>>, StoreError> {
        let mut chunks = Vec::new();
        for ((table, key), value) in &changes.0 {
            let prefix = chunk_prefix(key);
            for old in self.tree(*table).scan_prefix(&prefix).keys() {
                chunks.push((*table, old.map_err(reading)?.to_vec(), None));
            }
            let Some(value) = value else { continue };
            // An empty value is one empty chunk, or it would be no row.
            let pieces = value
                .chunks(CHUNK)
                .chain(value.is_empty().then_some(&value[..]));
            for (number, piece) in pieces.enumerate() {
                let number = u16::try_from(number).map_err(writing)?;
                let mut chunk_key = prefix.clone();
                chunk_key.extend_from_slice(&number.to_be_bytes());
                chunks.push((*table, chunk_key, Some(piece)));
            }
        }
        Ok(chunks)
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }
}

pub(crate) fn parse<T: DeserializeOwned>(
    table: Table,
    key: &str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Row {
        table: table.name(),
        key: key.to_owned(),
        source,
    })
}

fn chunk_prefix(key: &str) -> Vec<u8> {
    let mut prefix = key.as_bytes().to_vec();
    prefix.push(END_OF_KEY);
    prefix
}

fn key_of(chunk_key: &[u8]) -> String {
    let end = chunk_key
        .iter()
        .position(|byte| *byte == END_OF_KEY)
        .unwrap_or(chunk_key.len());
    String::from_utf8_lossy(&chunk_key[..end]).into_owned()
}

fn reading(source: sled::Error) -> StoreError {
    StoreError::Database {
        action: "read",
        source: source.into(),
    }
}

fn writing(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Database {
        action: "write",
        source: source.into(),
    }
}
