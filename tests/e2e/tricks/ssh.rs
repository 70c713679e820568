//! Over a real sshd: pushes with git's own client, and an environment of the client's choice.
//! What is said instead of git's commands is tried in `ssh::tricks`.

use super::watch::Watch;
use crate::sshd::Sshd;
use crate::world::{World, text};

pub fn pushes_are_refused(world: &World, sshd: &Sshd, watch: &Watch) {
    let key = sshd.key("dev");
    world.ok(&["keys", "add", "dev", key.to_str().unwrap(), "--app", "app"]);
    let tree = world.path("site");
    let before = world.json(&["deployments", "app", "--json"]);
    let git = |words: &[&str]| sshd.git("dev", &tree, words).output().unwrap();
    for name in ["--upload-pack=x", "$(id)", "`id`", "a;b", "x/-rf"] {
        let refused = git(&["push", "server:app", &format!("main:refs/heads/{name}")]);
        watch.refused(name, &refused, &["is deployed from the branch `main`"]);
    }
    let option = format!("--push-option={}", watch.tricks()[0]);
    let refused = git(&["push", &option, "server:app", "main"]);
    watch.refused(
        "a push option",
        &refused,
        &["does not support push options"],
    );
    // Every one of them is tried in words; a connection takes its time.
    for trick in watch.tricks().iter().step_by(3) {
        // git's client itself sends no path that looks like an option.
        let says = [
            "no app of this name",
            "strange pathname",
            "expected a command of one line",
        ];
        let refused = git(&["ls-remote", "--", &format!("server:{trick}")]);
        watch.refused(&format!("ls-remote {trick:?}"), &refused, &says);
    }
    assert_eq!(world.json(&["deployments", "app", "--json"]), before);

    // sshd of the test accepts these, as some servers do; nothing changes by them.
    let touch = watch.tricks()[4].trim_start_matches("&& ").to_owned();
    let env = [
        "GIT_SSH_COMMAND",
        "GIT_EXEC_PATH",
        "GIT_DIR",
        "GIT_CONFIG_GLOBAL",
        "GIT_PROTOCOL",
        "ZARPAR_DATA",
        "ZARPAR_APP",
        "ZARPAR_BY",
    ];
    let send = format!("SendEnv={}", env.join(" "));
    for said in ["apps list", "git-upload-pack 'app'"] {
        let mut plain = sshd.command("dev", &["-T"], &[said]);
        let mut command = sshd.command("dev", &["-T", "-o", &send], &[said]);
        command.envs(env.map(|name| (name, &touch)));
        let (plain, changed) = (plain.output().unwrap(), command.output().unwrap());
        assert_eq!(text(&plain), text(&changed), "{said}");
        watch.check(said, text(&changed).as_bytes());
    }
}
