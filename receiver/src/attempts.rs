//! Wrong tokens, counted by address, so that somebody who tries many is slowed down and does not
//! fill the log.
//!
//! Kept, in memory alone: for each address the wrong tokens of the last minutes, at most
//! [`ADDRESSES`] of them; the one that was quiet for longest makes room. A restart forgets all,
//! which costs nothing: 32 random bytes are not found by trying, at whatever rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may send within [`WINDOW`].
const FAILURES: u32 = 10;
/// How long a wrong token counts, and how long an address is refused after too many.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// Addresses that are remembered; each takes some 60 bytes.
const ADDRESSES: usize = 1024;

/// The wrong tokens of every address.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// The first of those that count.
    since: Instant,
    last: Instant,
}

impl Failures {
    /// When these are forgotten: after too many, the time starts with the last one.
    fn end(&self) -> Instant {
        let from = if self.count >= FAILURES {
            self.last
        } else {
            self.since
        };
        from + WINDOW
    }
}

impl Attempts {
    /// How long the address is still refused; `None` when it is not.
    pub(crate) fn refused_for(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get(&network(address))?;
        let left = failures.end().saturating_duration_since(now);
        (failures.count >= FAILURES && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong token. One that comes while the address is refused changes nothing, or a
    /// program that goes on trying would never be let in again. Returns whether it is from now on.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) -> bool {
        let network = network(address);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES && !all.contains_key(&network) {
            all.retain(|_, failures| failures.end() > now);
            while all.len() >= ADDRESSES {
                let quietest = all.iter().min_by_key(|(_, failures)| failures.last);
                let Some((&quietest, _)) = quietest else {
                    break;
                };
                all.remove(&quietest);
            }
        }
        let fresh = Failures {
            count: 0,
            since: now,
            last: now,
        };
        let failures = all.entry(network).or_insert(fresh);
        if failures.end() <= now {
            *failures = fresh;
        }
        if failures.count < FAILURES {
            failures.count += 1;
            failures.last = now;
            return failures.count == FAILURES;
        }
        false
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network (RFC 6177), so these count as one. An
/// IPv4 address that came in through an IPv6 socket is the same as without.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_tenth_wrong_token_closes_the_door_for_five_minutes() {
        let attempts = Attempts::default();
        let (one, start) = (ip("203.0.113.9"), Instant::now());
        for second in 0..9 {
            attempts.failed(one, start + Duration::from_secs(second));
        }
        let later = start + Duration::from_secs(200);
        assert_eq!(attempts.refused_for(one, later), None);
        assert!(attempts.failed(one, later));
        assert_eq!(attempts.refused_for(one, later), Some(WINDOW));
        // Trying on makes it no longer.
        assert!(!attempts.failed(one, later + Duration::from_secs(100)));
        let then = later + Duration::from_secs(100);
        assert_eq!(
            attempts.refused_for(one, then),
            Some(Duration::from_secs(200))
        );
        assert_eq!(attempts.refused_for(one, later + WINDOW), None);
        attempts.failed(one, later + WINDOW);
        assert_eq!(attempts.refused_for(one, later + WINDOW), None);
        assert_eq!(attempts.refused_for(ip("203.0.113.10"), later), None);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let attempts = Attempts::default();
        let (one, start) = (ip("203.0.113.9"), Instant::now());
        for minute in 0..40 {
            let now = start + Duration::from_secs(60 * minute);
            attempts.failed(one, now);
            assert_eq!(attempts.refused_for(one, now), None, "{minute}");
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_memory_is_bounded() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for host in 0..10 {
            attempts.failed(ip(&format!("2001:db8:0:1::{host:x}")), now);
        }
        assert!(attempts.refused_for(ip("2001:db8:0:1:f::"), now).is_some());
        assert!(attempts.refused_for(ip("2001:db8:0:2::"), now).is_none());
        for number in 0..5000_u32 {
            attempts.failed(IpAddr::V4(number.into()), now + Duration::from_secs(1));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), ADDRESSES);
        for _ in 0..10 {
            attempts.failed(ip("192.0.2.1"), now);
        }
        assert!(attempts.refused_for(ip("::ffff:192.0.2.1"), now).is_some());
    }
}
