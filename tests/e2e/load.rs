//! Visitors: fifty requests a second, each on a connection of its own, sent at their time
//! whether or not earlier ones are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;
use crate::world::until;

const BETWEEN: Duration = Duration::from_millis(20);

/// When a request was sent, and its answer or what went wrong.
type Seen = (Instant, Result<String, String>);

pub struct Load {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Debug)]
pub struct Report {
    pub requests: usize,
    pub failed: Vec<String>,
    /// The answers in the order of their requests, repetitions left out.
    pub sequence: Vec<String>,
}

impl Load {
    pub fn start(port: u16, host: &str, path: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (host, path) = (host.to_owned(), path.to_owned());
        let sender = {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::spawn(move || {
                let began = Instant::now();
                let mut visitors = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (host, path, seen) = (host.clone(), path.clone(), seen.clone());
                    visitors.push(std::thread::spawn(move || {
                        let at = Instant::now();
                        let answer = match http::get(port, &host, &path) {
                            Ok(answer) if answer.status == 200 => {
                                Ok(answer.text().trim().to_owned())
                            }
                            Ok(answer) => Err(format!("status {}", answer.status)),
                            Err(error) => Err(error.to_string()),
                        };
                        seen.lock().unwrap().push((at, answer));
                    }));
                    std::thread::park_timeout((BETWEEN * number).saturating_sub(began.elapsed()));
                }
                for visitor in visitors {
                    visitor.join().unwrap();
                }
            })
        };
        Load { stop, sender, seen }
    }

    /// Ends after some more visits, so that what is live now has been seen.
    pub fn stop(self) -> Report {
        let before = self.seen.lock().unwrap().len();
        until("more visits", 40, || {
            (self.seen.lock().unwrap().len() >= before + 10).then_some(())
        });
        self.stop.store(true, Ordering::SeqCst);
        self.sender.join().unwrap();
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.sort_by_key(|(at, _)| *at);
        let mut report = Report {
            requests: seen.len(),
            failed: Vec::new(),
            sequence: Vec::new(),
        };
        for (_, answer) in seen {
            match answer {
                Err(error) => report.failed.push(error),
                Ok(text) if report.sequence.last() != Some(&text) => report.sequence.push(text),
                Ok(_) => {}
            }
        }
        report
    }
}
