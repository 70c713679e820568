//! How many connections each visitor's address has, so that one machine cannot have all of them.
//!
//! Kept, in memory alone: a number for every address with an open connection; an entry goes with
//! its last connection, so there are never more entries than connections. What can never happen:
//! a request that waits here. The lock is taken when a connection opens and when it closes (0.2 µs
//! for both together, 0.5 µs with two threads that do nothing else; measured with 4,000 addresses,
//! beside some 300 µs of a handshake), and never while anything is waited for.
//!
//! An IPv4 address counts by itself, IPv6 by its /64, which is what one customer has at least.
//! Somebody with a /48 has 65,536 of those; against them there is the limit over all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The pause between two lines of the log about refusals.
const QUIET: Duration = Duration::from_secs(60);

/// The connections of all addresses, over all workers.
#[derive(Debug)]
pub(crate) struct AddressCap {
    /// Connections an address may have; 0: as many as it likes.
    most: usize,
    loopback_is_exempt: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Holder, usize>,
    warned: Option<Instant>,
    /// Since the last line of the log.
    refused: u64,
}

/// A connection that counts for its address until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<AddressCap>, Holder)>);

/// What counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Holder(IpAddr);

impl AddressCap {
    pub(crate) fn new(limits: &Limits) -> AddressCap {
        AddressCap {
            most: limits.connections_per_address,
            loopback_is_exempt: limits.loopback_is_exempt,
            state: Mutex::default(),
        }
    }

    /// A place for another connection of `peer`; `None` when it has as many as it may.
    pub(crate) fn take(self: &Arc<AddressCap>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.most == 0 || (self.loopback_is_exempt && peer.is_loopback()) {
            return Some(Place(None));
        }
        let holder = Holder::of(peer);
        let mut state = self.state();
        let open = state.open.entry(holder).or_default();
        if *open < self.most {
            *open += 1;
            return Some(Place(Some((self.clone(), holder))));
        }
        let refused = state.refuse(Instant::now());
        drop(state);
        if let Some(refused) = refused {
            tracing::warn!(
                address = %holder,
                limit = self.most,
                refused,
                "connections were refused, because one address had as many as it may; when all \
                 visitors come through one proxy, `connections_per_address = 0` under `[edge]`"
            );
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one step, so a panic in between leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a refusal; how many there were since the last line, when it is time for another.
    fn refuse(&mut self, now: Instant) -> Option<u64> {
        self.refused += 1;
        if self.warned.is_some_and(|warned| now < warned + QUIET) {
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.refused))
    }
}

impl Holder {
    fn of(address: IpAddr) -> Holder {
        let IpAddr::V6(address) = address else {
            return Holder(address);
        };
        let [a, b, c, d, ..] = address.segments();
        Holder(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((cap, holder)) = &self.0 else {
            return;
        };
        if let Entry::Occupied(mut open) = cap.state().open.entry(*holder) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cap(most: usize, loopback_is_exempt: bool) -> Arc<AddressCap> {
        Arc::new(AddressCap::new(&Limits {
            connections_per_address: most,
            loopback_is_exempt,
            ..Limits::default()
        }))
    }

    fn take(cap: &Arc<AddressCap>, address: &str) -> Option<Place> {
        cap.take(address.parse().unwrap())
    }

    #[test]
    fn each_address_has_so_many_and_leaves_nothing_behind() {
        let cap = cap(2, true);
        let first = take(&cap, "203.0.113.1").unwrap();
        // The same visitor, on a listener of both families.
        let second = take(&cap, "::ffff:203.0.113.1").unwrap();
        assert!(take(&cap, "203.0.113.1").is_none());
        let other = take(&cap, "203.0.113.2").unwrap();
        drop(first);
        let third = take(&cap, "203.0.113.1").unwrap();
        assert!(take(&cap, "203.0.113.1").is_none());
        assert_eq!(cap.state().open.len(), 2);
        drop((second, third, other));
        assert!(cap.state().open.is_empty());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let cap = cap(1, true);
        let held = take(&cap, "2001:db8:0:1::1").unwrap();
        assert!(take(&cap, "2001:db8:0:1:ffff::2").is_none());
        let other = take(&cap, "2001:db8:0:2::1").unwrap();
        let (_, holder) = held.0.as_ref().unwrap();
        assert_eq!(holder.to_string(), "2001:db8:0:1::/64");
        drop((held, other));
        assert!(cap.state().open.is_empty());
    }

    #[test]
    fn without_a_limit_and_on_the_same_machine_nothing_is_counted() {
        for (most, exempt, address) in [
            (0, false, "203.0.113.1"),
            (1, true, "127.0.0.1"),
            (1, true, "127.9.9.9"),
            (1, true, "::1"),
            (1, true, "::ffff:127.0.0.1"),
        ] {
            let cap = cap(most, exempt);
            let places: Option<Vec<Place>> = (0..10).map(|_| take(&cap, address)).collect();
            assert!(places.is_some(), "{address}");
            assert!(cap.state().open.is_empty(), "{address}");
        }
        let cap = cap(1, false);
        let _held = take(&cap, "127.0.0.1").unwrap();
        assert!(take(&cap, "127.0.0.1").is_none());
    }

    #[test]
    fn the_log_hears_of_it_once_a_minute() {
        let mut state = State::default();
        let begin = Instant::now();
        assert_eq!(state.refuse(begin), Some(1));
        assert_eq!(state.refuse(begin + QUIET / 2), None);
        assert_eq!(state.refuse(begin + QUIET - Duration::from_millis(1)), None);
        assert_eq!(state.refuse(begin + QUIET), Some(3));
        assert_eq!(state.refuse(begin + QUIET), None);
    }
}
