//! The same requests to the edge and to a real nginx with the same files. Every difference stands
//! in one table with the reason why ours is right or harmless; one that is not there fails the
//! test, and so does one that is there and does not happen.
//!
//! Compared are the status; of two answers with files also the body and the fields that browsers
//! and caches act on; of refusals the fields that explain them. Not compared: the words of an
//! error page, the date, the server's name, the fields that make browsers careful (nginx has
//! none), and the value of an entity tag, which is each server's own: only its kind.

/// The table.
mod differences;
/// What both are asked.
mod requests;
/// nginx.
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use self::differences::DIFFERENCES;
use self::requests::Request;
use self::server::Nginx;
use crate::backend::{Backend, fields};
use crate::static_files::{put_beside, put_set, with_sets};
use crate::world::{Answer, Edge, PATIENCE, read_answer};

/// Contents are told apart by their first byte, see `put_set`.
const SHIPPED: &[(&str, &[u8])] = &[
    ("a.txt", b"0123456789"),
    ("plain.txt", b"has no variant"),
    ("site.css", b"plain style"),
    ("app.js", b"script"),
    ("empty.txt", b""),
    ("LICENSE", b"license"),
    ("data.unknown", b"unknown"),
    ("css/base.css", b"base"),
    ("con espacio.txt", b"a space"),
    ("a+b.txt", b"x plus"),
    ("ñandú.txt", b"nandu"),
    ("100%.txt", b"100 percent"),
    ("a\\b.txt", b"\\"),
    ("a;b.txt", b";"),
    ("%61.txt", b"%"),
];
const UPLOADED: &[(&str, &[u8])] = &[
    ("foto.jpg", b"jpeg"),
    ("page.html", b"<p>page</p>"),
    ("image.svg", b"<svg/>"),
    ("sub/note.txt", b"note"),
    (".hidden", b"hidden"),
    (".git/config", b"config"),
];

#[test]
fn every_difference_to_nginx_is_known_and_argued() {
    let app = Backend::saying("from the app");
    let edge = Edge::start();
    let beside = tempfile::tempdir().unwrap();
    let media = edge.folder.path().join("media");
    put_files(&edge, beside.path(), &media);
    let set = put_set(edge.folder.path(), SHIPPED);
    put_beside(&edge, b'0', "gz", b"in gzip");
    put_beside(&edge, b'p', "gz", b"style in gzip");
    let mut routes = with_sets(&edge, &[app.address], &[set]);
    routes[0]["media"] = json!({"url": "/media/", "root": media});
    edge.apply(1, routes);
    let nginx = Nginx::start(beside.path(), &media, app.address);

    let to_edge = |request: &Request, etag: &str| {
        let stream = TcpStream::connect(edge.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, request, etag)
    };
    let to_nginx = |request: &Request, etag: &str| exchange(nginx.connect(), request, etag);
    let all = requests::all();
    let names: BTreeSet<&str> = all.iter().map(|request| &*request.name).collect();
    assert_eq!(names.len(), all.len(), "each request has a name of its own");
    let tag = |answers: Vec<Option<Answer>>| {
        let answer = answers.into_iter().next().flatten().expect("an answer");
        answer.field("etag").expect("a tag").to_owned()
    };
    let our_tag = tag(to_edge(&all[0], ""));
    let nginx_tag = tag(to_nginx(&all[0], ""));

    let mut found = BTreeMap::new();
    for request in &all {
        let ours = to_edge(request, &our_tag);
        let theirs = to_nginx(request, &nginx_tag);
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            for (what, ours, nginx) in differing(ours.as_ref(), theirs.as_ref()) {
                let what = if number == 0 {
                    what
                } else {
                    format!("2: {what}")
                };
                let key = (what, request.name.clone());
                assert!(found.insert(key, (ours, nginx)).is_none());
            }
        }
    }
    let wrong = against_table(&found, &names);
    assert!(wrong.is_empty(), "of {} requests:\n{wrong}", all.len());
}

/// What the table does not say, and what it says in vain.
fn against_table(
    found: &BTreeMap<(String, String), (String, String)>,
    names: &BTreeSet<&str>,
) -> String {
    let mut wrong = String::new();
    let mut listed = BTreeSet::new();
    for difference in DIFFERENCES {
        assert!(
            difference.why.len() > 20,
            "{} needs a reason",
            difference.what
        );
        for name in difference.requests {
            let key = (difference.what.to_owned(), (*name).to_owned());
            let known = found.get(&key);
            if known
                .is_none_or(|(ours, nginx)| ours != difference.ours || nginx != difference.nginx)
            {
                let unknown = if names.contains(name) {
                    ""
                } else {
                    " (no such request)"
                };
                let _ = writeln!(
                    wrong,
                    "listed and not so: {key:?}{unknown}, found {known:?}"
                );
            }
            assert!(listed.insert(key.clone()), "{key:?} is listed twice");
        }
    }
    for (key, (ours, nginx)) in found {
        if !listed.contains(key) {
            let _ = writeln!(wrong, "not listed: {key:?}: ours {ours:?}, nginx {nginx:?}");
        }
    }
    wrong
}

/// The files of the static set for nginx, and the uploaded ones, which both share.
fn put_files(edge: &Edge, beside: &Path, media: &Path) {
    let shipped = beside.join("static");
    let files = SHIPPED.iter().map(|file| (&shipped, file));
    let variants: [(&str, &[u8]); 2] =
        [("a.txt.gz", b"in gzip"), ("site.css.gz", b"style in gzip")];
    let variants = variants.iter().map(|file| (&shipped, file));
    let media = media.to_owned();
    let uploaded = UPLOADED.iter().map(|file| (&media, file));
    for (root, (path, content)) in files.chain(variants).chain(uploaded) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        File::open(path).unwrap().set_modified(modified).unwrap();
    }
    fs::write(edge.folder.path().join("secret.txt"), "secret").unwrap();
    symlink("../secret.txt", media.join("outside.txt")).unwrap();
    symlink("..", media.join("up")).unwrap();
    symlink("foto.jpg", media.join("inside.jpg")).unwrap();
}

/// Sends a request on a connection of its own; as many answers as it asks for, `None` for each
/// that does not come.
fn exchange(mut stream: impl Read + Write, request: &Request, etag: &str) -> Vec<Option<Answer>> {
    let text = request.text.replace("{etag}", etag);
    // A server may refuse a head before its end and hang up.
    let _ = stream.write_all(text.as_bytes());
    let is_head = text.trim_start().starts_with("HEAD ");
    let mut reader = BufReader::new(stream);
    (0..request.answers)
        .map(|number| read_answer(&mut reader, is_head && number == 0))
        .collect()
}

/// What differs, and how it is on both sides. Behind another status or another body the fields
/// differ too, and say nothing new.
fn differing(ours: Option<&Answer>, nginx: Option<&Answer>) -> Vec<(String, String, String)> {
    let (ours, nginx) = (describe(ours), describe(nginx));
    let names: BTreeSet<&String> = ours.keys().chain(nginx.keys()).collect();
    let value = |answer: &BTreeMap<String, String>, name: &str| {
        answer.get(name).map_or("-".to_owned(), String::clone)
    };
    let differs = |name: &str| {
        let (ours, nginx) = (value(&ours, name), value(&nginx, name));
        (ours != nginx).then(|| (name.to_owned(), ours, nginx))
    };
    match differs("status").or_else(|| differs("body")) {
        Some(first) => vec![first],
        None => names.into_iter().filter_map(|name| differs(name)).collect(),
    }
}

/// What is compared of an answer.
fn describe(answer: Option<&Answer>) -> BTreeMap<String, String> {
    let Some(answer) = answer else {
        return BTreeMap::from([("status".to_owned(), "no answer".to_owned())]);
    };
    let status = answer.status();
    let version = &answer.head[..8];
    let mut all = BTreeMap::from([("status".to_owned(), status.to_string())]);
    let always = ["allow", "content-range", "location"];
    let of_files = [
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-type",
        "last-modified",
        "vary",
    ];
    let names = always
        .iter()
        .chain(of_files.iter().filter(|_| status < 400));
    for name in names {
        let value = fields(&answer.head, name).join(" | ");
        if !value.is_empty() {
            all.insert((*name).to_owned(), value.to_ascii_lowercase());
        }
    }
    let connection = fields(&answer.head, "connection")
        .join(", ")
        .to_ascii_lowercase();
    let kept = match version {
        "HTTP/1.1" => connection != "close",
        _ => connection == "keep-alive",
    };
    let kept = if kept { "kept" } else { "closed" };
    all.insert("connection".to_owned(), kept.to_owned());
    if status < 400 {
        let kind = match fields(&answer.head, "etag").first() {
            Some(tag) if tag.starts_with("W/") => "weak",
            Some(_) => "strong",
            None => "-",
        };
        all.insert("etag".to_owned(), kind.to_owned());
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        all.insert("body".to_owned(), body);
    }
    all
}
