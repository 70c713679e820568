//! Whether a target takes part in the choice, judged by what happens to real requests alone.
//!
//! A target leaves at the first connection that does not come about (nginx: `max_fails=1`), or
//! when three new connections in a row broke before any answer. One such break says something
//! about a request (gunicorn ends a worker that works too long), three about the target; and one
//! that resets at once would otherwise always be the least loaded and get every request. An app
//! that accepts and is silent needs no rule: its requests pile up, and the least loaded is chosen.
//!
//! It is out for 1 s, then 2, 4, 8 and at most 10 (nginx: `fail_timeout=10s`, always): the
//! engine starts a container again within a second, and another one should not wait for ten.
//! After each span one request tries it, and an answer brings it back at once. The span begins
//! anew with that try, so a visitor who left in the middle of it leaves nothing behind.
//!
//! Kept: one word a target, shared by all workers, and the number of breaks in a row. What can
//! never happen: a lock; an outage that many requests found out about counted more than once,
//! because a report is void when the word changed since its request began. A crash forgets it
//! all, and the first request that fails finds out again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The first span out of the rotation in milliseconds; each failed try doubles it.
const FIRST: u64 = 1_000;
/// The longest one.
const LONGEST: u64 = 10_000;
/// Breaks in a row that take a target out.
const BREAKS: u32 = 3;

/// A target's place in the rotation.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// 0: in. Else when it may be tried, in milliseconds of [`now`], above a byte with the number
    /// of spans so far.
    word: AtomicU64,
    /// New connections in a row that broke before any answer.
    breaks: AtomicU32,
}

/// As what a request has its target. What comes of the request counts accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no other, so nothing is judged.
    Only,
    /// One of those in the rotation.
    In,
    /// The one try after a span, with the word that it set.
    Trial(u64),
    /// It is out, and so are all others.
    LastResort,
}

/// What a report changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It left the rotation.
    Left,
    /// It came back.
    Returned,
}

impl Rotation {
    pub(crate) fn is_out(&self) -> bool {
        self.word.load(Relaxed) != 0
    }

    /// Takes the one try of a target whose span is over.
    pub(crate) fn try_again(&self, now: u64) -> Option<Standing> {
        let word = self.word.load(Relaxed);
        if word == 0 || now < until(word) {
            return None;
        }
        let lease = after(now, spans(word));
        self.word
            .compare_exchange(word, lease, Relaxed, Relaxed)
            .is_ok()
            .then_some(Standing::Trial(lease))
    }

    /// The target took no connection.
    pub(crate) fn unreachable(&self, standing: Standing, now: u64) -> Option<Change> {
        let (seen, next) = match standing {
            Standing::In => (0, after(now, 1)),
            Standing::Trial(lease) => (lease, after(now, spans(lease).saturating_add(1))),
            Standing::Only | Standing::LastResort => return None,
        };
        let changed = self.word.compare_exchange(seen, next, Relaxed, Relaxed);
        (changed.is_ok() && seen == 0).then_some(Change::Left)
    }

    /// A new connection broke before any answer.
    pub(crate) fn broke(&self, standing: Standing, now: u64) -> Option<Change> {
        if standing == Standing::In && self.breaks.fetch_add(1, Relaxed) + 1 < BREAKS {
            return None;
        }
        self.unreachable(standing, now)
    }

    /// The target answered, whatever it said.
    pub(crate) fn answered(&self, standing: Standing) -> Option<Change> {
        if self.breaks.load(Relaxed) != 0 {
            self.breaks.store(0, Relaxed);
        }
        match standing {
            // Of one that left meanwhile, the answer may be older than the failure.
            Standing::Only | Standing::In => None,
            Standing::Trial(_) | Standing::LastResort => {
                (self.word.swap(0, Relaxed) != 0).then_some(Change::Returned)
            }
        }
    }
}

/// Milliseconds of a clock that never goes back.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX >> 8)
}

fn until(word: u64) -> u64 {
    word >> 8
}

fn spans(word: u64) -> u8 {
    (word & 0xff) as u8
}

/// The word of a target that begins its span number `spans` now.
fn after(now: u64, spans: u8) -> u64 {
    let doublings = u32::from(spans.max(1) - 1).min(8);
    let span = (FIRST << doublings).min(LONGEST);
    ((now + span) << 8) | u64::from(spans.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_counts_once_and_its_spans_double_up_to_ten_seconds() {
        let target = Rotation::default();
        assert_eq!(target.unreachable(Standing::In, 0), Some(Change::Left));
        // Those that were on their way find the same out.
        for _ in 0..100 {
            assert_eq!(target.unreachable(Standing::In, 5), None);
        }
        let mut now = 0;
        for span in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(target.try_again(now + span - 1), None);
            now += span;
            let trial = target.try_again(now).unwrap();
            // One at a time.
            assert_eq!(target.try_again(now), None);
            assert_eq!(target.unreachable(trial, now), None);
        }
        for _ in 0..600 {
            now += 10_000;
            let trial = target.try_again(now).unwrap();
            assert_eq!(target.unreachable(trial, now), None);
        }
        let trial = target.try_again(now + 10_000).unwrap();
        assert_eq!(target.answered(trial), Some(Change::Returned));
        assert!(!target.is_out());
        // The next outage begins with the first span again.
        target.unreachable(Standing::In, now);
        assert!(target.try_again(now + FIRST).is_some());
    }

    #[test]
    fn a_try_that_nobody_reports_is_followed_by_another() {
        let target = Rotation::default();
        target.unreachable(Standing::In, 0);
        let lost = target.try_again(1_000).unwrap();
        assert_eq!(target.try_again(1_999), None);
        let next = target.try_again(2_000).unwrap();
        // Too late to say anything about the one that is under way.
        assert_eq!(target.unreachable(lost, 2_001), None);
        assert_eq!(target.answered(next), Some(Change::Returned));
    }

    #[test]
    fn only_breaks_in_a_row_take_a_target_out() {
        let target = Rotation::default();
        for _ in 0..10 {
            assert_eq!(target.broke(Standing::In, 0), None);
            assert_eq!(target.broke(Standing::In, 0), None);
            assert_eq!(target.answered(Standing::In), None);
        }
        target.broke(Standing::In, 0);
        target.broke(Standing::In, 0);
        assert_eq!(target.broke(Standing::In, 0), Some(Change::Left));
    }

    #[test]
    fn one_without_others_is_not_judged_and_a_last_resort_can_only_gain() {
        let target = Rotation::default();
        for _ in 0..5 {
            assert_eq!(target.unreachable(Standing::Only, 0), None);
            assert_eq!(target.broke(Standing::Only, 0), None);
        }
        assert!(!target.is_out());
        target.unreachable(Standing::In, 0);
        assert_eq!(target.unreachable(Standing::LastResort, 0), None);
        assert!(target.try_again(1_000).is_some());
        assert_eq!(
            target.answered(Standing::LastResort),
            Some(Change::Returned)
        );
    }
}
