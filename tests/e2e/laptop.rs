//! The same words from a laptop: the real binary in a work tree, the user's own ssh, a real sshd.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::project::Project;
use crate::sshd::Sshd;
use crate::world::{BINARY, World, free_port, text};

/// A laptop with a key.
struct Laptop<'a> {
    sshd: &'a Sshd,
    key: &'static str,
}

impl Laptop<'_> {
    /// What git and zarpar start; the test's account is not called `zarpar`, as a server's is.
    fn ssh(&self) -> String {
        let client = self.sshd.client(self.key).join(" ");
        format!("{client} -l {}", self.sshd.user)
    }

    fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env_remove("ZARPAR_DATA")
            .env("GIT_SSH_COMMAND", self.ssh())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    fn zarpar(&self, folder: &Path, words: &[&str]) -> Output {
        self.command(BINARY, folder).args(words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, folder: &Path, words: &[&str]) -> String {
        let output = self.zarpar(folder, words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, folder: &Path, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(folder, words)).unwrap()
    }

    #[track_caller]
    fn refused(&self, folder: &Path, words: &[&str], code: i32, says: &[&str]) {
        let output = self.zarpar(folder, words);
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {shown}");
        for says in says {
            assert!(
                shown.contains(says),
                "{words:?}: `{says}` is not in:\n{shown}"
            );
        }
    }

    /// Words whose standard input is a file.
    #[track_caller]
    fn with_input(&self, folder: &Path, words: &[&str], input: &Path) -> String {
        let mut command = self.command(BINARY, folder);
        let input = fs::File::open(input).unwrap();
        let output = command.args(words).stdin(input).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn words_are_said_in_a_work_tree_as_on_the_server() {
    let usual = Path::new("/var/lib/zarpar/run/control.sock");
    assert!(!usual.exists(), "the server of this machine would be asked");
    let (mut world, sshd) = Sshd::start();
    world.serve();
    for app in ["tienda", "otra"] {
        world.ok(&["apps", "create", app]);
    }
    let boss = sshd.key("boss");
    world.ok(&[
        "keys",
        "add",
        "boss",
        boss.to_str().unwrap(),
        "--role",
        "admin",
    ]);
    let laptop = Laptop {
        sshd: &sshd,
        key: "boss",
    };
    let project = Project::tiny(&world, "site", "1");
    project.write("start.py", "print('zarpado', flush=True)\n");
    project.commit("it says so");
    project.git(&["remote", "add", "production", "zarpar@server:tienda"]);
    let tree = project.folder.as_path();

    for version in ["1", "2"] {
        project.write("VERSION", version);
        project.commit(version);
        let push = laptop
            .command("git", tree)
            .args(["push", "-q", "production", "main"])
            .output()
            .unwrap();
        assert!(push.status.success(), "{}", text(&push));
    }
    // Also from below.
    fs::create_dir(tree.join("inside")).unwrap();
    let rolled = laptop.ok(&tree.join("inside"), &["rollback"]);
    assert!(rolled.contains("v3 is live"), "{rolled}");
    assert_eq!(world.get("tienda.localhost", "/").text(), "1\n");

    let listed = laptop.ok(tree, &["apps", "list", "--json"]);
    assert_eq!(listed, world.ok(&["apps", "list", "--json"]));
    assert_eq!(
        laptop.ok(tree, &["releases"]),
        world.ok(&["releases", "tienda"])
    );
    assert_eq!(
        laptop.json(tree, &["deployments", "--json"])[0]["by"],
        "ssh:boss"
    );
    assert!(laptop.ok(tree, &["logs", "-n", "5"]).contains("zarpado"));
    assert!(laptop.ok(tree, &["ps"]).contains("web"));
    laptop.ok(tree, &["domains", "add", "www.tienda.localhost"]);
    assert!(
        laptop
            .ok(tree, &["domains", "list"])
            .contains("www.tienda.localhost")
    );

    values_arrive_exactly(&world, &laptop, &project);
    commands_run_and_give_their_code(&laptop, &project);
    a_terminal_is_one_on_both_sides(&laptop, tree);
    remotes_are_chosen(&world, &laptop, &project);
}

fn values_arrive_exactly(world: &World, laptop: &Laptop<'_>, project: &Project) {
    let tree = project.folder.as_path();
    let canary = world.path("canary");
    let value = format!(
        "it's \"$(touch {0})\" `touch {0}`; \\ ñ $HOME -- *",
        canary.display()
    );
    laptop.ok(
        tree,
        &[
            "env",
            "set",
            "--no-restart",
            &format!("A={value}"),
            "B=",
            "C=--data /etc",
        ],
    );
    let env = |name: &str| world.json(&["env", "list", "tienda", "--json"])[name].clone();
    assert_eq!(
        (env("A"), env("B"), env("C")),
        (json!(value), json!(""), json!("--data /etc"))
    );
    assert!(!canary.exists());
    laptop.refused(
        tree,
        &["env", "set", "A=1\n2"],
        2,
        &["the word 4 ", "hint: send it through standard input"],
    );
    // Files are the laptop's, and hold what words cannot.
    project.write("vars", "A=\"1\n2\"\n");
    laptop.ok(tree, &["env", "import", "vars", "--no-restart"]);
    assert_eq!(env("A"), json!("1\n2"));
    project.write("vars", "A=3\n");
    laptop.with_input(tree, &["env", "import", "--no-restart"], &tree.join("vars"));
    assert_eq!(env("A"), json!("3"));
    let other = laptop.sshd.key("other");
    laptop.ok(
        tree,
        &[
            "keys",
            "add",
            "other",
            other.to_str().unwrap(),
            "--app",
            "otra",
        ],
    );
    assert!(laptop.ok(tree, &["keys", "list"]).contains("other"));
    laptop.refused(
        tree,
        &["env", "import", "nowhere"],
        1,
        &["cannot read `nowhere`"],
    );
    project.write("cert", "no PEM");
    laptop.refused(
        tree,
        &["certificates", "add", "cert", "vars"],
        1,
        &["certificate", "hint:"],
    );
    // The server says what a role may not.
    let other = Laptop {
        sshd: laptop.sshd,
        key: "other",
    };
    other.refused(tree, &["env", "list"], 1, &["hint:"]);
}

fn commands_run_and_give_their_code(laptop: &Laptop<'_>, project: &Project) {
    let tree = project.folder.as_path();
    laptop.refused(
        tree,
        &["run", "--", "sh", "-c", "echo uno; echo dos >&2; exit 7"],
        7,
        &["uno\n", "dos\n"],
    );
    project.write("data", &"línea\n".repeat(50_000));
    let said = laptop.with_input(tree, &["run", "--", "cat"], &tree.join("data"));
    assert!(said == "línea\n".repeat(50_000), "{} bytes", said.len());
    laptop.refused(
        tree,
        &["logs", "otra"],
        2,
        &[
            "unexpected argument 'otra'",
            "the words go to `tienda` on `zarpar@server`",
        ],
    );
    laptop.refused(tree, &["apps", "destroy"], 2, &["no terminal to ask"]);
}

fn a_terminal_is_one_on_both_sides(laptop: &Laptop<'_>, tree: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/laptop/terminal.py");
    for (how, end) in [
        ("talk", "ended: 5"),
        ("cut", "ended: 137"),
        ("hangup", "ended: 129"),
    ] {
        let mut command = laptop.command("python3", tree);
        let output = command
            .arg(&script)
            .args([how, BINARY, "run", "--", "sh"])
            .output()
            .unwrap();
        let shown = text(&output);
        assert!(
            shown.ends_with(&format!("raw: True, {end}, as before: True\n")),
            "{how}: {shown}"
        );
    }
}

fn remotes_are_chosen(world: &World, laptop: &Laptop<'_>, project: &Project) {
    let tree = project.folder.as_path();
    let name = |words: &[&str]| {
        laptop.json(tree, &[words, &["apps", "info", "--json"]].concat())["name"].clone()
    };
    let config = fs::read_to_string(world.path("sshd/ssh_config")).unwrap();
    let mut lines = config.lines().map(str::trim);
    let port = lines.find_map(|line| line.strip_prefix("Port ")).unwrap();
    let staging = format!("ssh://zarpar@server:{port}/otra");
    project.git(&["remote", "add", "staging", &staging]);
    project.git(&["remote", "add", "origin", "git@forge.example:yo/tienda.git"]);
    assert_eq!(name(&[]), "tienda");
    let info = |option: [&str; 2]| {
        laptop.json(tree, &["apps", "info", "--json", option[0], option[1]])["name"].clone()
    };
    assert_eq!(info(["--remote", "staging"]), "otra");
    assert_eq!(info(["--app", "otra"]), "otra");
    // The branch's remote goes first.
    project.git(&["config", "branch.main.remote", "staging"]);
    assert_eq!(name(&[]), "otra");
    project.git(&["config", "--unset", "branch.main.remote"]);
    // `production` may be a host of the configuration of ssh, without a user; a remote by HTTP
    // beside it changes nothing.
    let web = "https://server/git/tienda.git";
    project.git(&["remote", "add", "web", web]);
    project.git(&["remote", "set-url", "production", "server:tienda"]);
    assert_eq!(name(&[]), "tienda");
    project.git(&["remote", "remove", "web"]);
    // Under another name it is only proposed.
    project.git(&["remote", "rename", "production", "live"]);
    project.git(&["remote", "rename", "staging", "kept"]);
    project.git(&["remote", "set-url", "kept", "/srv/kept"]);
    laptop.refused(tree, &["logs"], 2, &["<APP>", "say `--remote live`"]);
    project.git(&["remote", "rename", "kept", "staging"]);
    project.git(&["remote", "set-url", "staging", &staging]);
    project.git(&["remote", "rename", "live", "production"]);
    // A rewritten address counts as it does for a push.
    project.git(&["remote", "set-url", "production", "barco:tienda"]);
    project.git(&["config", "url.zarpar@server:.insteadOf", "barco:"]);
    assert_eq!(name(&[]), "tienda");
    project.git(&["remote", "rename", "production", "live"]);
    laptop.refused(
        tree,
        &["logs"],
        2,
        &["`live`, `staging`", "hint: say which with `--remote NAME`"],
    );
    laptop.refused(
        tree,
        &["logs", "--remote", "origin"],
        2,
        &["`origin` does not lead to an app"],
    );
    laptop.refused(
        tree,
        &["logs", "--remote", "nada"],
        2,
        &["expected a git remote `nada`", "hint: `git remote add"],
    );
    project.git(&[
        "remote",
        "set-url",
        "staging",
        "http://zp_secreto@127.0.0.1:7070/git/otra.git",
    ]);
    laptop.refused(
        tree,
        &["logs", "--remote", "staging"],
        2,
        &["is reached by HTTP", "hint: "],
    );
    // A server that does not answer, and one that does not know the key.
    let closed = format!("ssh://zarpar@server:{}/otra", free_port());
    project.git(&["remote", "set-url", "staging", &closed]);
    laptop.refused(
        tree,
        &["logs", "--remote", "staging"],
        255,
        &["hint: `ssh ", " -v -p "],
    );
    laptop.sshd.key("stranger");
    let stranger = Laptop {
        sshd: laptop.sshd,
        key: "stranger",
    };
    stranger.refused(
        tree,
        &["logs", "--remote", "live"],
        255,
        &["Permission denied", "hint: "],
    );

    // Without a work tree the words are for this machine, which has no server.
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    laptop.refused(
        &empty,
        &["apps", "list"],
        1,
        &["expected `zarpar serve` to answer", "`zarpar@HOST:APP`"],
    );
    laptop.refused(&empty, &["logs"], 2, &["<APP>", "`zarpar@HOST:APP`"]);
    laptop.refused(
        &empty,
        &["logs", "--remote", "x"],
        2,
        &["inside a git work tree"],
    );
    // A server that is named goes before the work tree, where APP is said.
    let here = world.cli(&["apps", "info", "--app", "otra", "--json"]);
    assert!(here.status.success(), "{}", text(&here));
    let missing = world.cli(&["logs"]);
    assert!(
        text(&missing).contains("`--remote NAME` says"),
        "{}",
        text(&missing)
    );
}
