//! One look at one group: is an order due, may it be made, and what came of it.
//!
//! Guarantees: the history is on disk before an order begins and after it ends; a certificate
//! that was obtained and could not be stored is stored at the next look, not ordered again.

mod attempt;
mod suggestion;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use super::account::Accounts;
use super::client::AcmeClient;
use super::history::{History, Record};
use super::schedule::renewal;
use super::status::{Status, moment};
use super::{Acme, CertificateStore, Config, Group, dns};

/// The groups' state between looks.
pub(crate) struct Rounds {
    acme: Arc<Acme>,
    config: Config,
    client: AcmeClient,
    store: Arc<dyn CertificateStore>,
    accounts: Accounts,
    history: History,
    /// Obtained, and refused by the store.
    unstored: HashMap<String, Obtained>,
    next_steps: HashMap<String, String>,
    alarms: HashMap<String, String>,
}

#[derive(Clone)]
struct Obtained {
    plan: Plan,
    pem: String,
}

/// What one order is for.
#[derive(Clone)]
struct Plan {
    hosts: Vec<String>,
    /// Whether names that the authority refused before are left out, so that the others do not
    /// wait for them.
    partial: bool,
    /// Whether it goes to the staging authority.
    staging: bool,
}

const ORDERS_NOW: &str = "orders a certificate now";

/// When a group is looked at again, and what for.
struct Next {
    at: SystemTime,
    words: String,
}

impl Rounds {
    /// State as the last process left it.
    pub(crate) fn new(
        acme: Arc<Acme>,
        config: Config,
        client: AcmeClient,
        store: Arc<dyn CertificateStore>,
    ) -> Rounds {
        let folder = config.folder.clone();
        Rounds {
            acme,
            accounts: Accounts::new(folder.clone(), client.clone(), config.contact.clone()),
            history: History::load(folder),
            client,
            store,
            unstored: HashMap::new(),
            next_steps: HashMap::new(),
            alarms: HashMap::new(),
            config,
        }
    }

    /// Looks at each group; those in `asked` are ordered for whatever their back-off says.
    /// Answers when the next look is due.
    pub(crate) async fn all(&mut self, groups: &[Group], asked: &BTreeSet<String>) -> SystemTime {
        self.publish(groups);
        let mut first = SystemTime::now() + self.config.look_every;
        let mut answers = true;
        for group in groups.iter().filter(|group| !group.hosts.is_empty()) {
            self.history.look(&group.name, &group.hosts);
            // One that is down costs its time once a round, not once a group.
            answers = answers && self.ask_for_suggestion(group).await;
            let next = self.one(group, asked.contains(&group.name), groups).await;
            first = first.min(next.at);
            self.next_steps.insert(group.name.clone(), next.words);
            self.publish(groups);
        }
        first
    }

    async fn one(&mut self, group: &Group, asked: bool, groups: &[Group]) -> Next {
        let now = SystemTime::now();
        let record = self.history.of(&group.name);
        if let Some(next) = self.wait(group, &record, now).filter(|_| !asked) {
            return next;
        }
        if let Some(obtained) = self.unstored.remove(&group.name) {
            let plan = obtained.plan.clone();
            let result = self.install(group, obtained).await;
            return self.conclude(group, &plan, result, &[]);
        }
        let challenges = Arc::clone(self.acme.challenges());
        let (here, elsewhere) = dns::look(&self.config.dns, &group.hosts, &challenges).await;
        let due = here.iter().any(|host| self.due(host, &record) <= now);
        if here.is_empty() || !(due || asked) {
            return self.look_again(group, &elsewhere);
        }
        let plan = self.plan(here, &record, now);
        self.next_steps
            .insert(group.name.clone(), ORDERS_NOW.to_owned());
        self.publish(groups);
        self.history
            .change(&group.name, |record| record.begin(now, plan.staging));
        let result = self.attempt(group, &plan, &record).await;
        self.conclude(group, &plan, result, &elsewhere)
    }

    fn plan(&self, mut here: Vec<String>, record: &Record, now: SystemTime) -> Plan {
        let sound = |host: &&String| !record.refused.contains(host);
        let due = |host: &String| self.due(host, record) <= now;
        let partial = !here.iter().all(|host| sound(&host)) && here.iter().filter(sound).any(due);
        if partial {
            here.retain(|host| sound(&host));
        }
        Plan {
            hosts: here,
            partial,
            staging: record.staging && !partial && self.config.staging.is_some(),
        }
    }

    /// What is waited for; `None` when an order is due and allowed.
    fn wait(&self, group: &Group, record: &Record, now: SystemTime) -> Option<Next> {
        let due = group
            .hosts
            .iter()
            .map(|host| self.due(host, record))
            .min()?;
        if due > now {
            return Some(Next {
                at: due,
                words: format!("renews {}", moment(due)),
            });
        }
        if let Some(at) = record.next_attempt.filter(|at| *at > now) {
            let words = match (record.failures, record.staging) {
                (0, _) if record.looks > 0 => "looks at the name servers again",
                (0, _) => "orders",
                (_, false) => "tries again",
                (_, true) => "tries again at the staging authority",
            };
            let words = format!("{words} {}", moment(at));
            return Some(Next { at, words });
        }
        let no_order = record.staging && record.refused.is_empty();
        if no_order || self.unstored.contains_key(&group.name) {
            return None;
        }
        let limit = self.config.orders_a_day;
        record.limited_until(limit, now).map(|at| Next {
            at,
            words: format!("orders {}, after {limit} orders in a day", moment(at)),
        })
    }

    /// When `host` needs a certificate; the past when it has none.
    fn due(&self, host: &str, record: &Record) -> SystemTime {
        let asked = record.suggestion.as_ref().and_then(|one| one.renew_at);
        match self.store.expiry(host) {
            Some(validity) => renewal(&validity, asked),
            None => SystemTime::UNIX_EPOCH,
        }
    }

    /// No order, because the names that need one point elsewhere.
    fn look_again(&mut self, group: &Group, elsewhere: &[String]) -> Next {
        let (first, longest) = (self.config.dns_again, self.config.look_every);
        let mut at = SystemTime::now();
        self.history.change(&group.name, |record| {
            // For the first minutes somebody may be waiting in front of a screen.
            at += (first * (1 + record.looks / 10)).min(longest.max(first));
            record.looks += 1;
            record.next_attempt = Some(at);
            record.last_error = Some(elsewhere.join("\n"));
        });
        Next {
            at,
            words: format!("looks at the name servers again {}", moment(at)),
        }
    }

    fn publish(&mut self, groups: &[Group]) {
        let now = SystemTime::now();
        let mut statuses = Vec::with_capacity(groups.len());
        for group in groups.iter().filter(|group| !group.hosts.is_empty()) {
            let in_force: Vec<_> = group
                .hosts
                .iter()
                .filter_map(|host| self.store.expiry(host))
                .collect();
            let next_step = self.next_steps.get(&group.name).cloned();
            let next_step = next_step.unwrap_or_else(|| "not looked at yet".to_owned());
            let record = self.history.of(&group.name);
            let status = Status::of(group, &record, &in_force, next_step, now);
            self.tell_alarm(&status);
            statuses.push(status);
        }
        self.acme.statuses.store(Arc::new(statuses));
    }

    /// Logs an alarm once, not at each look.
    fn tell_alarm(&mut self, status: &Status) {
        match &status.alarm {
            None => drop(self.alarms.remove(&status.name)),
            Some(words) if self.alarms.get(&status.name) != Some(words) => {
                tracing::error!(app = status.name, words, "certificate alarm");
                self.alarms.insert(status.name.clone(), words.clone());
            }
            Some(_) => {}
        }
    }
}
