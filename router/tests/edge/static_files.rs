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
fn put_set(folder: &Path, files: &[(&str, &[u8])]) -> String {
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

fn with_sets(edge: &Edge, targets: &[SocketAddr], sets: &[String]) -> Value {
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
