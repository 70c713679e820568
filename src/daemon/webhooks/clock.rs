//! When the next looks of our own are: each app at its own interval, a little early or late, so
//! that many apps that were made together do not ask their forge together.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use zarpar_model::{AppName, Source};

/// The first look after a start or a change, which may be what the forge told while we were away.
const FIRST: Duration = Duration::from_secs(3);

/// The times of the next looks.
#[derive(Default)]
pub(super) struct Clock(HashMap<AppName, (u64, Instant)>);

impl Clock {
    /// Takes over what apps follow now. A look that was near stays where it was.
    pub(super) fn set(&mut self, sources: &[Source], now: Instant) {
        let before = std::mem::take(&mut self.0);
        for source in sources {
            let Some(seconds) = source.poll_seconds else {
                continue;
            };
            let next = match before.get(&source.app) {
                Some((same, next)) if *same == seconds => *next,
                _ => now + FIRST.min(interval(seconds)),
            };
            self.0.insert(source.app.clone(), (seconds, next));
        }
    }

    /// The next moment at which somebody is to be looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(_, next)| *next).min()
    }

    /// Those whose time has come; their next one is set.
    pub(super) fn due(&mut self, now: Instant) -> Vec<AppName> {
        let mut due = Vec::new();
        for (app, (seconds, next)) in &mut self.0 {
            if *next <= now {
                *next = now + interval(*seconds);
                due.push(app.clone());
            }
        }
        due
    }
}

/// The interval, up to a tenth shorter or longer.
fn interval(seconds: u64) -> Duration {
    let mut byte = [128];
    // Without random bytes all wait the same time.
    let _ = getrandom::fill(&mut byte);
    let tenth = f64::from(byte[0]) / 255.0 * 0.2 - 0.1;
    Duration::from_secs(seconds).mul_f64(1.0 + tenth)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use zarpar_model::{Provider, Timestamp};

    fn source(app: &str, poll_seconds: Option<u64>) -> Source {
        Source {
            app: app.parse().unwrap(),
            provider: Provider::Gitea,
            url: "https://forge.example/yo/x".parse().unwrap(),
            branch: "main".parse().unwrap(),
            poll_seconds,
            deploy_key_public: String::new(),
            host_keys: Vec::new(),
            forge_token: false,
            last_seen: None,
            created_at: Timestamp(1),
        }
    }

    #[test]
    fn each_app_is_due_at_its_own_interval() {
        let mut clock = Clock::default();
        let start = Instant::now();
        let sources = [source("a", Some(100)), source("b", None)];
        clock.set(&sources, start);
        assert!(clock.due(start).is_empty());
        let first = start + FIRST;
        assert_eq!(clock.next(), Some(first));
        assert_eq!(clock.due(first), ["a".parse().unwrap()]);
        // A change of another app moves nothing.
        clock.set(&sources, first);
        assert!(clock.due(first + Duration::from_secs(89)).is_empty());
        let second = first + Duration::from_secs(111);
        assert_eq!(clock.due(second).len(), 1);
        clock.set(&[source("a", Some(200))], second);
        assert!(clock.next().unwrap() <= second + FIRST);
        clock.set(&[], second);
        assert_eq!(clock.next(), None);
    }
}
