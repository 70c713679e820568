//! Numbers that never go back. A counter that is exported or handed out without a write has a
//! ceiling, made durable before any number below it is used; whoever cannot know how far it got
//! goes on from the ceiling. So numbers may be left out and never come twice.

use std::sync::PoisonError;

use zarpar_model::DeploymentId;

use crate::commit::{Purpose, Writer};
use crate::rows::{Changes, Rows, Table};
use crate::{Store, StoreError};

/// The format of rows and export; a state of a higher one is refused.
pub(crate) const FORMAT: u64 = 1;

const FORMAT_ROW: &str = "format";
const EXPORT_GENERATION: &str = "export_generation";
const NEXT_DEPLOYMENT: &str = "next_deployment";
const DEPLOYMENT_CEILING: &str = "deployment_ceiling";
const GENERATION_CEILING: &str = "generation_ceiling";

/// How many deployments there may be between two exports.
const DEPLOYMENT_BLOCK: u64 = 100;
/// How many route tables there may be between two commits.
const GENERATION_BLOCK: u64 = 1000;

impl Store {
    /// The generation of the next route table: higher than any returned before, also after a
    /// kill or a power cut. The first call after a start writes, and each 1000th.
    ///
    /// # Errors
    /// When the write of a block fails.
    pub fn next_generation(&self) -> Result<u64, StoreError> {
        let mut reserved = self
            .inner
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if reserved.is_empty() {
            let mut writer = self.writer(Purpose::End)?;
            let ceiling = read(&writer, GENERATION_CEILING)?;
            writer.put(
                Table::Meta,
                GENERATION_CEILING,
                &(ceiling + GENERATION_BLOCK),
            )?;
            writer.commit_and_export()?;
            *reserved = ceiling..ceiling + GENERATION_BLOCK;
        }
        let generation = reserved.start;
        reserved.start += 1;
        Ok(generation)
    }
}

/// Takes the next id of a deployment; `true` when the commit must be exported.
pub(crate) fn take_deployment(writer: &mut Writer<'_>) -> Result<(DeploymentId, bool), StoreError> {
    let id = read(writer, NEXT_DEPLOYMENT)?;
    writer.put(Table::Meta, NEXT_DEPLOYMENT, &(id + 1))?;
    let raise = id >= read(writer, DEPLOYMENT_CEILING)?;
    if raise {
        writer.put(Table::Meta, DEPLOYMENT_CEILING, &(id + DEPLOYMENT_BLOCK))?;
    }
    Ok((DeploymentId(id), raise))
}

/// The id that the next deployment gets.
pub(crate) fn next_deployment(rows: &Rows) -> Result<u64, StoreError> {
    read(rows, NEXT_DEPLOYMENT)
}

/// The rows of a new store.
pub(crate) fn initial() -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    changes.put(Table::Meta, FORMAT_ROW, &FORMAT)?;
    changes.put(Table::Meta, EXPORT_GENERATION, &0_u64)?;
    for counter in [NEXT_DEPLOYMENT, DEPLOYMENT_CEILING, GENERATION_CEILING] {
        changes.put(Table::Meta, counter, &1_u64)?;
    }
    Ok(changes)
}

/// What a restored store needs: ids after those that only the lost database knew.
pub(crate) fn after_restore(rows: &Rows) -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    let ceiling = read(rows, DEPLOYMENT_CEILING)?;
    changes.put(Table::Meta, NEXT_DEPLOYMENT, &ceiling)?;
    Ok(changes)
}

/// The format; `None` in a database that came up empty.
pub(crate) fn format(rows: &Rows) -> Result<Option<u64>, StoreError> {
    rows.get(Table::Meta, FORMAT_ROW)
}

/// The generation of the newest export that `rows` know of.
pub(crate) fn export_generation(rows: &Rows) -> Result<u64, StoreError> {
    read(rows, EXPORT_GENERATION)
}

pub(crate) fn put_export_generation(
    changes: &mut Changes,
    generation: u64,
) -> Result<(), StoreError> {
    changes.put(Table::Meta, EXPORT_GENERATION, &generation)
}

fn read(rows: &Rows, counter: &str) -> Result<u64, StoreError> {
    rows.get(Table::Meta, counter)?
        .ok_or_else(|| StoreError::Invariant(format!("the counter `{counter}` is missing")))
}
