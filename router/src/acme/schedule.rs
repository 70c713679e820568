//! When a certificate is ordered next: pure functions of what is known.
//!
//! No lifetime is assumed. Let's Encrypt's go from 90 days down to 6, so the moment follows from
//! `not_before` and `not_after` alone, or from what the authority itself asks for (ARI, RFC 9773).
//! The back-off is the one Let's Encrypt's integration guide gives: 1 minute, 10 minutes, 100
//! minutes, then once a day, each ±10 % so that many servers do not come back together.

use std::time::{Duration, SystemTime};

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first moment.
    pub(crate) not_before: SystemTime,
    /// The last moment.
    pub(crate) not_after: SystemTime,
}

impl Validity {
    fn life(&self) -> Duration {
        self.not_after
            .duration_since(self.not_before)
            .unwrap_or_default()
    }
}

/// When to renew: what the authority asked for, else at two thirds of the life, and at half of a
/// life below ten days.
pub(crate) fn renewal(validity: &Validity, asked: Option<SystemTime>) -> SystemTime {
    let life = validity.life();
    let at = if life < SHORT_LIFE {
        life / 2
    } else {
        life / 3 * 2
    };
    let own = validity.not_before + at;
    match asked {
        // A window that ends after the certificate does would be an outage by mistake.
        Some(asked) if asked < validity.not_after => asked,
        _ => own,
    }
}

const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 3600);

/// The pauses after failures in a row; the last one stays.
#[derive(Debug, Clone)]
pub(crate) struct BackOff {
    /// The pause after the first failure, the second, and so on.
    pub(crate) steps: Vec<Duration>,
}

impl Default for BackOff {
    fn default() -> BackOff {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        BackOff {
            steps: vec![minutes(1), minutes(10), minutes(100), minutes(24 * 60)],
        }
    }
}

impl BackOff {
    /// How long to wait after `failures` in a row (1 is the first). `chance` is any number; it
    /// moves the pause by up to a tenth either way.
    pub(crate) fn pause(&self, failures: u32, chance: u32) -> Duration {
        let index = (failures.max(1) - 1) as usize;
        let step = self
            .steps
            .get(index)
            .or(self.steps.last())
            .copied()
            .unwrap_or(Duration::from_secs(60));
        let part = f64::from(chance) / f64::from(u32::MAX);
        step.mul_f64(0.9 + 0.2 * part)
    }
}

/// A moment inside the window the authority suggests, the same part of it for the same `chance`.
pub(crate) fn inside(start: SystemTime, end: SystemTime, chance: u32) -> SystemTime {
    let width = end.duration_since(start).unwrap_or_default();
    start + width.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// What is wrong with a certificate in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Less than a quarter of its life is left, so several renewals have failed.
    Near,
    /// Over; it is served all the same, because a warning can be clicked away and a reset cannot.
    Expired,
}

/// The alarm a certificate gives at `now`.
pub(crate) fn alarm(validity: &Validity, now: SystemTime) -> Option<Alarm> {
    match validity.not_after.duration_since(now) {
        Err(_) => Some(Alarm::Expired),
        Ok(left) if left < validity.life() / 4 => Some(Alarm::Near),
        Ok(_) => None,
    }
}

/// A random number; without the system's randomness the middle, which only costs the jitter.
pub(crate) fn chance() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn valid(from: u64, until: u64) -> Validity {
        Validity {
            not_before: at(from),
            not_after: at(until),
        }
    }

    #[test]
    fn renewal_follows_from_the_life_and_the_authority() {
        // (life in days, what the authority asked for, renewed at, both in days)
        let cases = [
            (90, None, 60),
            (64, None, 64 * 2 / 3),
            (45, None, 30),
            (10, None, 10 * 2 / 3),
            (9, None, 4),
            (6, None, 3),
            (90, Some(20), 20),
            (90, Some(70), 70),
            // After its end: a mistake of the authority.
            (90, Some(91), 60),
            // In the past, as in a mass revocation: at once.
            (90, Some(0), 0),
        ];
        for (life, asked, expected) in cases {
            let asked = asked.map(|day: u64| at(1000 * DAY + day * DAY));
            let when = renewal(&valid(1000 * DAY, (1000 + life) * DAY), asked);
            let days = when.duration_since(at(1000 * DAY)).unwrap().as_secs() / DAY;
            assert_eq!(days, expected, "life {life} days, asked for {asked:?}");
        }
        // Seconds, as a test authority gives them.
        assert_eq!(renewal(&valid(100, 120), None), at(110));
    }

    #[test]
    fn the_back_off_is_the_guides_with_a_tenth_of_jitter() {
        let back_off = BackOff::default();
        for (failures, seconds) in [
            (0, 60),
            (1, 60),
            (2, 600),
            (3, 6000),
            (4, 86_400),
            (5, 86_400),
            (1000, 86_400),
        ] {
            let expected = Duration::from_secs(seconds);
            assert_eq!(back_off.pause(failures, 0), expected.mul_f64(0.9));
            assert_eq!(back_off.pause(failures, u32::MAX), expected.mul_f64(1.1));
            let random = back_off.pause(failures, chance());
            assert!(random >= expected.mul_f64(0.9) && random <= expected.mul_f64(1.1));
        }
    }

    #[test]
    fn a_moment_lies_inside_the_window() {
        assert_eq!(inside(at(100), at(200), 0), at(100));
        assert_eq!(inside(at(100), at(200), u32::MAX), at(200));
        assert_eq!(inside(at(200), at(100), u32::MAX), at(200));
    }

    #[test]
    fn alarms() {
        let validity = valid(0, 100);
        for (now, expected) in [
            (0, None),
            (74, None),
            (76, Some(Alarm::Near)),
            (100, Some(Alarm::Near)),
            (101, Some(Alarm::Expired)),
        ] {
            assert_eq!(alarm(&validity, at(now)), expected, "at {now}");
        }
    }
}
