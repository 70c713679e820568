//! Smart HTTP, with requests that no git client would send.

use base64::Engine as _;

use super::watch::Watch;
use crate::http::{self, Answer};
use crate::world::World;

/// `git hash-object` of an empty pack: its header and the SHA-1 of it.
const EMPTY_PACK: &[u8] = b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e";

fn authorization(token: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{token}:"));
    format!("Basic {pair}")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

pub fn paths_are_refused(world: &World, watch: &Watch, token: &str) {
    let authorization = authorization(token);
    let get = |path: &str| {
        let headers = [("Authorization", authorization.as_str())];
        http::request(world.console, "GET", "localhost", path, &headers, b"").unwrap()
    };
    let info = "/info/refs?service=git-upload-pack";
    let mut names: Vec<String> = watch.tricks().iter().map(|trick| encoded(trick)).collect();
    names.extend(
        [
            "..%2f..%2fdata%2frepos%2fapp.git",
            "..%2fapp.git",
            "%2e%2e%2fapp.git",
            "app.git%00",
            "app%00.git",
            "app.git%2fobjects",
            "app.git%2f..%2fapp.git",
            "App.git",
            "app.git.git",
            "-app.git",
            "app%0a.git",
            "app.git%0d%0aX-Evil:%201",
            "%ff.git",
            ".git",
        ]
        .map(str::to_owned),
    );
    for name in names {
        let path = format!("/git/{name}{info}");
        let answer = get(&path);
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        if answer.status == 404 {
            assert!(
                answer.text().contains("opens no app of this name"),
                "{path}: {answer:?}"
            );
        }
        assert!(!answer.head.contains("X-Evil"), "{path}");
        watch.check(&path, &answer.body);
    }
    // Of the repository itself there is nothing to read but what the services say.
    for path in [
        "/git/app.git/config",
        "/git/app.git/HEAD",
        "/git/app.git/objects/info/packs",
        "/git/app.git/../../zarpar.key",
        "/git/..%2f..%2fzarpar.key",
        "/git/../../zarpar.key",
        "/git/%2e%2e/%2e%2e/zarpar.key",
        "//etc/passwd",
    ] {
        let answer = get(path);
        assert!([404, 405].contains(&answer.status), "{path}: {answer:?}");
        watch.check(path, &answer.body);
    }
    for service in [
        "git-upload-archive",
        "git-receive-pack;id",
        "git-shell",
        "--help",
        "git-upload-pack%0a",
        "",
    ] {
        let path = format!("/git/app.git/info/refs?service={service}");
        let answer = get(&path);
        assert_eq!(answer.status, 403, "{path}");
        assert!(
            answer.text().contains("expected a git client"),
            "{path}: {answer:?}"
        );
        watch.check(&path, &answer.body);
    }
    // What the client says of the protocol is one of three texts, or nothing.
    for protocol in watch
        .tricks()
        .iter()
        .filter(|trick| !trick.contains(['\n', '\u{1b}']))
    {
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Git-Protocol", protocol),
        ];
        let path = format!("/git/app.git{info}");
        let answer =
            http::request(world.console, "GET", "localhost", &path, &headers, b"").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.body.starts_with(b"001e# service=git-upload-pack\n"),
            "{answer:?}"
        );
        watch.check(protocol, &answer.body);
    }
    // Tokens that are no tokens; from the tenth on an address has to wait.
    for trick in watch.tricks() {
        let headers = [("Authorization", &*self::authorization(&trick))];
        let path = format!("/git/app.git{info}");
        let answer =
            http::request(world.console, "GET", "localhost", &path, &headers, b"").unwrap();
        let said = answer.text();
        assert!([401, 403, 429].contains(&answer.status), "{answer:?}");
        let words = ["expected a token", "too many wrong tokens"];
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
        watch.check(&trick, &answer.body);
    }
}

/// A push of a commit that is there already to any reference at all, as bytes.
fn push(world: &World, token: &str, lines: &[(&str, &str, &str)], options: Option<&str>) -> Answer {
    let mut body = Vec::new();
    let wants = if options.is_some() {
        " push-options"
    } else {
        ""
    };
    let mut capabilities = format!("\0report-status side-band-64k{wants} agent=x");
    for (old, new, reference) in lines {
        let line = format!("{old} {new} {reference}{capabilities}");
        body.extend(format!("{:04x}{line}", line.len() + 4).bytes());
        capabilities.clear();
    }
    body.extend(b"0000");
    if let Some(option) = options {
        body.extend(format!("{:04x}{option}0000", option.len() + 4).bytes());
    }
    body.extend(EMPTY_PACK);
    let authorization = authorization(token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/x-git-receive-pack-request"),
    ];
    let path = "/git/app.git/git-receive-pack";
    http::request(world.console, "POST", "localhost", path, &headers, &body).unwrap()
}

/// What a client shows after `remote:`: the second band of gitprotocol-pack(5).
fn told(mut body: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((length, rest)) = body.split_at_checked(4) {
        let length = usize::from_str_radix(std::str::from_utf8(length).unwrap(), 16).unwrap();
        let (line, after) = rest.split_at(length.saturating_sub(4));
        if let [2, said @ ..] = line {
            text.extend_from_slice(said);
        }
        body = after;
    }
    String::from_utf8(text).unwrap()
}

pub fn references_are_refused(world: &World, watch: &Watch, token: &str, commit: &str) {
    let null = "0".repeat(40);
    let before = world.json(&["deployments", "app", "--json"]);
    let mut references: Vec<String> = watch.tricks();
    references.extend(
        watch
            .tricks()
            .iter()
            .map(|trick| format!("refs/heads/{trick}")),
    );
    let more = [
        "refs/heads/../../config",
        "refs/heads/main.lock",
        "refs/zarpar/releases/v9",
        "HEAD",
        "config",
        "hooks/pre-receive",
        "refs/heads/main\u{1b}[2J",
        "refs/heads/main ",
        "refs/heads/a..b",
        "refs/heads/@{0}",
    ];
    references.extend(more.map(str::to_owned));
    // A line of its own for the hook, that would move the deploy branch after all.
    references.push(format!("refs/heads/x\n{null} {commit} refs/heads/main"));
    for reference in &references {
        let answer = push(world, token, &[(&null, commit, reference)], None);
        let said = answer.text();
        let what = format!("a push to {reference:?}");
        // git's own words for what it never gives to a hook, or ours.
        let words = [
            "is deployed from the branch `main`",
            "expected one branch in a push",
            "funny refname",
            "protocol error",
            "called the hook in an unexpected way",
            "refusing to",
        ];
        assert!(
            words.iter().any(|words| said.contains(words)),
            "{what}: {answer:?}"
        );
        assert!(!said.contains("ok refs/"), "{what}: {answer:?}");
        let told = told(&answer.body);
        assert!(!told.contains('\u{1b}'), "{what}: {told:?}");
        watch.check(&what, &answer.body);
    }
    let options = push(
        world,
        token,
        &[(&null, commit, "refs/heads/x")],
        Some(&watch.tricks()[0]),
    );
    let said = options.text();
    assert!(!said.contains("ok refs/"), "{options:?}");
    watch.check("push options", &options.body);
    assert_eq!(world.json(&["deployments", "app", "--json"]), before);
    let refs = std::fs::read_dir(world.data().join("repos/app.git/refs/heads")).unwrap();
    let refs: Vec<_> = refs.map(|entry| entry.unwrap().file_name()).collect();
    assert!(refs.iter().all(|name| name == "main"), "{refs:?}");
}
