//! What the edge counts and writes down: real requests, the counters over the control socket,
//! the access log on the disk.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use zarpar_control::{EdgeReply, EdgeRequest, Secret};
use zarpar_router::{AccessLog, Limits, LineFormat};

use crate::backend::{Backend, Next, write_whole};
use crate::static_files::{put_set, with_sets};
use crate::world::{Edge, PATIENCE, route};

/// Looks until there is something to return.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} in time");
        std::thread::yield_now();
    }
}

fn metrics(edge: &Edge) -> String {
    match edge.ask(&EdgeRequest::Metrics) {
        EdgeReply::Metrics { text } => text,
        other => panic!("{other:?}"),
    }
}

pub fn value(edge: &Edge, series: &str) -> f64 {
    let text = metrics(edge);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .parse()
        .unwrap()
}

/// An answer's end is counted a moment after the visitor has it.
pub fn await_value(edge: &Edge, series: &str, expected: f64) {
    await_some(&format!("{series} {expected}"), || {
        (value(edge, series) == expected).then_some(())
    });
}

fn logging(format: LineFormat, with_static: bool) -> Edge {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs/access.log");
    Edge::start_logging(
        folder,
        Limits::default(),
        Some(AccessLog {
            file,
            format,
            with_static,
        }),
    )
}

fn log_of(edge: &Edge) -> PathBuf {
    edge.folder.path().join("logs/access.log")
}

/// All lines, when there are `count`.
fn lines(edge: &Edge, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(log_of(edge)).unwrap_or_default();
    await_some(&format!("{count} lines"), || {
        let lines: Vec<String> = read().lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn json_lines(edge: &Edge, count: usize) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap();
    lines(edge, count).iter().map(parse).collect()
}

#[test]
fn requests_are_counted_by_app_class_and_duration() {
    let app = Backend::saying("hello");
    let edge = Edge::start();
    let set = put_set(edge.folder.path(), &[("site.css", b"0123456789")]);
    edge.apply(1, with_sets(&edge, &[app.address], &[set]));
    for _ in 0..3 {
        assert_eq!(edge.get("/").text(), "hello");
    }
    assert_eq!(edge.get("/static/site.css").status(), 200);
    assert_eq!(edge.get("/static/none.css").status(), 404);
    let stranger = "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
    assert_eq!(edge.ask_http(stranger).status(), 404);
    let head = "HEAD /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(edge.ask_http(head).body, b"");

    let requests =
        |app, class| format!("zarpar_edge_requests_total{{app=\"{app}\",class=\"{class}\"}}");
    await_value(&edge, &requests("a", "2xx"), 5.0);
    await_value(&edge, &requests("a", "4xx"), 1.0);
    await_value(&edge, &requests("-", "4xx"), 1.0);
    await_value(&edge, "zarpar_edge_request_seconds_count{app=\"a\"}", 6.0);
    let last = "zarpar_edge_request_seconds_bucket{app=\"a\",le=\"+Inf\"}";
    assert_eq!(value(&edge, last), 6.0);
    assert!(value(&edge, "zarpar_edge_request_seconds_sum{app=\"a\"}") > 0.0);
    assert_eq!(value(&edge, "zarpar_edge_in_flight{app=\"a\"}"), 0.0);
    let page = edge.get("/static/none.css").body.len();
    let bytes = "zarpar_edge_response_bytes_total{app=\"a\"}";
    let expected = (3 * 5 + 10 + 2 * page) as f64;
    await_value(&edge, bytes, expected);

    // Another table does not begin again.
    edge.apply(2, json!([route(&[app.address])]));
    edge.get("/");
    await_value(&edge, &requests("a", "2xx"), 6.0);
}

#[test]
fn what_is_under_way_is_seen_and_a_visitor_who_leaves_is_counted() {
    let app = Backend::start(|_, _| Next::Keep);
    let edge = Edge::with_targets(&[app.address]);
    let mut waiting = edge.client();
    waiting.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let in_flight = "zarpar_edge_in_flight{app=\"a\"}";
    await_value(&edge, in_flight, 1.0);
    await_value(&edge, "zarpar_edge_connections", 1.0);
    waiting.close();
    drop(waiting);
    await_value(&edge, in_flight, 0.0);
    await_value(&edge, "zarpar_edge_connections", 0.0);
    let left = "zarpar_edge_requests_total{app=\"a\",class=\"4xx\"}";
    await_value(&edge, left, 1.0);
}

#[test]
fn certificates_tell_when_they_run_out() {
    let edge = Edge::start();
    assert!(!metrics(&edge).contains("zarpar_certificate_expiry"));
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let added = edge.ask(&EdgeRequest::CertificateAdd {
        hosts: vec!["a.test".to_owned()],
        pem: Secret::new(format!("{}{pem}", key.serialize_pem())),
    });
    assert!(matches!(added, EdgeReply::Certificates { .. }), "{added:?}");
    let series = "zarpar_certificate_expiry_timestamp_seconds{name=\"a.test\",source=\"own\"}";
    assert_eq!(value(&edge, series), 4_102_444_800.0);
}

#[test]
fn a_json_line_for_each_request_but_none_for_files() {
    let app = Backend::start(|_, stream| {
        write_whole(stream, "hello");
        Next::Keep
    });
    let edge = logging(LineFormat::Json, false);
    let set = put_set(edge.folder.path(), &[("site.css", b"css")]);
    edge.apply(1, with_sets(&edge, &[app.address], &[set]));
    edge.get("/static/site.css");
    edge.get_with(
        "/a%20b?q=2",
        "User-Agent: odd \"agent\r\nReferer: https://b.test/\r\nX-Request-ID: mine\r\nCookie: sessionid=hidden1\r\nAuthorization: Basic hidden2\r\n",
    );
    edge.get_with("/plain?q=1", "User-Agent: tab\there \u{9b}1m\r\n");
    edge.ask_http("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    let found = json_lines(&edge, 3);
    assert_eq!(found.len(), 3);
    let whole = fs::read_to_string(log_of(&edge)).unwrap();
    assert!(!whole.contains("hidden"), "{whole}");
    assert!(!whole.contains("site.css"), "{whole}");
    assert!(whole.chars().all(|c| c == '\n' || !c.is_control()));

    let of = |path: &str| found.iter().find(|line| line["path"] == path).unwrap();
    let odd = of("/a%20b?q=2");
    assert_eq!(odd["user_agent"], "odd \"agent");
    assert_eq!(odd["referer"], "https://b.test/");
    assert_eq!(odd["request_id"], "mine");
    let line = of("/plain?q=1");
    for (key, expected) in [
        ("host", json!("a.test")),
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("app", json!("a")),
        ("status", json!(200)),
        ("bytes", json!(5)),
        ("protocol", json!("HTTP/1.1")),
        ("user_agent", json!("tab\\x09here \\x9b1m")),
        ("referer", Value::Null),
    ] {
        assert_eq!(line[key], expected, "{key} of {line}");
    }
    assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
    let time = line["time"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"));
    let stranger = of("/");
    assert_eq!(stranger["app"], "-");
    assert_eq!(stranger["host"], "b.test");
    assert_eq!(stranger["status"], 404);
}

#[test]
fn combined_lines_with_files_and_the_last_ones_at_the_end() {
    let app = Backend::saying("hello");
    let mut edge = logging(LineFormat::Combined, true);
    let set = put_set(edge.folder.path(), &[("site.css", b"css")]);
    edge.apply(1, with_sets(&edge, &[app.address], &[set]));
    edge.get_with(
        "/page?x=1",
        "User-Agent: my \"agent\"\r\nReferer: https://b.test/\r\n",
    );
    edge.get("/static/site.css");
    edge.begin_stop();
    edge.stopped().unwrap();
    let text = fs::read_to_string(log_of(&edge)).unwrap();
    let mut lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once(" - - [").unwrap())
        .map(|(client, rest)| (client, rest.split_once("+0000] ").unwrap().1))
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            (
                "127.0.0.1",
                "\"GET /page?x=1 HTTP/1.1\" 200 5 \"https://b.test/\" \"my \\x22agent\\x22\""
            ),
            (
                "127.0.0.1",
                "\"GET /static/site.css HTTP/1.1\" 200 3 \"-\" \"-\""
            ),
        ]
    );
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_no_request() {
    let app = Backend::saying("hello");
    let edge = logging(LineFormat::Json, false);
    fs::create_dir_all(log_of(&edge)).unwrap();
    edge.apply(1, json!([route(&[app.address])]));
    let dropped = "zarpar_edge_access_log_dropped_total";
    assert_eq!(value(&edge, dropped), 0.0);
    for _ in 0..3 {
        assert_eq!(edge.get("/").text(), "hello");
    }
    await_value(&edge, dropped, 3.0);
    // It goes on as soon as it can.
    fs::remove_dir(log_of(&edge)).unwrap();
    edge.get("/again");
    assert_eq!(json_lines(&edge, 1)[0]["path"], "/again");
}
