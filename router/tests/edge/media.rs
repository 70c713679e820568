//! Uploaded files, and the ways out of their folder.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::backend::Backend;
use crate::world::{Edge, route};

fn edge_with_media() -> (Edge, Backend) {
    let app = Backend::saying("from the app");
    let edge = Edge::start();
    let root = edge.folder.path().join("media");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(edge.folder.path().join("secret"), "secret").unwrap();
    let mut route = route(&[app.address]);
    route["media"] = json!({"url": "/media/", "root": root});
    edge.apply(1, json!([route]));
    (edge, app)
}

#[test]
fn uploaded_files_are_served_with_validators() {
    let (edge, app) = edge_with_media();
    let path = edge.folder.path().join("media/sub/foto 1.jpg");
    fs::write(&path, "jpeg").unwrap();
    let answer = edge.get("/media/sub/foto%201.jpg");
    assert_eq!((answer.status(), answer.text()), (200, "jpeg"));
    assert_eq!(answer.field("content-type"), Some("image/jpeg"));
    assert_eq!(
        answer.field("cache-control"),
        Some("public, max-age=604800")
    );
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    let etag = answer.field("etag").unwrap();
    let again = edge.get_with(
        "/media/sub/foto%201.jpg",
        &format!("If-None-Match: {etag}\r\n"),
    );
    assert_eq!(again.status(), 304);
    let part = edge.get_with("/media/sub/foto%201.jpg", "Range: bytes=1-2\r\n");
    assert_eq!((part.status(), part.text()), (206, "pe"));
    fs::write(&path, "another").unwrap();
    let changed = edge.get_with(
        "/media/sub/foto%201.jpg",
        &format!("If-None-Match: {etag}\r\n"),
    );
    assert_eq!((changed.status(), changed.text()), (200, "another"));
    assert!(app.seen().is_empty());
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let (edge, app) = edge_with_media();
    let root = edge.folder.path().join("media");
    fs::write(root.join(".hidden"), "secret").unwrap();
    fs::create_dir(root.join(".git")).unwrap();
    fs::write(root.join(".git/config"), "secret").unwrap();
    symlink("../secret", root.join("link.txt")).unwrap();
    symlink(edge.folder.path(), root.join("up")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), fifo, mode, 0).unwrap();
    for path in [
        "/media/../secret",
        "/media/%2e%2e/secret",
        "/media/%2e%2e%2fsecret",
        "/media/sub/../../secret",
        "/media/..%5csecret",
        "/media//secret",
        "/media/%2fetc/passwd",
        "/media/link.txt",
        "/media/up/secret",
        "/media/.hidden",
        "/media/.git/config",
        "/media/pipe",
        "/media/sub",
        "/media/sub/",
        "/media/",
        "/media/secret%00.jpg",
        "/media/nothing",
    ] {
        let answer = edge.get(path);
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!answer.text().contains("secret"), "{path}");
    }
    assert!(app.seen().is_empty());
}

#[test]
fn uploads_run_no_scripts_in_the_sites_origin() {
    let (edge, _app) = edge_with_media();
    let root = edge.folder.path().join("media");
    for (name, sandboxed, attached) in [
        ("a.html", true, true),
        ("a.XHTML", true, true),
        ("a.xml", true, true),
        ("a.svg", true, false),
        ("a.png", false, false),
    ] {
        fs::write(root.join(name), "<script>").unwrap();
        let answer = edge.get(&format!("/media/{name}"));
        let policy = answer.field("content-security-policy").unwrap_or_default();
        assert_eq!(
            policy.starts_with("sandbox; default-src 'none'"),
            sandboxed,
            "{name}"
        );
        assert_eq!(
            answer.field("content-disposition") == Some("attachment"),
            attached,
            "{name}"
        );
    }
}
