//! Several targets of which some die: real sockets that refuse, drop or break connections.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use zarpar_router::Limits;

use crate::backend::{Backend, Next, raw, read_request, write_whole};
use crate::seen::{await_some, await_value, value};
use crate::world::{Edge, PATIENCE, route};

const LEFT: &str = "zarpar_edge_targets_left_total{app=\"a\"}";

/// An app that can be killed, with all its connections, and started again at its address.
struct Mortal {
    address: SocketAddr,
    /// Requests by their first line.
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Mortal {
    fn start() -> Mortal {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut app = Mortal {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            running: None,
        };
        app.serve(listener);
        app
    }

    fn serve(&mut self, listener: TcpListener) {
        let dead = Arc::new(AtomicBool::new(false));
        let (seen, stop, name) = (self.seen.clone(), dead.clone(), self.address.to_string());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
                let Some(request) = read_request(&mut reader, 0) else {
                    continue;
                };
                *seen
                    .lock()
                    .unwrap()
                    .entry(request.line().to_owned())
                    .or_default() += 1;
                write_whole(&mut stream, &name);
            }
        });
        self.running = Some((dead, thread));
    }

    /// Nobody listens from here on.
    fn kill(&mut self) {
        let (dead, thread) = self.running.take().unwrap();
        dead.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
    }

    fn revive(&mut self) {
        let address = self.address;
        let listener = await_some("free port", || match TcpListener::bind(address) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            Err(error) => panic!("{error}"),
        });
        self.serve(listener);
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().values().sum()
    }
}

#[test]
fn a_killed_target_leaves_and_returns_and_no_page_fails() {
    let mut apps = [Mortal::start(), Mortal::start(), Mortal::start()];
    let addresses = [0, 1, 2].map(|number| apps[number].address);
    let edge = Edge::with_targets(&addresses);
    let done = AtomicBool::new(false);
    let [answered, posted, cut] = [0; 3].map(AtomicUsize::new);
    let posting = 2;
    thread::scope(|scope| {
        for visitor in 0..4 {
            let (edge, done, answered, posted, cut) = (&edge, &done, &answered, &posted, &cut);
            scope.spawn(move || {
                while !done.load(SeqCst) {
                    let is_post = visitor < posting;
                    let answer = if is_post {
                        let number = posted.fetch_add(1, SeqCst);
                        edge.ask_http(&format!(
                            "POST /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
                        ))
                    } else {
                        edge.get("/")
                    };
                    // A form that was on its way into the dying app is not sent again.
                    if is_post && answer.status() == 502 && cut.fetch_add(1, SeqCst) < posting {
                        continue;
                    }
                    // One that failed must end all, or the others would go on for ever.
                    if answer.status() != 200 {
                        done.store(true, SeqCst);
                    }
                    assert_eq!(answer.status(), 200);
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let more = |count| {
            let before = answered.load(SeqCst);
            await_some("answers", || {
                let enough = answered.load(SeqCst) >= before + count || done.load(SeqCst);
                enough.then_some(())
            });
        };
        more(30);
        apps[0].kill();
        let begin = Instant::now();
        more(200);
        await_value(&edge, LEFT, 1.0);
        apps[0].revive();
        let before = apps[0].requests();
        await_some("request at the revived", || {
            (apps[0].requests() > before || done.load(SeqCst)).then_some(())
        });
        // One span of a second, or of two when a try met it dead.
        assert!(begin.elapsed() < PATIENCE);
        more(30);
        done.store(true, SeqCst);
    });
    assert_eq!(value(&edge, LEFT), 1.0);
    // Every form that was not cut arrived, and none twice.
    let mut posts = BTreeMap::new();
    for app in &apps {
        for (line, count) in app.seen.lock().unwrap().iter() {
            if line.starts_with("POST") {
                *posts.entry(line.clone()).or_insert(0) += count;
            }
        }
    }
    assert_eq!(posts.len(), posted.load(SeqCst) - cut.load(SeqCst));
    assert!(posts.values().all(|count| *count == 1), "{posts:?}");
}

#[test]
fn a_target_that_breaks_every_connection_is_asked_a_few_times_at_most() {
    let touched = Arc::new(AtomicUsize::new(0));
    let count = touched.clone();
    // Closes at once: never busy, so always the least loaded.
    let breaking = raw(move |stream| {
        count.fetch_add(1, SeqCst);
        drop(stream);
    });
    let app = Backend::saying("alive");
    let edge = Edge::with_targets(&[breaking, app.address]);
    let begin = Instant::now();
    for _ in 0..100 {
        assert_eq!(edge.get("/").text(), "alive");
    }
    // Three in the rotation, then one for each span that was over.
    let tries = begin.elapsed().as_secs() as usize;
    assert!(
        (3..=3 + tries).contains(&touched.load(SeqCst)),
        "{touched:?}"
    );
    assert_eq!(value(&edge, LEFT), 1.0);
}

#[test]
fn a_get_goes_to_another_target_when_one_dies_on_it_and_a_post_does_not() {
    let dying = Backend::start(|_, _| Next::Close);
    let app = Backend::saying("alive");
    let edge = Edge::with_targets(&[dying.address, app.address]);
    let mut broken = 0;
    for number in 0..2 {
        assert_eq!(edge.get("/").text(), "alive");
        let answer = edge.ask_http(&format!(
            "POST /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
        ));
        broken += usize::from(answer.status() == 502);
    }
    let posts = |app: &Backend| {
        let seen = app.seen();
        seen.iter()
            .filter(|seen| seen.line().starts_with("POST"))
            .count()
    };
    assert_eq!(posts(&dying), broken);
    assert_eq!(posts(&dying) + posts(&app), 2);
}

/// An address whose queue of connections is full, so that the kernel drops what comes: what it
/// gives back keeps it so.
fn blackhole() -> (SocketAddr, impl Sized) {
    let queue = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&queue, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listen(&queue, 0).unwrap();
    let listener = TcpListener::from(queue);
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    (address, (listener, filling))
}

#[test]
fn a_target_that_drops_packets_costs_one_wait() {
    let (silent, _kept) = blackhole();
    let app = Backend::saying("alive");
    let connect = Duration::from_millis(600);
    let limits = Limits {
        connect,
        ..Limits::default()
    };
    let edge = Edge::start_with(limits);
    edge.apply(1, serde_json::json!([route(&[silent, app.address])]));
    let begin = Instant::now();
    for _ in 0..50 {
        assert_eq!(edge.get("/").text(), "alive");
    }
    let took = begin.elapsed();
    assert!(took >= connect, "{took:?}");
    // Without the rotation 25 waits; with it one, and a short one for each span that was over.
    assert!(took < connect * 8, "{took:?}");
    assert_eq!(value(&edge, LEFT), 1.0);
}

#[test]
fn when_all_are_out_all_are_tried() {
    let mut apps = [Mortal::start(), Mortal::start()];
    let edge = Edge::with_targets(&[apps[0].address, apps[1].address]);
    assert_eq!(edge.get("/").status(), 200);
    for app in &mut apps {
        app.kill();
    }
    for _ in 0..5 {
        assert_eq!(edge.get("/").status(), 502);
    }
    assert_eq!(value(&edge, LEFT), 2.0);
    // No span is waited for: the first visitor after it listens again is answered.
    apps[1].revive();
    assert_eq!(edge.get("/").text(), apps[1].address.to_string());
}
