//! Exactly three places exist, and what they say in each version of the protocol.

use crate::world::{World, basic};

#[test]
fn every_other_place_is_none() {
    let world = World::start();
    let token = basic(&world.pusher(), "");
    let ask = |line: &str| world.ask(line, &[("Authorization", &token)], b"");
    for line in [
        "GET /git/tienda.git/HEAD",
        "GET /git/tienda.git/config",
        "GET /git/tienda.git/objects/info/packs",
        "GET /git/tienda.git/objects/info/alternates",
        "GET /git/tienda.git/info/refs/",
        "GET /git/tienda.git/info/refs%3Fservice=git-upload-pack",
        "GET /git/tienda.git/",
        "GET /git/tienda.git",
        "GET /git/",
        "GET /git/../git/tienda.git/config",
        "GET /git/..%2Ftienda.git/info/refs?service=git-upload-pack",
        "GET /git/tienda.git/git-upload-pack",
        "GET /git/tienda.git/git-receive-pack",
        "POST /git/tienda.git/info/refs?service=git-upload-pack",
        "PUT /git/tienda.git/git-receive-pack",
        "POST /git/tienda.git/git-upload-archive",
        "POST /git/tienda.git/upload-pack",
    ] {
        assert_eq!(ask(line).status, 404, "{line}");
    }
    for query in [
        "",
        "?service=",
        "?service=git-upload-archive",
        "?service=git-upload-pack%00",
        "?x=1",
    ] {
        let answer = ask(&format!("GET /git/tienda.git/info/refs{query}"));
        assert_eq!(answer.status, 403, "{query}");
        assert!(answer.text().contains("hint: push with `git push`"));
    }
}

#[test]
fn a_request_that_no_git_client_makes_is_refused() {
    let world = World::start();
    let token = basic(&world.pusher(), "");
    for service in ["git-upload-pack", "git-receive-pack"] {
        let line = format!("POST /git/tienda.git/{service}");
        let right = format!("application/x-{service}-request");
        let types = [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/x-git-upload-pack-result",
        ];
        for content_type in types {
            let fields = [
                ("Authorization", token.as_str()),
                ("Content-Type", content_type),
            ];
            let answer = world.ask(&line, &fields, b"0000");
            assert_eq!(answer.status, 415, "{content_type}");
            assert!(answer.text().contains(&right));
        }
        for coding in ["br", "deflate", "gzip, gzip"] {
            let fields = [
                ("Authorization", token.as_str()),
                ("Content-Type", &right),
                ("Content-Encoding", coding),
            ];
            assert_eq!(world.ask(&line, &fields, b"0000").status, 415, "{coding}");
        }
    }
}

#[test]
fn each_version_of_the_protocol_begins_as_it_should() {
    let world = World::start();
    let token = world.pusher();
    let commit = world.project("site", 10);
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let branch = format!("main:refs/heads/v{version}");
        let remote = world.remote(&token);
        let pushed = world.git("site", &["-c", &protocol, "push", &remote, "main", &branch]);
        assert!(pushed.status.success(), "{pushed:?}");
        let copy = format!("copy-{version}");
        let cloned = world.git(".", &["-c", &protocol, "clone", "-q", &remote, &copy]);
        assert!(cloned.status.success(), "{cloned:?}");
        let head = world.git(&copy, &["rev-parse", "HEAD"]);
        assert_eq!(String::from_utf8_lossy(&head.stdout).trim(), commit);
    }
    let header = basic(&token, "");
    for (version, begins) in [
        ("", "001e# service=git-upload-pack\n0000"),
        ("version=0", "001e# service=git-upload-pack\n0000"),
        (
            "version=1",
            "001e# service=git-upload-pack\n0000000eversion 1\n",
        ),
        ("version=2", "000eversion 2\n"),
        (
            "version=2:--upload-pack=touch",
            "001e# service=git-upload-pack\n0000",
        ),
    ] {
        let line = "GET /git/tienda.git/info/refs?service=git-upload-pack&x=1";
        let fields = [
            ("Authorization", header.as_str()),
            ("Git-Protocol", version),
        ];
        let answer = world.ask(line, &fields, b"");
        assert!(
            answer.text().starts_with(begins),
            "{version}: {}",
            answer.text()
        );
        let told = (
            answer.header("content-type"),
            answer.header("cache-control"),
        );
        let expected = (
            Some("application/x-git-upload-pack-advertisement"),
            Some("no-cache"),
        );
        assert_eq!(told, expected);
    }
}
