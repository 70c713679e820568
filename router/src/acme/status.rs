//! How each group stands, in words, for `zarpar certificates list`.

use std::time::{Duration, SystemTime};

use super::Group;
use super::history::Record;
use super::schedule::{Alarm, Validity, alarm};

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The app.
    pub(crate) name: String,
    /// Its names.
    pub(crate) hosts: Vec<String>,
    /// Who signed the certificate that was last ordered.
    pub(crate) issuer: Option<String>,
    /// When the first of the certificates in force ends.
    pub(crate) not_after: Option<SystemTime>,
    /// What happens next, and when.
    pub(crate) next_step: String,
    /// What went wrong last; none after a success.
    pub(crate) last_error: Option<String>,
    /// Set when a certificate in force has expired or is close to it.
    pub(crate) alarm: Option<String>,
}

impl Status {
    /// `group` as its record and the certificates in force (one for each host that has one) say.
    pub(crate) fn of(
        group: &Group,
        record: &Record,
        in_force: &[Validity],
        next_step: String,
        now: SystemTime,
    ) -> Status {
        let first = in_force.iter().min_by_key(|validity| validity.not_after);
        Status {
            name: group.name.clone(),
            hosts: group.hosts.clone(),
            issuer: record.leaf.as_ref().map(|leaf| leaf.issuer.clone()),
            not_after: first.map(|validity| validity.not_after),
            next_step,
            last_error: record.last_error.clone(),
            alarm: first.and_then(|validity| alarm_in_words(validity, now)),
        }
    }
}

/// A moment as it is shown.
pub(crate) fn moment(at: SystemTime) -> String {
    // The format ends with the year 9999, and what a peer sent must not bring the task down.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(at.clamp(SystemTime::UNIX_EPOCH, last))
}

fn alarm_in_words(validity: &Validity, now: SystemTime) -> Option<String> {
    let end = moment(validity.not_after);
    Some(match alarm(validity, now)? {
        Alarm::Near => format!("the certificate ends {end} and its renewal is overdue"),
        Alarm::Expired => format!("the certificate ended {end} and is served all the same"),
    })
}
