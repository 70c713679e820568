//! Pushes that are made to hurt: each refused in words within ten seconds, with little memory,
//! nothing left, and the next push works.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::http;
use crate::project::Project;
use crate::world::{World, text, until};

/// What a case is refused with.
const CASES: [(&str, &str); 22] = [
    ("truncated", "early EOF"),
    ("without-checksum", "early EOF"),
    ("garbage", "pack signature mismatch"),
    ("flipped", "unpack"),
    ("count", "unpacker error"),
    ("length-0003", "bad line length"),
    ("length-zzzz", "bad line length character: zzzz"),
    ("missing", "did not receive expected object"),
    ("references", "found 50 or more references"),
    ("tree-dotgit", "contains '.git'"),
    ("tree-dotgit-case", "contains '.git'"),
    ("tree-dotdot", "contains '..'"),
    ("tree-slash", "contains full pathnames"),
    ("tree-duplicate", "contains duplicate file entries"),
    ("tree-gitmodules", ".gitmodules is a symbolic link"),
    ("gitmodules-option", "disallowed submodule url"),
    ("message", "attempting to allocate"),
    (
        "expanded",
        "the files of the commit have more than 400.0 MiB",
    ),
    ("bomb", "more than 200000 files and folders"),
    ("deep", "is too deep"),
    ("gitlink", "`module` is a git submodule"),
    ("pack", "pack exceeds maximum allowed size"),
];
/// The issue's bound for git's memory, in KiB.
const MEMORY: u64 = 64 * 1024;

/// Runs git and writes down the peak memory of it and of everything it started.
const WRAPPER: &str = r#"#!/usr/bin/python3
import os, resource, subprocess, sys
done = subprocess.run([GIT, *sys.argv[1:]])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(LOG, "a") as log:
    log.write("%d %s\n" % (peak, " ".join(word for word in sys.argv[1:] if "=" not in word and word != "-c")))
sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)
"#;

struct Server {
    world: World,
    remote: String,
    authorization: String,
}

impl Server {
    /// A server whose git writes its memory down.
    fn start() -> Server {
        let mut world = World::bare();
        let mut config = fs::read_to_string(world.config()).unwrap();
        config += "[git]\nmax_pack = \"2m\"\nmax_expanded = \"400m\"\nreceive_time = \"15s\"\n";
        fs::write(world.config(), config).unwrap();
        let git = Command::new("sh")
            .args(["-c", "command -v git"])
            .output()
            .unwrap();
        let folder = world.path("bin");
        fs::create_dir(&folder).unwrap();
        let script = WRAPPER
            .replace("GIT", &format!("{:?}", text(&git).trim()))
            .replace("LOG", &format!("{:?}", world.path("memory")));
        fs::write(folder.join("git"), script).unwrap();
        fs::set_permissions(folder.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut serve = world.server_command("serve");
        serve.env("PATH", format!("{}:{path}", folder.display()));
        world.serve = Some(serve.spawn().unwrap());
        until("the console to answer", 60, || {
            http::get(world.console, "localhost", "/healthz").ok()
        });
        let remote = world.app("app", &[]);
        let (token, _) = remote["http://".len()..].split_once('@').unwrap();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{token}:"));
        Server {
            authorization: format!("Basic {basic}"),
            world,
            remote,
        }
    }

    fn repository(&self) -> PathBuf {
        self.world.data().join("repos/app.git")
    }

    /// Files that a push left.
    fn left(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for folder in ["objects", "objects/pack"] {
            for entry in fs::read_dir(self.repository().join(folder))
                .into_iter()
                .flatten()
            {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if !matches!(name, "pack" | "info") {
                    left.push(path);
                }
            }
        }
        left
    }

    /// The largest peak of git's processes so far, in KiB, and the command.
    fn peak(&self) -> (u64, String) {
        let log = fs::read_to_string(self.world.path("memory")).unwrap();
        let peaks = log.lines().map(|line| {
            let (peak, command) = line.split_once(' ').unwrap();
            (peak.parse().unwrap(), command.to_owned())
        });
        peaks.max().unwrap()
    }

    fn post(&self, body: &[u8]) -> http::Answer {
        let headers = [
            ("Authorization", self.authorization.as_str()),
            ("Content-Type", "application/x-git-receive-pack-request"),
        ];
        let path = "/git/app.git/git-receive-pack";
        http::request(
            self.world.console,
            "POST",
            "localhost",
            path,
            &headers,
            body,
        )
        .unwrap()
    }

    /// A push that stops in the middle and stays connected.
    fn stall(&self, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.world.console)).unwrap();
        let head = format!(
            "POST /git/app.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.authorization,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body[..body.len() / 2]).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }
}

#[test]
fn hostile_pushes_are_refused_in_words_cheaply_and_leave_nothing() {
    let server = Server::start();
    let world = &server.world;
    // A hook in the repository is nobody's business.
    let hooks = server.repository().join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    let ran = world.path("ran");
    fs::write(
        hooks.join("pre-receive"),
        format!("#!/bin/sh\ntouch {}\n", ran.display()),
    )
    .unwrap();
    fs::set_permissions(hooks.join("pre-receive"), fs::Permissions::from_mode(0o755)).unwrap();

    let folder = world.path("pushes");
    fs::create_dir(&folder).unwrap();
    let made = Command::new("python3")
        .arg("-c")
        .arg(include_str!("hostile/pushes.py"))
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));

    // What git says of these has a hint of ours behind it.
    let hinted = ["early EOF", "expected object", "contains '", "maximum"];
    let mut wrong = Vec::new();
    for (case, says) in CASES {
        let body = fs::read(folder.join(case)).unwrap();
        let began = Instant::now();
        let answer = server.post(&body);
        let took = began.elapsed();
        let said = answer.text();
        let hint = !hinted.iter().any(|words| says.contains(words)) || said.contains("hint:");
        if !said.contains(says) || said.contains("ok refs/") || !hint {
            wrong.push(format!("{case}: `{says}` is missing in {said:?}"));
        }
        assert!(took < Duration::from_secs(10), "{case} took {took:?}");
        until("the files of the push to be gone", 5, || {
            server.left().is_empty().then_some(())
        });
        let (peak, command) = server.peak();
        assert!(peak < MEMORY, "{case}: {peak} KiB for {command}");
        eprintln!("{case}: {took:?}");
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // 300 MB of zeros, by a real client, and what it shows.
    let project = Project::tiny(world, "site", "1");
    let large = fs::File::create(project.folder.join("zer\u{1b}[31mos")).unwrap();
    large.set_len(300_000_000).unwrap();
    project.commit("zeros");
    let began = Instant::now();
    let pushed = project.git(&["push", &server.remote, "main"]);
    let (took, shown) = (began.elapsed(), text(&pushed));
    assert!(!pushed.status.success());
    assert!(
        shown.contains(
            "remote:  !     the file `zer\\u{1b}[31mos` is too large: it has 286.1 MiB, and 256.0 MiB are allowed"
        ) && shown.contains("remote:  !     hint: take it out of the commit")
            && shown.contains("[remote rejected]"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(server.left().is_empty());

    // A client that stops has its time, and its place is free again.
    let body = fs::read(folder.join("pack")).unwrap();
    let mut stalled = server.stall(&body);
    let began = Instant::now();
    let mut said = Vec::new();
    stalled.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        said.contains("the push was not here within 15.0 s"),
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(30));
    until("what it sent to be gone", 5, || {
        server.left().is_empty().then_some(())
    });

    let (peak, command) = server.peak();
    eprintln!("git's largest peak: {peak} KiB for {command}");
    assert!(peak < MEMORY, "{peak} KiB for {command}");
    let none = serde_json::json!([]);
    assert_eq!(world.json(&["deployments", "app", "--json"]), none);

    // Options of a push are not announced, so a client sends none (CVE-2026-3854).
    let options = project.git(&["push", "-o", "a;b", &server.remote, "main"]);
    let shown = text(&options);
    assert!(shown.contains("does not support push options"), "{shown}");

    // And a good push works, after the files are taken out of the commit.
    project.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let pushed = project.push(&server.remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    assert_eq!(world.get("app.localhost", "/").text(), "1\n");
    assert!(!ran.exists(), "a hook in the repository ran");

    // Its commit stays findable for as long as its release is kept, and no client sees that.
    let kept = server.repository().join("refs/zarpar/releases/v1");
    let commit = text(&project.git(&["rev-parse", "main"]));
    until("the release to keep its commit", 10, || {
        (fs::read_to_string(&kept).ok()? == commit).then_some(())
    });
    let seen = text(&project.git(&["ls-remote", &server.remote]));
    assert!(
        seen.contains("refs/heads/main") && !seen.contains("zarpar"),
        "{seen}"
    );

    // Also after a force push and a repack that drops everything it may.
    project.write("VERSION", "2");
    project.git(&["commit", "-qa", "--amend", "-m", "another"]);
    let pushed = project.git(&["push", "--force", &server.remote, "main"]);
    assert!(pushed.status.success(), "{}", text(&pushed));
    for words in [["repack", "-adq"], ["prune", "--expire=now"]] {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(server.repository()).args(words);
        assert!(git.status().unwrap().success());
    }
    world.ok(&["deploy", "app", commit.trim()]);
    assert_eq!(world.get("app.localhost", "/").text(), "1\n");
}
