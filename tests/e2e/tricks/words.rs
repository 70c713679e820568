//! Words of the command line.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::watch::Watch;
use crate::world::{BINARY, World, text};

/// In words that are parsed into names, before anything is asked.
pub fn are_refused(world: &World, watch: &Watch) {
    for trick in watch.tricks() {
        let trick = trick.as_str();
        let process = format!("--process={trick}");
        let branch = format!("--branch={trick}");
        let assignment = format!("{trick}=1");
        let words: [(&[&str], &str); 13] = [
            (&["apps", "create", "--", trick], "expected an app name"),
            (&["apps", "create", "x", &branch], "expected a branch name"),
            (&["apps", "info", "--", trick], "expected an app name"),
            (
                &["apps", "destroy", "--force", "--", trick],
                "expected an app name",
            ),
            (&["tokens", "create", "--", trick], "expected an app name"),
            (
                &["domains", "add", "x", "--", trick],
                "expected a host name",
            ),
            (&["logs", &process, "x"], "expected a process name"),
            (&["rollback", "x", "--", trick], "expected a release"),
            (&["deployments", "x", "follow", "--", trick], "expected"),
            (&["env", "set", "x", "--", &assignment], "expected"),
            (
                &["env", "unset", "x", "--", trick],
                "expected a variable name",
            ),
            (&["ps", "--", trick], "expected"),
            (&["ps", "scale", "x", "--", trick], "expected"),
        ];
        for (words, says) in words {
            let output = world.cli(words);
            watch.refused(&format!("{words:?}"), &output, &[says]);
            assert_eq!(output.status.code(), Some(2), "{words:?}");
        }
        let output = world.cli(&["certificates", "remove", "--", trick]);
        watch.refused("certificates remove", &output, &["no certificate"]);
    }
    assert_eq!(world.json(&["apps", "list", "--json"]), json!([]));
}

/// Where any text may stand, it names a commit or a branch, or nothing.
pub fn revisions_are_refused(world: &World, watch: &Watch) {
    let git = [
        "HEAD",
        "@",
        "main@{0}",
        "main^{/first}",
        ":/first",
        "main~0",
        "main:VERSION",
        "refs/zarpar/releases/v1",
        "--all",
        "-h",
        "",
        " main",
        "main\n--help",
    ];
    let tricks = watch.tricks();
    for revision in tricks.iter().map(String::as_str).chain(git) {
        let output = world.cli(&["deploy", "app", "--", revision]);
        let what = format!("deploy {revision:?}");
        watch.refused(&what, &output, &["has no commit or branch `"]);
        assert!(!text(&output).contains('\u{1b}'), "{what}");
    }
}

/// Values are nobody's words: the app gets them as they are.
pub fn values_arrive_as_they_are(world: &World, watch: &mut Watch) {
    let key = world.ok(&["run", "app", "--", "printenv", "SECRET_KEY"]);
    watch.secret("SECRET_KEY", key.trim());
    let all = watch.tricks().join("\n");
    let lines = format!(
        "TRICKS=\"{}\"\nLD_PRELOAD=\"/nowhere.so\"\nGIT_DIR=/nowhere\nZARPAR_DATA=/nowhere\nPASSWORD=un-secreto-bastante-largo\n",
        all.replace('\\', "\\\\").replace('"', "\\\"")
    );
    watch.secret("PASSWORD", "un-secreto-bastante-largo");
    let output = with_input(world, &["env", "import", "app", "--no-restart"], &lines);
    assert!(output.status.success(), "{}", text(&output));
    watch.check("env import", text(&output).as_bytes());
    let listed = world.json(&["env", "list", "app", "--json"]);
    assert_eq!(listed["TRICKS"], json!(all));

    let mut words = vec!["run", "app", "--", "python3", "args.py"];
    let tricks = watch.tricks();
    words.extend(tricks.iter().map(String::as_str));
    let output = world.cli(&words);
    let said: Vec<String> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    assert_eq!(said, tricks);
    watch.check("run", text(&output).as_bytes());
    let output = world.cli(&["run", "app", "--", &tricks[0]]);
    watch.refused("run", &output, &["touch"]);
}

fn with_input(world: &World, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(words)
        .env("ZARPAR_DATA", world.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}
