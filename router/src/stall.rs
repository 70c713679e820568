//! Visitors who take nothing. With HTTP/1 the socket shows it; with HTTP/2 a visitor may keep the
//! connection alive and the window of one stream shut, and so hold an app's worker for ever. So
//! every answer's body notes when it handed out bytes and was not asked for more since.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// When an answer handed out bytes that were not taken yet; `None` while it waits for the app.
pub(crate) type Offered = Rc<Cell<Option<Instant>>>;

/// The answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    offers: RefCell<Vec<Weak<Cell<Option<Instant>>>>>,
}

impl Stalls {
    /// For another answer; it is forgotten when the answer drops it.
    pub(crate) fn watch(&self) -> Offered {
        let offered = Offered::default();
        let mut offers = self.offers.borrow_mut();
        if offers.len() == offers.capacity() {
            offers.retain(|offer| offer.strong_count() > 0);
        }
        offers.push(Rc::downgrade(&offered));
        offered
    }

    /// Whether the visitor left an answer untouched for longer than `limit`.
    pub(crate) fn any_longer_than(&self, limit: Duration) -> bool {
        let mut offers = self.offers.borrow_mut();
        offers.retain(|offer| offer.strong_count() > 0);
        offers.iter().any(|offer| {
            let since = offer.upgrade().and_then(|offered| offered.get());
            since.is_some_and(|since| since.elapsed() > limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_was_offered_and_not_taken_counts() {
        let stalls = Stalls::default();
        let limit = Duration::from_secs(30);
        let (one, other) = (stalls.watch(), stalls.watch());
        one.set(Some(Instant::now()));
        tokio::time::advance(limit).await;
        assert!(!stalls.any_longer_than(limit));
        other.set(Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(stalls.any_longer_than(limit));
        one.set(None);
        assert!(!stalls.any_longer_than(limit));
        tokio::time::advance(limit).await;
        assert!(stalls.any_longer_than(limit));
        drop(other);
        assert!(!stalls.any_longer_than(limit));
        assert_eq!(stalls.offers.borrow().len(), 1);
    }
}
