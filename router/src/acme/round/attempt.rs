//! One order for one group, and what is written down of it.
//!
//! Guarantees: a refusal leads to staging and to the other way of showing control; a certificate
//! that the store refuses is not ordered again; whatever the authority gave, the next order is
//! not at once.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::Group;
use super::super::failure::{Failure, FailureKind};
use super::super::history::Record;
use super::super::leaf::Leaf;
use super::super::order::{Wanted, order};
use super::super::schedule::chance;
use super::{Next, ORDERS_NOW, Obtained, Plan, Rounds};

impl Rounds {
    /// Orders at the authority, or at staging after it refused. `Ok(None)`: staging agreed.
    pub(super) async fn attempt(
        &mut self,
        group: &Group,
        plan: &Plan,
        record: &Record,
    ) -> Result<Option<Leaf>, Failure> {
        let staging = self.config.staging.clone().filter(|_| plan.staging);
        let directory = staging.as_ref().unwrap_or(&self.config.directory).clone();
        let pem = match self.order_at(&directory, plan, record).await {
            Err(failure) if failure.kind == FailureKind::AccountGone => {
                tracing::warn!(
                    directory,
                    "the authority lost our account, making a new one"
                );
                self.accounts.forget(&directory)?;
                self.order_at(&directory, plan, record).await?
            }
            result => result?,
        };
        if staging.is_some() {
            return Ok(None);
        }
        let plan = plan.clone();
        self.install(group, Obtained { plan, pem }).await
    }

    async fn order_at(
        &mut self,
        directory: &str,
        plan: &Plan,
        record: &Record,
    ) -> Result<String, Failure> {
        // What an earlier call was told is no answer to this one.
        self.client.take_retry_after();
        let result = async {
            let account = self.accounts.at(directory).await?;
            let suggested = record
                .suggestion
                .as_ref()
                .is_some_and(|s| s.renew_at.is_some());
            let leaf = record.leaf.as_ref().filter(|_| suggested && !plan.staging);
            let wanted = Wanted {
                hosts: &plan.hosts,
                way: record.way.unwrap_or(self.config.first_way),
                replaces: leaf.and_then(Leaf::identifier),
                profile: self.config.profile.as_deref(),
                within: self.config.order_within,
            };
            order(&account, wanted, self.acme.challenges()).await
        };
        result.await.map_err(|failure: Failure| Failure {
            not_before: self.client.take_retry_after(),
            ..failure
        })
    }

    /// Hands a certificate to the store; one that the store refuses is kept for the next look.
    pub(super) async fn install(
        &mut self,
        group: &Group,
        obtained: Obtained,
    ) -> Result<Option<Leaf>, Failure> {
        let leaf = Leaf::of(&obtained.pem).map_err(Failure::own)?;
        let store = Arc::clone(&self.store);
        let Obtained { plan, pem } = obtained.clone();
        let installed = tokio::task::spawn_blocking(move || store.install(&plan.hosts, &pem)).await;
        let words = match installed {
            Ok(Ok(())) => {
                match obtained
                    .plan
                    .hosts
                    .iter()
                    .find(|host| self.store.expiry(host).is_none())
                {
                    None => return Ok(Some(leaf)),
                    Some(host) => format!("the store has no certificate for `{host}`"),
                }
            }
            Ok(Err(words)) => words,
            Err(error) => error.to_string(),
        };
        self.unstored.insert(group.name.clone(), obtained);
        Err(Failure {
            ordered: true,
            ..Failure::own(format!(
                "a certificate was obtained and cannot be stored: {words}"
            ))
        })
    }

    /// Writes down what came of an order, and when the next one may be.
    pub(super) fn conclude(
        &mut self,
        group: &Group,
        plan: &Plan,
        result: Result<Option<Leaf>, Failure>,
        elsewhere: &[String],
    ) -> Next {
        let now = SystemTime::now();
        let name = group.name.as_str();
        match result {
            Ok(Some(leaf)) => {
                tracing::info!(app = name, hosts = ?plan.hosts, issuer = leaf.issuer, "new certificate");
                // Whatever the authority gave, the next order is not at once.
                let back_off = &self.config.back_off;
                let dns_again = self.config.dns_again;
                self.history.change(name, |record| {
                    record.leaf = Some(leaf);
                    record.suggestion = None;
                    if plan.partial {
                        // The refused names go on with their failures and their words.
                        record.next_attempt = Some(now + back_off.pause(record.failures, chance()));
                        return;
                    }
                    record.failures = 0;
                    record.looks = elsewhere.len().min(1) as u32;
                    record.staging = false;
                    record.refused.clear();
                    record.last_error = (!elsewhere.is_empty()).then(|| elsewhere.join("\n"));
                    record.next_attempt = Some(match elsewhere.is_empty() {
                        true => now + back_off.pause(1, chance()),
                        false => now + dns_again,
                    });
                });
            }
            Ok(None) => {
                tracing::info!(
                    app = name,
                    "the staging authority agrees, ordering for good"
                );
                self.history.change(name, |record| {
                    record.staging = false;
                    record.next_attempt = None;
                });
            }
            Err(failure) => self.fail(name, plan, &failure, now),
        }
        let record = self.history.of(name);
        self.wait(group, &record, now).unwrap_or(Next {
            at: now,
            words: ORDERS_NOW.to_owned(),
        })
    }

    fn fail(&mut self, name: &str, plan: &Plan, failure: &Failure, now: SystemTime) {
        tracing::warn!(app = name, words = failure.words, "no new certificate");
        let before = self.history.of(name);
        let mut refused = failure.hosts.clone();
        refused.extend(before.refused.iter().filter(|_| plan.partial).cloned());
        let others_wait = failure.kind == FailureKind::Refused
            && !failure.hosts.is_empty()
            && plan
                .hosts
                .iter()
                .any(|host| !refused.contains(host) && self.due(host, &before) <= now);
        let config = &self.config;
        self.history.change(name, |record| {
            record.failures += 1;
            let mut counted = record.failures;
            if failure.kind == FailureKind::Refused {
                record.staging = config.staging.is_some();
                record.way = Some(record.way.unwrap_or(config.first_way).other());
                record.refused = refused;
            } else if !failure.ordered || self.unstored.contains_key(name) {
                // Trying again costs no order, and what was wrong may be over in minutes: a
                // network, an authority at work on itself, a full disk.
                counted = counted.min(2);
            }
            if !failure.ordered && !plan.staging && failure.kind != FailureKind::Refused {
                record.orders.pop();
            }
            let at = match others_wait {
                true => now,
                false => now + config.back_off.pause(counted, chance()),
            };
            record.next_attempt = Some(failure.not_before.map_or(at, |until| until.max(at)));
            record.last_error = Some(failure.words.clone());
        });
    }
}
