//! Static files: two sets, one content store.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use zarpar_model::{StaticEntry, StaticIndex};

use crate::backend::Backend;
use crate::world::{Edge, route};

const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

/// Puts a set into `<folder>/static` and returns its id. Contents are told apart by their first
/// byte, which stands for the digest.
pub fn put_set(folder: &Path, files: &[(&str, &[u8])]) -> String {
    let root = folder.join("static");
    let mut index = StaticIndex::default();
    for (path, content) in files {
        let digest = content.first().copied().unwrap_or(0);
        let entry = StaticEntry {
            sha256: [digest; 32],
            size: content.len() as u64,
            mtime: 1_700_000_000,
            immutable: false,
        };
        index.insert(path, entry).unwrap();
        let name = format!("{digest:02x}").repeat(32);
        let blobs = root.join("blobs").join(&name[..2]);
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(name), content).unwrap();
    }
    index.mark_hashed();
    fs::create_dir_all(root.join("sets")).unwrap();
    let id = index.set_id();
    fs::write(root.join("sets").join(&id), index.to_text()).unwrap();
    id
}

/// Puts something beside the content that begins with `first`.
pub fn put_beside(edge: &Edge, first: u8, extension: &str, bytes: &[u8]) {
    let name = format!("{first:02x}").repeat(32);
    let blobs = edge.folder.path().join("static/blobs").join(&name[..2]);
    fs::write(blobs.join(format!("{name}.{extension}")), bytes).unwrap();
}

pub fn with_sets(edge: &Edge, targets: &[SocketAddr], sets: &[String]) -> Value {
    let mut route = route(targets);
    let root = edge.folder.path().join("static");
    route["static"] = json!({"url": "/static/", "root": root, "sets": sets});
    json!([route])
}

#[test]
fn files_of_this_release_and_the_ones_before() {
    let app = Backend::saying("from the app");
    let edge = Edge::start();
    let folder = edge.folder.path();
    let old = put_set(
        folder,
        &[("site.css", b"old"), ("site.00000000000a.css", b"old")],
    );
    let new = put_set(
        folder,
        &[
            ("site.css", b"new"),
            ("site.00000000000b.css", b"new"),
            ("img/con espacio.svg", b"svg"),
            ("empty.txt", b""),
        ],
    );
    edge.apply(1, with_sets(&edge, &[app.address], &[new, old]));

    let plain = edge.get("/static/site.css");
    assert_eq!((plain.status(), plain.text()), (200, "new"));
    for (name, value) in [
        ("content-type", "text/css; charset=utf-8"),
        ("content-length", "3"),
        ("etag", "\"6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e\""),
        ("last-modified", MODIFIED),
        ("cache-control", "public, max-age=2592000"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(plain.field(name), Some(value), "{name}");
    }
    let hashed = edge.get("/static/site.00000000000a.css?v=1");
    assert_eq!(hashed.text(), "old");
    assert_eq!(
        hashed.field("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(edge.get("/static/img/con%20espacio.svg").text(), "svg");
    assert_eq!(edge.get("/static/empty.txt").text(), "");
    assert_eq!(edge.get("/elsewhere").text(), "from the app");
    for (path, status) in [
        ("/static/nothing.css", 404),
        ("/static/", 404),
        ("/static/../site.css", 404),
        ("/static/%2e%2e/sets/x", 404),
        ("/static/%zz", 400),
    ] {
        assert_eq!(edge.get(path).status(), status, "{path}");
    }
    // None of them was asked of the app.
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn heads_ranges_and_conditions() {
    let edge = Edge::start();
    let set = put_set(edge.folder.path(), &[("a.txt", b"0123456789")]);
    edge.apply(1, with_sets(&edge, &[], &[set]));
    let mut client = edge.client();
    let mut ask = |method: &str, fields: &str| {
        let request = format!("{method} /static/a.txt HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        client.send(&request);
        client.answer_to(&request)
    };
    // All on one connection, so a wrong length would be seen in the next answer.
    let head = ask("HEAD", "");
    assert_eq!(
        (head.status(), head.field("content-length")),
        (200, Some("10"))
    );
    let etag = head.field("etag").unwrap().to_owned();

    let part = ask("GET", "Range: bytes=2-4\r\n");
    assert_eq!((part.status(), part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    let beyond = ask("GET", "Range: bytes=10-\r\n");
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.field("content-range"), Some("bytes */10"));
    let other = ask("GET", "Range: bytes=2-4\r\nIf-Range: \"other\"\r\n");
    assert_eq!((other.status(), other.text()), (200, "0123456789"));

    let same = ask("GET", &format!("If-None-Match: W/{etag}\r\n"));
    assert_eq!((same.status(), same.body.len()), (304, 0));
    assert_eq!(same.field("etag"), Some(&*etag));
    assert!(same.field("cache-control").is_some());
    let since = ask("GET", &format!("If-Modified-Since: {MODIFIED}\r\n"));
    assert_eq!(since.status(), 304);
    assert_eq!(ask("GET", "If-Match: \"other\"\r\n").status(), 412);
    let post = ask("POST", "Content-Length: 0\r\n");
    assert_eq!(
        (post.status(), post.field("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(ask("GET", "").text(), "0123456789");
}

#[test]
fn large_files_arrive_whole_and_a_lost_one_is_404() {
    let edge = Edge::start();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8 | 1).collect();
    let set = put_set(edge.folder.path(), &[("large.bin", &content)]);
    edge.apply(1, with_sets(&edge, &[], &[set]));
    assert!(edge.get("/static/large.bin").body == content);
    let part = edge.get_with("/static/large.bin", "Range: bytes=-1000001\r\n");
    assert!(part.body == content[content.len() - 1_000_001..]);
    fs::remove_dir_all(edge.folder.path().join("static/blobs")).unwrap();
    assert_eq!(edge.get("/static/large.bin").status(), 404);
}

/// An edge with a style sheet in four forms.
fn with_variants() -> Edge {
    let edge = Edge::start();
    let set = put_set(
        edge.folder.path(),
        &[("a.css", b"plain style"), ("b.png", b"image")],
    );
    for (extension, bytes) in [("br", "in br"), ("zst", "in zstd"), ("gz", "in gzip")] {
        put_beside(&edge, b'p', extension, bytes.as_bytes());
        put_beside(&edge, b'i', extension, bytes.as_bytes());
    }
    edge.apply(1, with_sets(&edge, &[], &[set]));
    edge
}

#[test]
fn the_variant_that_the_client_wants() {
    let edge = with_variants();
    let tag = "70".repeat(16);
    for (accepted, coding) in [
        ("gzip, deflate, br, zstd", Some("br")),
        ("gzip, deflate, zstd", Some("zstd")),
        ("gzip, deflate", Some("gzip")),
        ("br;q=0.5, gzip;q=0.9", Some("gzip")),
        ("*;q=0.1, br;q=0", Some("zstd")),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
        ("", None),
    ] {
        let field = format!("Accept-Encoding: {accepted}\r\n");
        let answer = edge.get_with("/static/a.css", &field);
        let (text, etag) = match coding {
            Some(coding) => (format!("in {coding}"), format!("\"{tag}-{coding}\"")),
            None => ("plain style".to_owned(), format!("\"{tag}\"")),
        };
        assert_eq!(
            (answer.status(), answer.text()),
            (200, &*text),
            "{accepted}"
        );
        let length = text.len().to_string();
        for (name, value) in [
            ("content-encoding", coding),
            ("content-length", Some(&*length)),
            ("etag", Some(&*etag)),
            ("vary", Some("accept-encoding")),
            ("accept-ranges", coding.is_none().then_some("bytes")),
            ("content-type", Some("text/css; charset=utf-8")),
            ("last-modified", Some(MODIFIED)),
            ("cache-control", Some("public, max-age=2592000")),
        ] {
            assert_eq!(answer.field(name), value, "{name} for {accepted}");
        }
    }
    let answer = edge.get("/static/a.css");
    assert_eq!(answer.text(), "plain style");
    assert_eq!(answer.field("vary"), Some("accept-encoding"));
    // What is compressed already has no variants, so nothing varies.
    let image = edge.get_with("/static/b.png", "Accept-Encoding: br\r\n");
    assert_eq!((image.text(), image.field("vary")), ("image", None));
    assert_eq!(image.field("content-encoding"), None);
}

#[test]
fn heads_conditions_and_ranges_of_variants() {
    let edge = with_variants();
    let mut client = edge.client();
    let mut ask = |method: &str, fields: &str| {
        let request = format!("{method} /static/a.css HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        client.send(&request);
        client.answer_to(&request)
    };
    // All on one connection, so a wrong length would be seen in the next answer.
    let tag = "70".repeat(16);
    for (coding, other) in [("br", "gzip"), ("zstd", "br"), ("gzip", "zstd")] {
        let accept = format!("Accept-Encoding: {coding}\r\n");
        let head = ask("HEAD", &accept);
        assert_eq!((head.status(), head.body.len()), (200, 0));
        let length = format!("in {coding}").len().to_string();
        assert_eq!(head.field("content-length"), Some(&*length));
        assert_eq!(head.field("content-encoding"), Some(coding));

        let own = format!("\"{tag}-{coding}\"");
        let same = ask("GET", &format!("{accept}If-None-Match: {own}\r\n"));
        assert_eq!((same.status(), same.body.len()), (304, 0));
        assert_eq!(same.field("etag"), Some(&*own));
        assert_eq!(same.field("vary"), Some("accept-encoding"));
        // What the client has is another form.
        for had in [format!("\"{tag}-{other}\""), format!("\"{tag}\"")] {
            let fresh = ask("GET", &format!("{accept}If-None-Match: {had}\r\n"));
            assert_eq!((fresh.status(), fresh.field("etag")), (200, Some(&*own)));
        }

        let part = ask("GET", &format!("{accept}Range: bytes=6-8\r\n"));
        assert_eq!((part.status(), part.text()), (206, "sty"));
        assert_eq!(part.field("content-range"), Some("bytes 6-8/11"));
        assert_eq!(part.field("content-encoding"), None);
        assert_eq!(part.field("vary"), Some("accept-encoding"));
        let plain = format!("\"{tag}\"");
        assert_eq!(part.field("etag"), Some(&*plain));
        for (had, status, text) in [(&plain, 206, "sty"), (&own, 200, "plain style")] {
            let fields = format!("{accept}Range: bytes=6-8\r\nIf-Range: {had}\r\n");
            let answer = ask("GET", &fields);
            assert_eq!((answer.status(), answer.text()), (status, text), "{had}");
            assert_eq!(answer.field("content-encoding"), None);
        }
    }
    let plain = ask("GET", &format!("If-None-Match: \"{tag}\"\r\n"));
    assert_eq!(plain.status(), 304);
    assert_eq!(plain.field("vary"), Some("accept-encoding"));
}

#[test]
fn a_variant_that_is_not_there_is_no_error() {
    let edge = with_variants();
    let ask = |accepted: &str| {
        let field = format!("Accept-Encoding: {accepted}\r\n");
        let answer = edge.get_with("/static/a.css", &field);
        assert_eq!(answer.status(), 200);
        answer.text().to_owned()
    };
    let remove = |extension: &str| {
        let name = "70".repeat(32);
        let blobs = edge.folder.path().join("static/blobs/70");
        fs::remove_file(blobs.join(format!("{name}.{extension}"))).unwrap();
    };
    remove("br");
    assert_eq!(ask("br, gzip;q=0.9, zstd;q=0.8"), "in gzip");
    assert_eq!(ask("br, identity;q=0.9, gzip;q=0.8"), "plain style");
    remove("gz");
    assert_eq!(ask("br, gzip;q=0.9, zstd;q=0.8"), "in zstd");
    assert_eq!(ask("br, gzip"), "plain style");
    assert_eq!(ask("br, identity;q=0"), "plain style");
    // One that appears while the edge runs is used at once.
    put_beside(&edge, b'p', "br", b"a new one");
    assert_eq!(ask("br, gzip"), "a new one");
}

#[test]
fn an_app_under_maintenance_shows_its_own_page_and_still_its_files() {
    let app = Backend::saying("the app");
    let edge = Edge::start();
    let with = |set: String, maintenance: bool| {
        let mut routes = with_sets(&edge, &[app.address], &[set]);
        routes[0]["maintenance"] = json!(maintenance);
        routes
    };
    let plain = put_set(edge.folder.path(), &[("site.css", b"body")]);
    let paged = put_set(
        edge.folder.path(),
        &[("site.css", b"body"), ("503.html", b"<p>back at noon</p>")],
    );
    edge.apply(1, with(plain.clone(), true));
    let ours = edge.get("/anything");
    assert_eq!(
        (ours.status(), ours.field("retry-after")),
        (503, Some("600"))
    );
    assert!(
        ours.text().contains("is being worked on"),
        "{}",
        ours.text()
    );
    assert_eq!(edge.get("/static/site.css").text(), "body");
    edge.apply(2, with(paged, true));
    let own = edge.get("/");
    assert_eq!((own.status(), own.text()), (503, "<p>back at noon</p>"));
    assert_eq!(own.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(own.field("cache-control"), Some("no-store"));
    let posted = edge.ask_http("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(posted.status(), 503);
    assert!(app.seen().is_empty(), "the app is left in peace");
    edge.apply(3, with(plain, false));
    assert_eq!(edge.get("/").text(), "the app");
}

#[test]
fn what_is_asked_for_often_comes_from_memory_and_is_the_same() {
    let edge = with_variants();
    // One connection, so one worker; each has a memory of its own.
    let mut client = edge.client();
    let mut ask = |method: &str, fields: &str| {
        let request = format!("{method} /static/a.css HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        client.send(&request);
        let answer = client.answer_to(&request);
        let lines = answer.head.lines().map(str::to_ascii_lowercase);
        // What names the request is another one each time.
        let own = |line: &str| line.starts_with("date:") || line.starts_with("x-request-id:");
        let head: Vec<_> = lines.filter(|line| !own(line)).collect();
        (head, answer.body)
    };
    let requests = [
        ("GET", ""),
        ("GET", "Accept-Encoding: br\r\n"),
        ("GET", "Accept-Encoding: gzip\r\n"),
        ("HEAD", ""),
        ("HEAD", "Accept-Encoding: gzip\r\n"),
        ("GET", "Range: bytes=1-2\r\n"),
        ("GET", "Range: bytes=-5\r\n"),
        ("GET", "Range: bytes=9000-\r\n"),
    ];
    let from_disk = requests.map(|(method, fields)| ask(method, fields));
    let bodies = ["plain style", "in br", "in gzip", "", "", "la", "style"];
    for ((head, body), expected) in from_disk.iter().zip(bodies) {
        assert_eq!(String::from_utf8_lossy(body), expected, "{head:?}");
    }
    let again = requests.map(|(method, fields)| ask(method, fields));
    assert_eq!(again, from_disk);
    // Without its files the edge can only answer from memory.
    fs::remove_dir_all(edge.folder.path().join("static/blobs")).unwrap();
    let from_memory = requests.map(|(method, fields)| ask(method, fields));
    assert_eq!(from_memory, from_disk);
}
