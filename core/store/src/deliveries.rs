//! Deliveries of webhooks, numbered within their app, with an index from the forge's id to the
//! newest delivery of that id. They are kept for seven days and at most 10,000 an app; each new
//! one takes some of the oldest with it, so none of it costs more the more there are. What is
//! acknowledged was committed first. What became of a delivery is a note: after a power cut it may
//! be looked at once more, and the commit it speaks of is then found live.

use std::collections::HashMap;
use std::time::Duration;

use zarpar_model::{AppName, CommitId, Delivery, DeliveryId, DeliveryState, Timestamp};

use crate::commit::{Purpose, Writer};
use crate::rows::{Rows, Table};
use crate::{Store, StoreError};

/// How many deliveries an app keeps.
const KEPT: u64 = 10_000;
/// How long a delivery is kept: forges let people send one again for three days at most.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many of the oldest go with each new one; more than one, so that a limit is reached in time.
const PRUNED: usize = 4;

/// A delivery before the store gave it its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The app.
    pub app: AppName,
    /// The forge's name for it.
    pub id: DeliveryId,
    /// The forge's word for what happened.
    pub event: String,
    /// The head of the branch after it, as the payload says.
    pub commit: Option<CommitId>,
    /// When it was taken.
    pub received_at: Timestamp,
    /// `Waiting` when there is something to do.
    pub state: DeliveryState,
}

/// What became of a new delivery in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is durable, with this number.
    New(u64),
    /// This id succeeded before or is under way; nothing was written.
    Already(Delivery),
    /// The app follows no repository any more; nothing was written.
    Gone,
}

impl Store {
    /// Records deliveries in one commit, in their order, and says for each what became of it.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], or a failed read or write: then none of them is recorded.
    pub fn record_deliveries(&self, all: Vec<NewDelivery>) -> Result<Vec<Recorded>, StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        // What this batch adds is not seen by reads before it is committed.
        let mut next: HashMap<AppName, Option<u64>> = HashMap::new();
        let mut added: HashMap<(AppName, DeliveryId), Delivery> = HashMap::new();
        let mut recorded = Vec::with_capacity(all.len());
        let pruned = all.len().saturating_mul(PRUNED);
        for new in all {
            let number = match next.get(&new.app) {
                Some(number) => *number,
                None => {
                    let number = next_number(&writer, &new.app)?;
                    prune(&mut writer, &new.app, number, new.received_at, pruned)?;
                    number
                }
            };
            let Some(number) = number else {
                next.insert(new.app, None);
                recorded.push(Recorded::Gone);
                continue;
            };
            let at = (new.app.clone(), new.id.clone());
            let before = match added.get(&at) {
                Some(delivery) => Some(delivery.clone()),
                None => find(&writer, &new.app, &new.id)?,
            };
            if let Some(before) = before.filter(|before| before.state.settles_a_repeat()) {
                next.insert(new.app, Some(number));
                recorded.push(Recorded::Already(before));
                continue;
            }
            let delivery = Delivery {
                app: new.app,
                number,
                id: new.id,
                event: new.event,
                commit: new.commit,
                received_at: new.received_at,
                state: new.state,
                last_try: None,
            };
            put(&mut writer, &delivery)?;
            writer.put(
                Table::DeliveryIds,
                id_key(&delivery.app, &delivery.id),
                &number,
            )?;
            next.insert(delivery.app.clone(), Some(number + 1));
            added.insert(at, delivery);
            recorded.push(Recorded::New(number));
        }
        if !added.is_empty() {
            writer.commit()?;
        }
        Ok(recorded)
    }

    /// Notes what became of deliveries of an app. One that is not there any more is passed over.
    ///
    /// # Errors
    /// A failed read or write.
    pub fn settle_deliveries(
        &self,
        app: &AppName,
        states: &[(u64, DeliveryState)],
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        for (number, state) in states {
            let found: Option<Delivery> = writer.get(Table::Deliveries, &row_key(app, *number))?;
            if let Some(mut delivery) = found {
                delivery.state = state.clone();
                put(&mut writer, &delivery)?;
            }
        }
        writer.note()
    }

    /// Notes of deliveries that wait why the last try failed and when the next one is.
    ///
    /// # Errors
    /// A failed read or write.
    pub fn note_try(&self, app: &AppName, numbers: &[u64], said: &str) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        for number in numbers {
            let found: Option<Delivery> = writer.get(Table::Deliveries, &row_key(app, *number))?;
            if let Some(mut delivery) = found {
                delivery.last_try = Some(said.to_owned());
                put(&mut writer, &delivery)?;
            }
        }
        writer.note()
    }

    /// The delivery of this number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn delivery(&self, app: &AppName, number: u64) -> Result<Option<Delivery>, StoreError> {
        self.read().get(Table::Deliveries, &row_key(app, number))
    }

    /// At most `limit` deliveries of an app, newest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn deliveries(&self, app: &AppName, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let rows = self.read();
        let mut keys = Vec::new();
        for key in rows.keys(Table::Deliveries, &format!("{app}/")).rev() {
            let key = key?;
            if keys.last() != Some(&key) {
                keys.push(key);
            }
            if keys.len() == limit {
                break;
            }
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.extend(rows.get::<Delivery>(Table::Deliveries, &key)?);
        }
        Ok(found)
    }

    /// All deliveries that wait or whose deployment had not ended when that was last noted.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn unsettled_deliveries(&self) -> Result<Vec<Delivery>, StoreError> {
        let mut found = Vec::new();
        self.read().each(Table::Deliveries, "", |key, bytes| {
            let delivery: Delivery = crate::rows::parse(Table::Deliveries, key, bytes)?;
            if matches!(
                delivery.state,
                DeliveryState::Waiting | DeliveryState::Deploying { .. }
            ) {
                found.push(delivery);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The number after the newest; `None` when the app follows no repository.
fn next_number(rows: &Rows, app: &AppName) -> Result<Option<u64>, StoreError> {
    if rows.get_bytes(Table::Sources, app.as_str())?.is_none() {
        return Ok(None);
    }
    let newest = rows
        .keys(Table::Deliveries, &format!("{app}/"))
        .next_back()
        .transpose()?;
    Ok(Some(newest.map_or(1, |key| number_of(&key) + 1)))
}

fn find(rows: &Rows, app: &AppName, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let number: Option<u64> = rows.get(Table::DeliveryIds, &id_key(app, id))?;
    match number {
        Some(number) => rows.get(Table::Deliveries, &row_key(app, number)),
        None => Ok(None),
    }
}

/// Removes up to `most` of the oldest deliveries: those that are too many when number `next` comes
/// at the moment `now`, or too old then.
fn prune(
    writer: &mut Writer<'_>,
    app: &AppName,
    next: Option<u64>,
    now: Timestamp,
    most: usize,
) -> Result<(), StoreError> {
    let oldest: Vec<String> = writer
        .keys(Table::Deliveries, &format!("{app}/"))
        .take(most)
        .collect::<Result<_, _>>()?;
    for key in oldest {
        let Some(old) = writer.get::<Delivery>(Table::Deliveries, &key)? else {
            continue;
        };
        let too_old = now.since(old.received_at) > KEPT_FOR;
        let too_many = next.is_some_and(|next| old.number + KEPT <= next);
        if !too_old && !too_many {
            break;
        }
        let id = id_key(app, &old.id);
        if writer.get::<u64>(Table::DeliveryIds, &id)? == Some(old.number) {
            writer.remove(Table::DeliveryIds, id);
        }
        writer.remove(Table::Deliveries, key);
    }
    Ok(())
}

fn put(writer: &mut Writer<'_>, delivery: &Delivery) -> Result<(), StoreError> {
    writer.put(
        Table::Deliveries,
        row_key(&delivery.app, delivery.number),
        delivery,
    )
}

fn row_key(app: &AppName, number: u64) -> String {
    format!("{app}/{number:020}")
}

fn id_key(app: &AppName, id: &DeliveryId) -> String {
    format!("{app}/{id}")
}

fn number_of(key: &str) -> u64 {
    key.rsplit('/')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
