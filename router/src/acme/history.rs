//! What was tried for each group of names, and when the next try may be.
//!
//! Kept: `history.json`, one record for each group, on disk before the first request of a try
//! and again after it. What can never happen: a restart that forgets a back-off and orders at
//! once, again and again. A crash during a try leaves it counted as started; the limit on orders
//! a day sees it. A damaged file is moved aside and costs the back-off alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::durable;
use super::leaf::Leaf;
use super::way::Way;

const FILE: &str = "history.json";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The records of all groups.
pub(crate) struct History {
    folder: PathBuf,
    records: BTreeMap<String, Record>,
}

/// What is known about one group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The names as they were configured at the last look.
    pub(crate) hosts: Vec<String>,
    /// When an order was last begun.
    pub(crate) last_attempt: Option<SystemTime>,
    /// Failed orders in a row.
    pub(crate) failures: u32,
    /// What went wrong last, in words; none after a success.
    pub(crate) last_error: Option<String>,
    /// No order before this moment.
    pub(crate) next_attempt: Option<SystemTime>,
    /// Looks at the name servers in a row that found a name pointing elsewhere.
    pub(crate) looks: u32,
    /// Whether the next order goes to the staging authority, because production refused.
    pub(crate) staging: bool,
    /// Names the authority refused; the others are ordered for without them.
    pub(crate) refused: Vec<String>,
    /// How control is shown in the next order.
    pub(crate) way: Option<Way>,
    /// When orders at the production authority were begun, in the last day.
    pub(crate) orders: Vec<SystemTime>,
    /// The certificate that was last obtained.
    pub(crate) leaf: Option<Leaf>,
    /// What the authority said about renewing it.
    pub(crate) suggestion: Option<Suggestion>,
}

/// The authority's renewal information (ARI), asked for twice a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    /// The moment chosen inside the window; none when the authority has no opinion.
    pub(crate) renew_at: Option<SystemTime>,
    /// When to ask again.
    pub(crate) ask_again: SystemTime,
}

impl History {
    /// Reads what `folder` holds.
    pub(crate) fn load(folder: PathBuf) -> History {
        let records = durable::load(&folder, FILE);
        History { folder, records }
    }

    /// The record of `name`; empty for a group never seen.
    pub(crate) fn of(&self, name: &str) -> Record {
        self.records.get(name).cloned().unwrap_or_default()
    }

    /// Changes the record of `name` and writes all of them. A disk that takes no writes does
    /// not stop certificates: it is reported, and the record holds in memory.
    pub(crate) fn change(&mut self, name: &str, edit: impl FnOnce(&mut Record)) {
        edit(self.records.entry(name.to_owned()).or_default());
        if let Err(error) = durable::save(&self.folder, FILE, &self.records) {
            let path = self.folder.join(FILE);
            tracing::error!(%error, path = %path.display(), "cannot write the history of orders");
        }
    }

    /// Takes note of the names of a group. Other names than at the last look end the back-off and
    /// the count of orders: a person changed them, and what was wrong may have been the one gone.
    pub(crate) fn look(&mut self, name: &str, hosts: &[String]) {
        let mut hosts = hosts.to_vec();
        hosts.sort();
        if self.of(name).hosts != hosts {
            self.change(name, |record| {
                *record = Record {
                    hosts,
                    last_attempt: record.last_attempt,
                    way: record.way,
                    leaf: record.leaf.take(),
                    suggestion: record.suggestion.take(),
                    ..Record::default()
                };
            });
        }
    }
}

impl Record {
    /// An order begins.
    pub(crate) fn begin(&mut self, now: SystemTime, staging: bool) {
        self.last_attempt = Some(now);
        if !staging {
            self.orders.retain(|at| *at + DAY > now);
            self.orders.push(now);
        }
    }

    /// Until when the limit on orders a day forbids another one; none when it does not.
    pub(crate) fn limited_until(&self, a_day: usize, now: SystemTime) -> Option<SystemTime> {
        let recent: Vec<_> = self.orders.iter().filter(|at| **at + DAY > now).collect();
        let oldest_that_counts = recent.len().checked_sub(a_day.max(1))?;
        recent.get(oldest_that_counts).map(|at| **at + DAY)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_restart_keeps_the_back_off_and_new_names_end_it() {
        let folder = tempfile::tempdir().unwrap();
        let later = SystemTime::now() + Duration::from_secs(600);
        let mut history = History::load(folder.path().to_owned());
        history.look("shop", &hosts(&["a.example"]));
        history.change("shop", |record| {
            record.failures = 2;
            record.staging = true;
            record.next_attempt = Some(later);
            record.last_error = Some("no".to_owned());
        });
        let mut again = History::load(folder.path().to_owned());
        assert_eq!(again.of("shop"), history.of("shop"));
        again.look("shop", &hosts(&["a.example"]));
        assert_eq!(again.of("shop").next_attempt, Some(later));
        again.look("shop", &hosts(&["b.example"]));
        assert_eq!(again.of("shop").next_attempt, None);
        assert_eq!(again.of("shop").failures, 0);
    }

    #[test]
    fn orders_a_day_are_limited_and_staging_does_not_count() {
        let start = SystemTime::UNIX_EPOCH + 10 * DAY;
        let mut record = Record::default();
        for minute in 0..3 {
            let now = start + Duration::from_secs(minute * 60);
            assert_eq!(record.limited_until(3, now), None, "order {minute}");
            record.begin(now, false);
        }
        let now = start + Duration::from_secs(600);
        assert_eq!(record.limited_until(3, now), Some(start + DAY));
        assert_eq!(record.limited_until(3, start + DAY), None);
        record.begin(now, true);
        assert_eq!(record.orders.len(), 3);
    }
}
