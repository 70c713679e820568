//! Request bodies: how they may come, how large they may be, and what is said when they are not.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::world::{Answer, MAX_PACK, World, basic};

const FETCH: &str = "POST /git/tienda.git/git-upload-pack";
const PUSH: &str = "POST /git/tienda.git/git-receive-pack";
const FETCH_TYPE: (&str, &str) = ("Content-Type", "application/x-git-upload-pack-request");
const PUSH_TYPE: (&str, &str) = ("Content-Type", "application/x-git-receive-pack-request");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// A world whose app has a commit, its token's header, and that commit.
fn pushed() -> (World, String, String) {
    let world = World::start();
    let token = world.pusher();
    let commit = world.project("site", 10);
    let pushed = world.git("site", &["push", &world.remote(&token), "main"]);
    assert!(pushed.status.success(), "{pushed:?}");
    (world, basic(&token, ""), commit)
}

/// A clone's request.
fn wants(commit: &str) -> Vec<u8> {
    format!("0032want {commit}\n00000009done\n").into_bytes()
}

fn gzip(parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    for part in parts {
        packed.write_all(&part).unwrap();
    }
    packed.finish().unwrap()
}

fn is_pack(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.starts_with(b"0008NAK\nPACK")
}

#[test]
fn a_fetch_may_come_plain_packed_and_in_chunks() {
    let (world, token, commit) = pushed();
    let auth = ("Authorization", token.as_str());
    let plain = world.ask(FETCH, &[auth, FETCH_TYPE], &wants(&commit));
    assert!(is_pack(&plain), "{plain:?}");
    let packed = gzip([wants(&commit)].into_iter());
    assert!(is_pack(&world.ask(
        FETCH,
        &[auth, FETCH_TYPE, GZIP],
        &packed
    )));
    let mut chunks = Vec::new();
    for chunk in packed.chunks(7) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    let chunked = ("Transfer-Encoding", "chunked");
    assert!(is_pack(&world.ask(
        FETCH,
        &[auth, FETCH_TYPE, GZIP, chunked],
        &chunks
    )));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_or_a_refusal() {
    let (world, token, commit) = pushed();
    let body = wants(&commit);
    let head = |token: &str| {
        format!(
            "{FETCH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {token}\r\n{}: {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            FETCH_TYPE.0,
            FETCH_TYPE.1,
            body.len()
        )
    };
    let mut stream = world.connect(head(&token).as_bytes());
    let mut first = [0; 25];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).unwrap();
    assert!(is_pack(&Answer::read(&mut stream)));
    let mut stream = world.connect(head(&basic("x", "zarpar_wrong")).as_bytes());
    assert_eq!(Answer::read(&mut stream).status, 401);
}

#[test]
fn what_is_announced_as_too_large_is_refused_before_it_is_sent() {
    let (world, token, _) = pushed();
    let auth = ("Authorization", token.as_str());
    for (line, kind, length) in [
        (PUSH, PUSH_TYPE, MAX_PACK + 17 * 1024 * 1024),
        (FETCH, FETCH_TYPE, 33 * 1024 * 1024),
        (PUSH, PUSH_TYPE, i64::MAX as u64),
    ] {
        let text = length.to_string();
        let fields = [auth, kind, ("Content-Length", text.as_str())];
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{}: {}\r\nContent-Length: {text}\r\n\r\n",
            kind.0, kind.1
        );
        let began = Instant::now();
        let mut first = [0; 12];
        world
            .connect(head.as_bytes())
            .read_exact(&mut first)
            .unwrap();
        assert_eq!(&first, b"HTTP/1.1 413");
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
        // One that sends all the same still hears it.
        let sent = vec![b'x'; 4 * 1024 * 1024];
        let answer = world.ask(line, &fields, &sent);
        assert_eq!(answer.status, 413);
        assert!(answer.text().contains(&text) && answer.text().contains("hint:"));
    }
}

#[test]
fn a_gzip_bomb_ends_in_words() {
    let (world, token, commit) = pushed();
    let auth = ("Authorization", token.as_str());
    let line = format!("0032want {commit}\n").into_bytes();
    let lines = |count: usize| std::iter::repeat_n(line.repeat(1000), count);
    let bomb = gzip(lines(4000)); // 200 MB
    assert!(bomb.len() < 2_000_000);
    let began = Instant::now();
    let answer = world.ask(FETCH, &[auth, FETCH_TYPE, GZIP], &bomb);
    assert_eq!(
        answer.text(),
        "0034ERR the request is larger than this server takes"
    );
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let damaged = &bomb[..bomb.len() / 100];
    let answer = world.ask(FETCH, &[auth, FETCH_TYPE, GZIP], damaged);
    assert!(
        answer.text().contains("ERR the request's gzip is damaged"),
        "{}",
        answer.text()
    );

    // A push of as much: git has a limit of its own for the pack, and says so.
    let update = format!(
        "{} {commit} refs/heads/bomb\0report-status side-band-64k",
        "0".repeat(40)
    );
    let mut start = format!("{:04x}{update}0000", update.len() + 4).into_bytes();
    start.extend(b"PACK\0\0\0\x02\0\0\0\x01");
    // A blob of 2^34 bytes and its zeros, which are stored and not deflated: nonsense after that.
    start.extend([0xb0, 0x80, 0x80, 0x80, 0x80, 0x01]);
    let zeros = std::iter::repeat_n(vec![0; 1 << 20], 64);
    let bomb = gzip(std::iter::once(start).chain(zeros));
    let answer = world.ask(PUSH, &[auth, PUSH_TYPE, GZIP], &bomb);
    let said = answer.text();
    assert!(
        said.contains("unpack") && !said.contains("unpack ok"),
        "{said}"
    );
    let listed = world.git(
        ".",
        &[
            "ls-remote",
            &world.path("repos/tienda.git").display().to_string(),
        ],
    );
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("bomb"));
}

#[test]
fn garbage_is_answered_in_words() {
    let (world, token, _) = pushed();
    let auth = ("Authorization", token.as_str());
    for garbage in [&b"zzzz"[..], b"0003", b"\0\0\0\0", b"GET / HTTP/1.1"] {
        for (line, kind) in [(FETCH, FETCH_TYPE), (PUSH, PUSH_TYPE)] {
            let answer = world.ask(line, &[auth, kind], garbage);
            let said = answer.text();
            assert!(
                answer.status == 200 && said.contains("ERR fatal: protocol error: bad line length"),
                "{line} {garbage:?}: {said}"
            );
        }
    }
}

#[test]
fn a_pack_that_is_too_large_is_refused_by_git_and_leaves_nothing() {
    let (world, token, _) = pushed();
    let objects = world.path("repos/tienda.git/objects");
    let files = || {
        let mut all = 0;
        let mut folders = vec![objects.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                all += 1;
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        all
    };
    let before = files();
    world.project("large", 2 * MAX_PACK as usize);
    let remote = format!("http://{}/git/tienda.git", world.address);
    for buffer in ["http.postBuffer=1m", "http.postBuffer=100m"] {
        let header = format!("http.extraHeader=Authorization: {token}");
        let words = ["-c", buffer, "-c", &header, "push", &remote, "main:large"];
        let pushed = world.git("large", &words);
        let shown = String::from_utf8_lossy(&pushed.stderr).into_owned();
        assert!(!pushed.status.success());
        assert!(
            shown.contains("pack exceeds maximum allowed size"),
            "{shown}"
        );
        assert_eq!(files(), before, "{buffer}");
    }
}
