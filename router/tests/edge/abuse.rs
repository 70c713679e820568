//! Visitors who mean harm. Each attack runs for some seconds against an edge in a process of its
//! own while a normal client asks every 20 ms: no request of it fails, 99 of 100 are answered in
//! 500 ms, and the edge's memory grows by no more than the figure in the test. The figures are
//! about half as much again as seen in a debug build, and printed with `--nocapture`.

/// Too much of everything.
mod floods;
/// The one who must not notice.
mod normal;
/// An edge apart.
pub mod process;
/// Frames by hand.
mod raw;
/// Too little of everything.
mod waiting;

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::normal::Normal;
use self::process::EdgeProcess;
use self::raw::{BREATH, Door};
use crate::backend::{Backend, Next, write_whole};
use crate::world::PATIENCE;

/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(2);
/// For attackers who wait: the edge's limits on waiting, in place of 10 and 30 seconds.
const SHORT: Option<Duration> = Some(Duration::from_secs(2));
const MIB: u64 = 1024;
const GET: u8 = 2;
const POST: u8 = 3;

/// One attack at a time, or two would share two processors and the figures mean nothing.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs an attack; the edge may grow by `room` KiB.
#[expect(clippy::print_stderr, reason = "the figures are what one wants to see")]
fn withstand<A: Future<Output = ()>>(
    room: u64,
    short: Option<Duration>,
    attack: impl FnOnce(Doors) -> A,
) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    process::raise_file_limit();
    let app = app();
    let edge = EdgeProcess::start(app.address, short);
    // One turn of everything, so that what is allocated once is not held against the attack.
    let calm = Normal::start(&edge).times();
    let before = edge.peak();
    let normal = Normal::start(&edge);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    runtime.block_on(attack(Doors {
        http: edge.http,
        https: edge.https,
        one: Door::new(&edge, "http/1.1"),
        two: Door::new(&edge, "h2"),
    }));
    let lasted = began.elapsed();
    let times = normal.times();
    let grown = edge.peak() - before;
    let p99 = times[(times.len() * 99).div_ceil(100) - 1];
    let figures = format!(
        "grew by {grown} KiB over {before} KiB, at most {room} wanted; {} requests in {lasted:?}, \
         p99 {p99:?}, median {:?}, before the attack {:?}",
        times.len(),
        times[times.len() / 2],
        calm[calm.len() / 2],
    );
    eprintln!("{figures}");
    assert!(p99 < Duration::from_millis(500), "{figures}");
    assert!(grown <= room, "{figures}");
}

struct Doors {
    http: std::net::SocketAddr,
    https: std::net::SocketAddr,
    one: Door,
    two: Door,
}

/// Says hello; on `/big` much, on `/wait` nothing until the edge gives up.
fn app() -> Backend {
    Backend::start(|seen, stream| {
        if seen.line().contains(" /big ") {
            let size = 16 << 20;
            let piece = vec![b'x'; 1 << 20];
            let sent = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
                .and_then(|()| (0..16).try_for_each(|_| stream.write_all(&piece)));
            return sent.map_or(Next::Close, |()| Next::Keep);
        }
        if seen.line().contains(" /wait ") {
            let _ = stream.read(&mut [0]);
            return Next::Close;
        }
        write_whole(stream, "hello");
        Next::Keep
    })
}

/// Two connections at a time, each until the edge hangs up, again and again.
async fn again_and_again<A: Future<Output = ()> + Send + 'static>(attack: impl Fn() -> A) {
    let until = Instant::now() + FLOOD;
    let mut open = JoinSet::new();
    for _ in 0..2 {
        open.spawn(attack());
    }
    while let Some(ended) = timeout(PATIENCE, open.join_next())
        .await
        .expect("the edge hangs up")
    {
        ended.unwrap();
        if Instant::now() < until {
            sleep(BREATH * 5).await;
            open.spawn(attack());
        }
    }
}

/// All at once, each until the edge hangs up.
async fn all_hung_up(mut open: JoinSet<()>) {
    while let Some(ended) = timeout(PATIENCE, open.join_next())
        .await
        .expect("the edge hangs up")
    {
        ended.unwrap();
    }
}
