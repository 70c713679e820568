//! A normal client: asks every 20 ms, ten times on a connection, by turns with HTTP/1.1 and HTTP/2, and takes the time from the instant a request was due, so that a stall is not counted as one
//! slow request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::process::EdgeProcess;
use super::raw::Door;
use crate::world::PATIENCE;

const EVERY: Duration = Duration::from_millis(20);
/// Requests on a connection before the next one.
const ON_ONE: usize = 10;

pub struct Normal {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Normal {
    pub fn start(edge: &EdgeProcess) -> Normal {
        let (one, two) = (Door::new(edge, "http/1.1"), Door::new(edge, "h2"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(ask(&one, &two, &stopped))
        });
        Normal { stop, thread }
    }

    /// How long each request took, the shortest first. Panics when one failed.
    pub fn times(self) -> Vec<Duration> {
        self.stop.store(true, Relaxed);
        let mut times = self.thread.join().expect("no failed request");
        times.sort();
        times
    }
}

async fn ask(one: &Door, two: &Door, stop: &AtomicBool) -> Vec<Duration> {
    let mut drivers = JoinSet::new();
    let mut times = Vec::new();
    let mut due = Instant::now();
    // Once at least.
    loop {
        let mut http1 = connect1(one, &mut drivers).await;
        for _ in 0..ON_ONE {
            timeout(PATIENCE, ask1(&mut http1)).await.expect("HTTP/1.1");
            times.push(due.elapsed());
            due += EVERY;
            sleep_until(due).await;
        }
        let mut http2 = connect2(two, &mut drivers).await;
        for _ in 0..ON_ONE {
            timeout(PATIENCE, ask2(&mut http2)).await.expect("HTTP/2");
            times.push(due.elapsed());
            due += EVERY;
            sleep_until(due).await;
        }
        if stop.load(Relaxed) {
            return times;
        }
    }
}

type Asking1 = http1::SendRequest<Full<Bytes>>;
type Asking2 = http2::SendRequest<Full<Bytes>>;

async fn connect1(door: &Door, drivers: &mut JoinSet<()>) -> Asking1 {
    let stream = TokioIo::new(door.enter().await.unwrap());
    let (sender, connection) = http1::handshake(stream).await.unwrap();
    drivers.spawn(async move {
        let _ = connection.await;
    });
    sender
}

async fn connect2(door: &Door, drivers: &mut JoinSet<()>) -> Asking2 {
    let stream = TokioIo::new(door.enter().await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    drivers.spawn(async move {
        let _ = connection.await;
    });
    sender
}

async fn ask1(sender: &mut Asking1) {
    sender.ready().await.unwrap();
    let request = Request::get("/").header("host", "a.test");
    let answer = sender.send_request(request.body(Full::default()).unwrap());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "hello");
}

async fn ask2(sender: &mut Asking2) {
    sender.ready().await.unwrap();
    let request = Request::get("https://a.test/");
    let answer = sender.send_request(request.body(Full::default()).unwrap());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "hello");
}
