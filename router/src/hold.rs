//! Requests that wait in the edge while nothing may reach their app: its database is being
//! changed, and the old release would meet the new tables.
//!
//! A hold begins with the first table that asks for it and ends with the first one that does
//! not, or after the time it was given, at most 30 s (kamal-proxy pauses for as long). The time
//! counts from the beginning and not for each request, so a hold that nobody ends, because the
//! control plane died, is over after 30 s whoever comes when. From then on the route is what it
//! would be without a hold: its targets serve, which is what visitors have without holds at all,
//! or there are none and they get the 503 page. The same table sent again, or another app's,
//! does not begin it anew; an edge that starts from a table with one does.
//!
//! Guaranteed: held requests get their place to go on in the order in which they came, over all
//! workers. [`PLACES`] go on at a time, so that an app which has just started is not met by a
//! thousand connections at once; among those the app may see a later one first. Those that come
//! after the end do not queue behind them. No body is read meanwhile; connections and streams
//! have the bounds they always have.
//!
//! A visitor who leaves is forgotten at once, with one exception: while a body on HTTP/1 was not
//! read to its end nothing is read at all, so that is noticed when its turn has come.
//!
//! Kept: a semaphore a hold. A route that is not held has none and pays a look at a pointer. A
//! crash drops the visitors with their connections.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use crate::host::Host;
use crate::live::LiveRoute;
use crate::pages::Page;
use crate::proxy;
use crate::reply::ReplyBody;
use crate::service::maintenance;
use crate::visitor::Visitor;
use crate::worker::Worker;

/// Held requests that go on at a time; less than the shortest queue of connections among the
/// servers of Python apps (daphne: 50).
const PLACES: usize = 32;
/// How long a request that goes on keeps its place, unless its answer begins sooner: some slow
/// answers must not stop all others.
const PLACE: Duration = Duration::from_millis(100);

/// A hold on the requests of one app.
#[derive(Debug)]
pub(crate) struct Hold {
    app: Box<str>,
    began: Instant,
    until: Instant,
    /// Nothing passes before the end; it serves in the order of asking.
    gate: Arc<Semaphore>,
    ended: AtomicBool,
    /// Requests that had to wait.
    held: AtomicU64,
}

impl Hold {
    /// Begins now.
    pub(crate) fn new(app: &str, limit: Duration) -> Arc<Hold> {
        let began = Instant::now();
        Arc::new(Hold {
            app: app.into(),
            began,
            until: began + limit,
            gate: Arc::new(Semaphore::new(0)),
            ended: AtomicBool::new(false),
            held: AtomicU64::new(0),
        })
    }

    /// Ends it, once the table without it is in force or its time is over.
    pub(crate) fn end(&self) {
        if !self.ended.swap(true, Relaxed) {
            self.gate.add_permits(PLACES);
            let requests = self.held.load(Relaxed);
            let after = self.began.elapsed();
            tracing::info!(app = %self.app, requests, ?after, "held requests go on");
        }
    }

    fn is_over(&self) -> bool {
        self.ended.load(Relaxed) || Instant::now() >= self.until
    }

    /// Waits for the end, and then for a place among those that go on.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        self.held.fetch_add(1, Relaxed);
        let mut place = pin!(self.gate.clone().acquire_owned());
        tokio::select! {
            place = &mut place => return place.ok(),
            () = sleep_until(self.until) => self.end(),
        }
        // Still the same wait: whoever came first is first.
        place.await.ok()
    }
}

/// Answers a request of a route with a hold, when that is over.
pub(crate) async fn answer(
    visitor: &Rc<Visitor>,
    host: &Host,
    route: Arc<LiveRoute>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Page> {
    let (route, place) = released(&visitor.worker, host, route).await?;
    if route.maintenance {
        return Ok(maintenance(&route));
    }
    let mut forwarded = pin!(proxy::forward(visitor, host, route, request));
    tokio::select! {
        biased;
        answered = &mut forwarded => return answered,
        () = sleep(PLACE) => drop(place),
    }
    forwarded.await
}

/// The route in force when no hold is on it any more.
pub(crate) async fn released(
    worker: &Worker,
    host: &Host,
    mut route: Arc<LiveRoute>,
) -> Result<(Arc<LiveRoute>, Option<OwnedSemaphorePermit>), Page> {
    let mut place = None;
    while let Some(hold) = route.hold.as_ref().filter(|hold| !hold.is_over()) {
        place = hold.wait().await;
        route = worker.route(host.name()).ok_or(Page::NotFound)?;
    }
    Ok((route, place))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;
    use futures_util::stream::{FuturesUnordered, StreamExt};

    use super::*;

    #[tokio::test]
    async fn places_are_given_in_the_order_of_asking_and_passed_on() {
        let hold = Hold::new("a", Duration::from_secs(30));
        let mut waits: Vec<_> = (0..3 * PLACES).map(|_| Box::pin(hold.wait())).collect();
        for wait in &mut waits {
            assert!(wait.now_or_never().is_none());
        }
        assert!(!hold.is_over());
        // This one leaves before the end, and nobody waits for it.
        drop(waits.remove(1));
        hold.end();
        hold.end();
        assert!(hold.is_over());
        let mut places: Vec<_> = waits.drain(..PLACES).collect();
        let mut places: Vec<_> = places
            .iter_mut()
            .map(|wait| wait.now_or_never().expect("a place for the first ones"))
            .collect();
        for wait in &mut waits {
            assert!(wait.now_or_never().is_none(), "more than there are places");
        }
        while !waits.is_empty() {
            places.remove(0);
            for later in waits.iter_mut().skip(1) {
                assert!(later.now_or_never().is_none(), "it was not its turn");
            }
            places.push(waits.remove(0).now_or_never().expect("it is its turn"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_its_time_keeps_the_order_too() {
        let hold = Hold::new("a", Duration::from_secs(30));
        let began = Instant::now();
        let numbered = |number: usize| hold.wait().map(move |place| (number, place));
        let mut all: FuturesUnordered<_> = (0..3 * PLACES).map(numbered).collect();
        for turn in 0..3 {
            let together: Vec<_> = all.by_ref().take(PLACES).collect().await;
            let mut numbers: Vec<_> = together.iter().map(|(number, _)| *number).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(turn * PLACES..(turn + 1) * PLACES));
        }
        assert_eq!(began.elapsed().as_secs(), 30);
        // Whoever comes later does not wait at all.
        assert!(hold.is_over() && hold.wait().now_or_never().is_some());
    }
}
