//! The counters in Prometheus' text format, version 0.0.4. Every family is written once with its
//! help and type, as the format asks for, and label values are escaped.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{AppMetrics, BUCKETS, Metrics};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const REQUESTS: &str = "zarpar_edge_requests_total";
const SECONDS: &str = "zarpar_edge_request_seconds";
const IN_FLIGHT: &str = "zarpar_edge_in_flight";
const BYTES: &str = "zarpar_edge_response_bytes_total";
const TARGETS_LEFT: &str = "zarpar_edge_targets_left_total";
const CONNECTIONS: &str = "zarpar_edge_connections";
const REFUSED: &str = "zarpar_edge_connections_refused_total";
const DROPPED: &str = "zarpar_edge_access_log_dropped_total";
const EXPIRY: &str = "zarpar_certificate_expiry_timestamp_seconds";

/// When a certificate runs out.
pub(crate) struct Expiry {
    /// Its name in the listing.
    pub(crate) name: String,
    /// `own` or `acme`; both may be there for one name.
    pub(crate) source: &'static str,
    /// Unix seconds.
    pub(crate) at: u64,
}

impl Metrics {
    /// Everything that is counted, and when the certificates run out.
    pub(crate) fn text(&self, certificates: &[Expiry]) -> String {
        let mut text = Text(String::with_capacity(4096));
        self.write_apps(&mut text);
        text.family(CONNECTIONS, "gauge", "Open connections of visitors.");
        let connections = self.connections.iter().map(|shard| {
            // This one first: what closes in between was open a moment ago.
            let closed = shard.closed.load(Relaxed);
            shard.opened.load(Relaxed).saturating_sub(closed)
        });
        text.sample(CONNECTIONS, &[], connections.sum::<u64>());
        text.family(
            REFUSED,
            "counter",
            "Connections refused because their address had as many as it may.",
        );
        text.sample(REFUSED, &[], self.refused.load(Relaxed));
        text.family(
            DROPPED,
            "counter",
            "Lines of the access log that were not written.",
        );
        text.sample(DROPPED, &[], self.dropped.load(Relaxed));
        if !certificates.is_empty() {
            text.family(EXPIRY, "gauge", "When a certificate runs out, Unix time.");
        }
        for certificate in certificates {
            let labels = [
                ("name", certificate.name.as_str()),
                ("source", certificate.source),
            ];
            text.sample(EXPIRY, &labels, certificate.at);
        }
        text.0
    }

    fn write_apps(&self, text: &mut Text) {
        let known = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let apps: Vec<Arc<AppMetrics>> = std::iter::once(&self.nobody)
            .chain(known.values())
            .cloned()
            .collect();
        drop(known);
        text.family(
            REQUESTS,
            "counter",
            "Requests whose answer ended, by app and class of status; 499 means that the visitor left first.",
        );
        for app in &apps {
            for (number, class) in CLASSES.into_iter().enumerate() {
                let count = app.sum(|shard| &shard.classes[number]);
                text.sample(REQUESTS, &[("app", app.name()), ("class", class)], count);
            }
        }
        text.family(
            SECONDS,
            "histogram",
            "Time from a request's head to the end of its answer.",
        );
        for app in &apps {
            text.histogram(app);
        }
        text.family(IN_FLIGHT, "gauge", "Requests whose answer has not ended.");
        for app in &apps {
            let ended = app.sum(|shard| &shard.ended);
            let begun = app.sum(|shard| &shard.begun);
            text.sample(
                IN_FLIGHT,
                &[("app", app.name())],
                begun.saturating_sub(ended),
            );
        }
        text.family(BYTES, "counter", "Bytes of answers' bodies.");
        for app in &apps {
            let bytes = app.sum(|shard| &shard.bytes);
            text.sample(BYTES, &[("app", app.name())], bytes);
        }
        text.family(
            TARGETS_LEFT,
            "counter",
            "Times a target left the rotation because it took no connections or broke them.",
        );
        for app in &apps {
            let left = app.targets_left.load(Relaxed);
            text.sample(TARGETS_LEFT, &[("app", app.name())], left);
        }
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (position, (label, content)) in labels.iter().enumerate() {
            self.0.push(if position == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(content));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// Buckets are cumulative, and the last one is the count, from one look at the counters.
    fn histogram(&mut self, app: &AppMetrics) {
        let bucket = format!("{SECONDS}_bucket");
        let name = ("app", app.name());
        let mut count = 0;
        for (number, end) in BUCKETS.into_iter().enumerate() {
            count += app.sum(|shard| &shard.buckets[number]);
            self.sample(&bucket, &[name, ("le", &seconds(end).to_string())], count);
        }
        count += app.sum(|shard| &shard.buckets[BUCKETS.len()]);
        self.sample(&bucket, &[name, ("le", "+Inf")], count);
        let total = app.sum(|shard| &shard.micros);
        self.sample(&format!("{SECONDS}_sum"), &[name], seconds(total));
        self.sample(&format!("{SECONDS}_count"), &[name], count);
    }
}

/// Exact for 285 years of microseconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Ended;
    use super::*;

    #[test]
    fn buckets_add_up_over_workers_and_tables() {
        let metrics = Metrics::default();
        let answers = [(200, 5), (200, 6), (404, 20_000), (599, 1), (700, 1)];
        for (worker, (status, millis)) in answers.into_iter().enumerate() {
            let app = metrics.app("shop");
            app.begun(worker);
            let took = Duration::from_millis(millis);
            let bytes = 10;
            app.ended(
                worker,
                &Ended {
                    status,
                    took,
                    bytes,
                },
            );
        }
        metrics.app("shop").begun(2);
        let text = metrics.text(&[]);
        for line in [
            "zarpar_edge_requests_total{app=\"shop\",class=\"2xx\"} 2",
            "zarpar_edge_requests_total{app=\"shop\",class=\"4xx\"} 1",
            "zarpar_edge_requests_total{app=\"shop\",class=\"5xx\"} 2",
            "zarpar_edge_request_seconds_bucket{app=\"shop\",le=\"0.005\"} 3",
            "zarpar_edge_request_seconds_bucket{app=\"shop\",le=\"0.01\"} 4",
            "zarpar_edge_request_seconds_bucket{app=\"shop\",le=\"10\"} 4",
            "zarpar_edge_request_seconds_bucket{app=\"shop\",le=\"+Inf\"} 5",
            "zarpar_edge_request_seconds_sum{app=\"shop\"} 20.013",
            "zarpar_edge_request_seconds_count{app=\"shop\"} 5",
            "zarpar_edge_in_flight{app=\"shop\"} 1",
            "zarpar_edge_response_bytes_total{app=\"shop\"} 50",
            "zarpar_edge_requests_total{app=\"-\",class=\"4xx\"} 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }

    #[test]
    fn each_family_is_described_once_and_labels_are_escaped() {
        let metrics = Metrics::default();
        metrics.app("a");
        metrics.app("b");
        let text = metrics.text(&[Expiry {
            name: "a\"\\\n".to_owned(),
            source: "own",
            at: 1_800_000_000,
        }]);
        assert!(text.contains(
            "zarpar_certificate_expiry_timestamp_seconds{name=\"a\\\"\\\\\\n\",source=\"own\"} 1800000000\n"
        ));
        let mut types: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(types.len(), 9);
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), 9);
    }
}
