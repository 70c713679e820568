//! Visitors: fifty requests a second, each on a connection of its own, sent at their time
//! whether or not earlier ones are answered. A report without failures therefore also says that
//! nobody was kept waiting for a turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;
use crate::world::until;

const BETWEEN: Duration = Duration::from_millis(20);

struct Visit {
    sent: Instant,
    done: Instant,
    answer: Result<String, String>,
}

pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    visits: Arc<Mutex<Vec<Visit>>>,
}

#[derive(Debug)]
pub struct Report {
    pub requests: usize,
    pub per_second: f64,
    pub failed: Vec<String>,
    /// The different answers in the order they were first seen.
    pub versions: Vec<String>,
    /// Answers of an old version to requests that were sent after a newer one had been received.
    pub back: Vec<String>,
}

impl Load {
    pub fn start(port: u16, host: &str, path: &str) -> Load {
        let began = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(Mutex::new(Vec::new()));
        let (host, path) = (host.to_owned(), path.to_owned());
        let sender = {
            let (stop, visits) = (stop.clone(), visits.clone());
            std::thread::spawn(move || {
                let mut visitors = Vec::new();
                for number in 1.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (host, path, visits) = (host.clone(), path.clone(), visits.clone());
                    visitors.push(std::thread::spawn(move || {
                        let visit = visit(port, &host, &path);
                        visits.lock().unwrap().push(visit);
                    }));
                    std::thread::park_timeout((BETWEEN * number).saturating_sub(began.elapsed()));
                }
                for visitor in visitors {
                    visitor.join().unwrap();
                }
            })
        };
        Load {
            began,
            stop,
            sender,
            visits,
        }
    }

    /// Waits for `count` more visits to be over.
    pub fn go_on(&self, count: usize) {
        let over = || self.visits.lock().unwrap().len();
        let enough = over() + count;
        until("more visits", 40, || (over() >= enough).then_some(()));
    }

    /// Ends after some more visits, so that what is live now has been seen.
    pub fn stop(self) -> Report {
        self.go_on(10);
        self.stop.store(true, Ordering::SeqCst);
        let lasted = self.began.elapsed();
        self.sender.join().unwrap();
        let visits = std::mem::take(&mut *self.visits.lock().unwrap());
        Report::new(visits, lasted)
    }
}

fn visit(port: u16, host: &str, path: &str) -> Visit {
    let sent = Instant::now();
    let answer = match http::get(port, host, path) {
        Ok(answer) if answer.status == 200 => Ok(answer.text().trim().to_owned()),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(error) => Err(error.to_string()),
    };
    Visit {
        sent,
        done: Instant::now(),
        answer,
    }
}

impl Report {
    fn new(mut visits: Vec<Visit>, lasted: Duration) -> Report {
        visits.sort_by_key(|visit| visit.done);
        // Each version with the time it was first received.
        let mut first: Vec<(&str, Instant)> = Vec::new();
        let mut failed = Vec::new();
        let mut back = Vec::new();
        for visit in &visits {
            match &visit.answer {
                Err(error) => failed.push(error.clone()),
                Ok(version) => {
                    let age = first.iter().position(|(known, _)| known == version);
                    let age = age.unwrap_or_else(|| {
                        first.push((version, visit.done));
                        first.len() - 1
                    });
                    // Requests that were under way together may be answered in any order.
                    if let Some((newer, _)) = first[age + 1..]
                        .iter()
                        .find(|(_, received)| *received < visit.sent)
                    {
                        back.push(format!("{version} after {newer}"));
                    }
                }
            }
        }
        Report {
            requests: visits.len(),
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            per_second: visits.len() as f64 / lasted.as_secs_f64(),
            failed,
            versions: first
                .iter()
                .map(|(version, _)| (*version).to_owned())
                .collect(),
            back,
        }
    }

    /// Nobody was turned away, nobody saw an older version after a newer one, and the visitors
    /// did come at fifty a second.
    #[track_caller]
    pub fn assert_nothing_dropped(&self, versions: &[&str]) {
        assert!(self.failed.is_empty(), "{self:?}");
        assert!(self.back.is_empty(), "{self:?}");
        assert_eq!(self.versions, versions, "{self:?}");
        assert!(self.per_second >= 45.0, "{self:?}");
        eprintln!(
            "{} requests, {:.1} a second, 0 failed, answers {}",
            self.requests,
            self.per_second,
            self.versions.join(" → ")
        );
    }
}

#[test]
fn the_report_finds_failures_and_steps_back() {
    let start = Instant::now();
    let visit = |sent: u64, done: u64, answer: Result<&str, &str>| Visit {
        sent: start + Duration::from_millis(sent),
        done: start + Duration::from_millis(done),
        answer: answer.map(str::to_owned).map_err(str::to_owned),
    };
    let report = Report::new(
        vec![
            visit(0, 5, Ok("1")),
            visit(10, 30, Ok("2")),
            visit(20, 35, Ok("1")), // under way together with the one before
            visit(40, 45, Ok("1")), // a step back
            visit(50, 55, Err("status 502")),
        ],
        Duration::from_secs(1),
    );
    assert_eq!(report.versions, ["1", "2"]);
    assert_eq!(report.back, ["1 after 2"]);
    assert_eq!(report.failed, ["status 502"]);
}
