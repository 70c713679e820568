//! Everything that comes by SSH, through a real sshd: git, zarpar's words, and what must not.

mod other_user;
mod tricks;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output, Stdio};

use crate::project::Project;
use crate::sshd::Sshd;
use crate::world::{World, text, until};

#[track_caller]
fn succeeded(output: &Output) -> String {
    let shown = text(output);
    assert!(output.status.success(), "{shown}");
    shown
}

#[track_caller]
fn refused(output: &Output, says: &str) -> String {
    let shown = text(output);
    assert!(!output.status.success(), "{shown}");
    assert!(shown.contains(says), "`{says}` is missing in:\n{shown}");
    shown
}

fn add(world: &World, sshd: &Sshd, name: &str, options: &[&str]) -> String {
    let file = sshd.key(name);
    let file = file.to_str().unwrap();
    world.ok(&[&["keys", "add", name, file], options].concat())
}

#[test]
fn git_and_words_come_by_ssh_and_nothing_else_does() {
    let (mut world, sshd) = Sshd::start();
    let file = sshd.file();
    // The admin's own lines, with no end of the last one.
    let admin = "# ours\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0cOaEDZmKS0gojFpWWm1N8TvueNWCyu0BR7P0AEPag admin@desk";
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&file, admin).unwrap();
    world.serve();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        admin,
        "nothing to say yet"
    );
    world.ok(&["apps", "create", "tienda"]);
    world.ok(&["apps", "create", "blog", "--branch", "prod"]);
    add(&world, &sshd, "dev", &["--app", "tienda"]);
    add(
        &world,
        &sshd,
        "ops",
        &["--app", "tienda", "--role", "operate"],
    );
    let file_of_key = sshd.key("blogger");
    let key = file_of_key.to_str().unwrap();
    let added = world.cli(&["keys", "add", "blogger", key, "--app", "blog"]);
    let shown = succeeded(&added);
    assert!(shown.contains("git push production prod\n"), "{shown}");
    add(&world, &sshd, "boss", &["--role", "admin"]);

    let about = fs::metadata(&file).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o600);
    assert_eq!(about.uid(), rustix::process::geteuid().as_raw());
    let lines = fs::read_to_string(&file).unwrap();
    assert!(
        lines.starts_with(&format!("{admin}\nrestrict,command=\"")),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 2 + 4, "{lines}");

    keys_are_refused_in_words(&world, &sshd);
    pushes(&world, &sshd);
    words(&world, &sshd);
    limits(&world, &sshd);
    tricks::tricks(&world, &sshd);
    clients_that_go_away(&world, &sshd);
    a_removed_key(&mut world, &sshd);
}

fn keys_are_refused_in_words(world: &World, sshd: &Sshd) {
    let before = fs::read_to_string(sshd.file()).unwrap();
    let dev = sshd.key("dev");
    let private = dev.with_extension("");
    let add = |name: &str, input: &str| {
        let path = world.path("given");
        fs::write(&path, input).unwrap();
        world.cli(&["keys", "add", name, path.to_str().unwrap()])
    };
    let secret = fs::read_to_string(&private).unwrap();
    let shown = refused(&add("eva", &secret), "PRIVATE key");
    assert!(!shown.contains(secret.lines().nth(1).unwrap()), "{shown}");
    let public = fs::read_to_string(&dev).unwrap();
    refused(&add("eva", &public), "here already, as `dev`");
    refused(
        &add("dev", &fs::read_to_string(sshd.key("eva")).unwrap()),
        "exists already",
    );
    // A comment that would be a second line of the file.
    let two = format!("{} x\ncommand=\"id\" {public}", public.trim());
    refused(&add("eva", &two), "expected one key on one line");
    refused(&add("eva", &format!("no-pty {public}")), "without options");
    refused(&add("../x", &public), "1 to 63 lower-case letters");
    assert_eq!(fs::read_to_string(sshd.file()).unwrap(), before);
    let listed = world.json(&["keys", "list", "--json"]);
    let dev_view = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["name"] == "dev")
        .unwrap();
    let shown = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&dev)
        .output()
        .unwrap();
    assert!(text(&shown).contains(dev_view["fingerprint"].as_str().unwrap()));
    assert_eq!(dev_view["role"], "deploy");
    assert_eq!(dev_view["apps"], serde_json::json!(["tienda"]));
}

fn pushes(world: &World, sshd: &Sshd) {
    let project = Project::tiny(world, "site", "1");
    let push = |words: &[&str]| sshd.git("dev", &project.folder, words).output().unwrap();
    // The two ways to write the address.
    let shown = succeeded(&push(&["push", "server:tienda", "main"]));
    assert!(
        shown.contains("remote: ") && shown.contains("v1 is live"),
        "{shown}"
    );
    project.write("VERSION", "2");
    project.commit("2");
    let address = format!("ssh://{}@server/tienda.git", sshd.user);
    let shown = succeeded(&push(&["push", &address, "main"]));
    assert!(shown.contains("v2 is live"), "{shown}");
    assert_eq!(world.newest("tienda")["by"], "ssh:dev");

    let refusal = refused(
        &push(&["push", "server:tienda", "main:other"]),
        "deployed from the branch `main`",
    );
    assert!(refusal.contains("remote:  !     hint:"), "{refusal}");
    // A deployment that fails is a push that fails.
    project.write("start.py", "sys.exit(3)");
    project.commit("broken");
    refused(&push(&["push", "server:tienda", "main"]), "remote rejected");
    project.write("start.py", "");

    let clone = world.path("clone");
    for version in ["0", "1", "2"] {
        let mut git = sshd.git(
            "dev",
            world.folder.path(),
            &[
                "-c",
                &format!("protocol.version={version}"),
                "clone",
                "-q",
                "server:tienda",
            ],
        );
        let shown = succeeded(
            &git.arg(&clone)
                .env("GIT_TRACE_PACKET", "1")
                .output()
                .unwrap(),
        );
        let speaks = |version: &str| shown.contains(&format!("clone< version {version}"));
        assert_eq!(
            (speaks("1"), speaks("2")),
            (version == "1", version == "2"),
            "{shown}"
        );
        assert_eq!(fs::read_to_string(clone.join("VERSION")).unwrap(), "2");
        fs::remove_dir_all(&clone).unwrap();
    }
}

fn words(world: &World, sshd: &Sshd) {
    let shown = succeeded(&sshd.say("dev", "apps list"));
    assert!(
        shown.contains("tienda") && !shown.contains("blog"),
        "{shown}"
    );
    assert!(succeeded(&sshd.say("boss", "apps list")).contains("blog"));
    succeeded(&sshd.say("dev", "apps info tienda --json"));
    let shown = succeeded(&sshd.say("dev", "rollback tienda"));
    assert!(shown.contains(" is live"), "{shown}");
    assert_eq!(world.newest("tienda")["by"], "ssh:dev");
    succeeded(&sshd.say("dev", "logs tienda -n 5"));
    let help = succeeded(&sshd.say("dev", "help"));
    assert!(
        help.contains("rollback") && !help.contains("serve "),
        "{help}"
    );
    slips_of_the_pen(world, sshd);

    // Input, both outputs, and the exit code of a command.
    let script = "cat; echo err >&2; exit 7";
    let mut run = sshd
        .command("ops", &[], &[&format!("run tienda -- sh -c '{script}'")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(b"uno\n").unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(output.stdout, b"uno\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("err"));
    // A terminal in the container, although sshd gives none.
    let sized = sshd.say(
        "ops",
        "run tienda --tty --rows 33 --columns 77 -- sh -c 'until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done; tty; stty size'",
    );
    let shown = succeeded(&sized);
    assert!(
        shown.contains("/dev/pts/") && shown.contains("33 77"),
        "{shown}"
    );

    // Files are the client's.
    let mut import = sshd
        .command("ops", &[], &["env import tienda - --no-restart"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(b"A=1\n").unwrap();
    assert!(import.wait().unwrap().success());
    assert!(succeeded(&sshd.say("ops", "env list tienda")).contains('A'));
}

fn slips_of_the_pen(world: &World, sshd: &Sshd) {
    let before = world.newest("tienda")["id"].clone();
    for (said, says, hint) in [
        (
            "logs tienda --process nope",
            "there is no process `nope`; there is `web`",
            "`[processes]`",
        ),
        (
            "ps scale tienda wbe=3",
            "there is no process `wbe`; there is `web`",
            "did you mean `web`?",
        ),
        (
            "ps scale tienda web=0",
            "expected at least 1 container for `web`",
            "`zarpar maintenance on tienda`",
        ),
        (
            "deployments cancel",
            "expected the id of a deployment after `cancel`",
            "`zarpar deployments cancel ID`",
        ),
        (
            "deployments tienda follow",
            "expected the id of a deployment after `follow`",
            "`zarpar deployments tienda`",
        ),
    ] {
        let shown = refused(&sshd.say("boss", said), says);
        assert!(shown.contains(hint), "{shown}");
    }
    assert_eq!(world.newest("tienda")["id"], before, "nothing restarted");
}

fn limits(world: &World, sshd: &Sshd) {
    // Another app and one that does not exist are told in the same words.
    for said in [
        "rollback APP",
        "logs APP",
        "git-upload-pack 'APP'",
        "deployments APP",
        "ps APP",
    ] {
        let other = refused(
            &sshd.say("blogger", &said.replace("APP", "tienda")),
            "opens no app of this name",
        );
        let none = refused(
            &sshd.say("blogger", &said.replace("APP", "nothing")),
            "opens no app of this name",
        );
        assert_eq!(other.replace("tienda", "nothing"), none);
    }
    for (name, said, says) in [
        ("dev", "env set tienda A=2", "needs the role `operate`"),
        ("dev", "run tienda -- id", "needs the role `operate`"),
        ("dev", "ps scale tienda web=2", "needs the role `operate`"),
        (
            "ops",
            "apps destroy tienda --force",
            "needs the role `admin`",
        ),
        ("ops", "keys list", "needs the role `admin`"),
        ("ops", "tokens create x", "needs the role `admin`"),
        ("ops", "certificates list", "needs the role `admin`"),
    ] {
        refused(&sshd.say(name, said), says);
    }
    assert_eq!(
        world.json(&["env", "list", "tienda", "--json"]),
        serde_json::json!({ "A": "1" })
    );
    // An admin says the same words from afar, but opens no file of the server.
    let public = fs::read_to_string(sshd.key("eva")).unwrap();
    let mut add = sshd.command("boss", &[], &["keys add eva --app blog"]);
    let mut add = add
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    add.stdin
        .take()
        .unwrap()
        .write_all(public.as_bytes())
        .unwrap();
    assert!(add.wait().unwrap().success());
    succeeded(&sshd.say("eva", "apps list"));
    for said in [
        "env import tienda /etc/passwd",
        "keys add x /etc/passwd",
        "certificates add tienda /etc/passwd -",
    ] {
        refused(&sshd.say("boss", said), "a file would be the server's own");
    }
}

fn clients_that_go_away(world: &World, sshd: &Sshd) {
    let shells = || {
        let ours = world.data().display().to_string();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok())
            .filter(|line| {
                let line = String::from_utf8_lossy(line);
                line.contains("shell\0--key") && line.contains(&ours)
            })
            .count()
    };
    until("no shell to be left", 10, || (shells() == 0).then_some(()));
    let mut follow = sshd
        .command("dev", &[], &["logs tienda -f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the log to be followed", 10, || {
        (shells() == 1).then_some(())
    });
    follow.kill().unwrap();
    follow.wait().unwrap();
    until("the shell to end with its client", 10, || {
        (shells() == 0).then_some(())
    });

    // A push whose client is killed while it deploys ends live.
    let project = Project {
        folder: world.path("site"),
    };
    project.write("VERSION", "9");
    project.write("start.py", "import time; time.sleep(2)");
    let commit = project.commit("9");
    let mut push = sshd
        .git("dev", &project.folder, &["push", "server:tienda", "main"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = push.stderr.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("zarpar deploys") {
        let mut byte = [0];
        assert_eq!(
            errors.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    push.kill().unwrap();
    push.wait().unwrap();
    drop(errors);
    until("the deployment to end live", 60, || {
        let newest = world.newest("tienda");
        (newest["commit"] == commit.as_str() && newest["state"] == "live").then_some(())
    });
}

fn a_removed_key(world: &mut World, sshd: &Sshd) {
    let file = sshd.file();
    let with_dev = fs::read_to_string(&file).unwrap();
    world.ok(&["keys", "remove", "dev"]);
    let without = fs::read_to_string(&file).unwrap();
    assert_eq!(without.lines().count() + 1, with_dev.lines().count());
    refused(&sshd.say("dev", "apps list"), "Permission denied");
    // Its line put back by hand lets it in as far as our door.
    fs::write(&file, &with_dev).unwrap();
    for said in ["apps list", "git-upload-pack 'tienda'", ""] {
        refused(
            &sshd.say("dev", said),
            "the key `dev` opens nothing here any more",
        );
    }
    // The next start makes the file agree again.
    world.kill_serve();
    world.serve();
    assert_eq!(fs::read_to_string(&file).unwrap(), without);
    world.kill_serve();
    let down = refused(&sshd.say("boss", "apps list"), "zarpar does not answer");
    assert!(!down.contains("control.sock"), "{down}");
}
