//! The clients people push with, over HTTP: git in each version of its protocol, dulwich, and
//! libgit2 by pygit2. What they may, what they are told, and that no token is written down.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::http;
use crate::project::Project;
use crate::world::{World, text};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HOST: &str = "app.localhost";

/// Runs `clients.py` with the libraries that `scripts/setup --test` put there.
fn library(words: &[&str]) -> Output {
    let libraries = Path::new(ROOT).join("target/clients");
    assert!(
        libraries.join("dulwich").exists() && libraries.join("pygit2").exists(),
        "no git clients in `{}`\nhint: scripts/setup --test",
        libraries.display()
    );
    Command::new("python3")
        .arg(Path::new(ROOT).join("tests/e2e/clients.py"))
        .args(words)
        .env("PYTHONPATH", libraries)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A client: how it pushes `main` of a folder to a branch, and clones.
enum Client {
    Git(&'static str),
    Library(&'static str),
}

impl Client {
    fn push(&self, project: &Project, remote: &str, branch: &str) -> Output {
        match self {
            Client::Git(version) => {
                let protocol = format!("protocol.version={version}");
                let refspec = format!("main:{branch}");
                project.git(&["-c", &protocol, "push", remote, &refspec])
            }
            Client::Library(name) => {
                let folder = project.folder.to_str().unwrap();
                library(&["push", name, remote, folder, branch])
            }
        }
    }

    fn clone(&self, project: &Project, remote: &str, copy: &Path) -> Output {
        let copy = copy.to_str().unwrap();
        match self {
            Client::Git(version) => {
                let protocol = format!("protocol.version={version}");
                project.git(&["-c", &protocol, "clone", remote, copy])
            }
            Client::Library(name) => library(&["clone", name, remote, copy]),
        }
    }
}

#[test]
fn every_client_pushes_clones_and_shows_why_not() {
    let world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "0");
    let clients = [
        Client::Git("0"),
        Client::Git("1"),
        Client::Git("2"),
        Client::Library("dulwich"),
        Client::Library("pygit2"),
    ];
    for (number, client) in clients.iter().enumerate() {
        let version = number.to_string();
        project.write("VERSION", &version);
        let commit = project.commit(&version);
        let refused = client.push(&project, &remote, "dev");
        let shown = text(&refused);
        assert!(!refused.status.success(), "{number}: {shown}");
        for needed in [
            "`app` is deployed from the branch `main`, and the push is to `dev`",
            "hint: `git push REMOTE dev:main`",
        ] {
            assert!(
                shown.contains(needed),
                "{number}: `{needed}` is missing in:\n{shown}"
            );
        }
        let pushed = client.push(&project, &remote, "main");
        let shown = text(&pushed);
        assert!(pushed.status.success(), "{number}: {shown}");
        assert!(shown.contains("is live"), "{number}: {shown}");
        assert_eq!(world.get(HOST, "/").text().trim(), version);
        let copy = world.path(&format!("copy-{number}"));
        let cloned = client.clone(&project, &remote, &copy);
        assert!(cloned.status.success(), "{number}: {}", text(&cloned));
        let head = Command::new("git")
            .arg("-C")
            .arg(&copy)
            .args(["rev-parse", "HEAD"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&head.stdout).trim(), commit);
    }
    let by = world.json(&["deployments", "app", "--json"]);
    assert!(
        by.as_array()
            .unwrap()
            .iter()
            .all(|deployment| deployment["by"] == "token:app-token")
    );
    tokens_are_limited_and_nowhere_written_down(&world, &project, &remote);
}

/// On the same server, whose logs have seen every client by now.
fn tokens_are_limited_and_nowhere_written_down(world: &World, project: &Project, remote: &str) {
    let create = |words: &[&str]| {
        let printed = world.ok(&[&["tokens", "create"], words].concat());
        printed.trim().to_owned()
    };
    let reader = create(&["reader", "--app", "app", "--read-only", "--expires", "90d"]);
    let listed = world.json(&["tokens", "list", "--json"]);
    let listed = listed.as_array().unwrap();
    let listed = listed
        .iter()
        .find(|token| token["name"] == "reader")
        .unwrap();
    assert_eq!(
        (&listed["access"], &listed["apps"], &listed["expired"]),
        (&json!("read"), &json!(["app"]), &json!(false))
    );
    let shown = world.ok(&["tokens", "list"]);
    let end = listed["expires_at"].as_str().unwrap();
    assert!(shown.contains("ACCESS") && shown.contains(end), "{shown}");
    // Shown once, when it was made.
    let views = serde_json::to_string(listed).unwrap();
    for secret in [reader.as_str(), reader.trim_start_matches("zarpar_")] {
        assert!(
            !shown.contains(secret) && !views.contains(secret),
            "a token is in the list"
        );
    }
    for (wrong, says) in [("90", "`90`"), ("0d", "`0d`"), ("5000d", "at most `3650d`")] {
        let refused = world.cli(&["tokens", "create", "x", "--expires", wrong]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused).contains(says), "{}", text(&refused));
    }
    let pushed = Client::Git("2").push(project, &world.remote(&reader, "app"), "main");
    assert!(
        text(&pushed).contains("the token `reader` may clone and fetch, not push"),
        "{}",
        text(&pushed)
    );
    let cloned = Client::Git("2").clone(project, &world.remote(&reader, "app"), &world.path("r"));
    assert!(cloned.status.success(), "{}", text(&cloned));
    world.ok(&["tokens", "revoke", "reader"]);
    let wrong = "zarpar_wrongwrongwrongwrongwrongwrongwrongwrong";
    for token in [&reader, wrong] {
        let refused = project.git(&["ls-remote", &world.remote(token, "app")]);
        let shown = text(&refused);
        assert!(shown.contains("expected a token of this server"), "{shown}");
    }
    // In a URL it opens nothing, and is not written down either.
    let right = remote
        .split("//")
        .nth(1)
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    let path = format!("/git/app.git/info/refs?service=git-upload-pack&token={right}");
    let asked = http::get(world.console, "localhost", &path).unwrap();
    assert_eq!(asked.status, 401);
    for place in [
        "/git/app.git/HEAD",
        "/git/app.git/config",
        "/git/app.git/objects/info/packs",
    ] {
        assert_eq!(
            http::get(world.console, "localhost", place).unwrap().status,
            404
        );
    }
    let mut written = fs::read_to_string(world.log()).unwrap();
    let mut folders = vec![world.data().join("logs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                written.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
            }
        }
    }
    assert!(written.contains("is live"), "what is written: {written}");
    for secret in [right, &reader, wrong] {
        assert!(!written.contains(secret), "a token is in a log");
    }
    // The store has a hash of it alone.
    let mut looked_at = 0;
    for entry in fs::read_dir(world.data().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let kept = fs::read(&path).unwrap();
            looked_at += kept.len();
            let found = kept
                .windows(right.len())
                .any(|window| window == right.as_bytes());
            assert!(!found, "a token is in {}", path.display());
        }
    }
    assert!(looked_at > 0);
}
