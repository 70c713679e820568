//! What is inside of a repository: authors, messages, names of files, hooks, configuration, tasks.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::watch::Watch;
use crate::project::Project;
use crate::world::{World, text};

const ARGUMENTS: &str = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n";

/// Pushes a project that is full of tricks; gives the commit.
pub fn is_deployed_as_it_is(world: &World, watch: &mut Watch, token: &str) -> String {
    let project = Project::tiny(world, "site", "1");
    let canary = watch.canary().display().to_string();
    // The token reaches git through a file, so that no process has it among its words.
    let remote = format!("http://127.0.0.1:{}/git/app.git", world.console);
    let credentials = world.path("credentials");
    fs::write(&credentials, remote.replace("//", &format!("//{token}:x@"))).unwrap();
    let helper = format!("credential.helper=store --file={}", credentials.display());

    let hook = format!("#!/bin/sh\ntouch {canary}\n");
    for name in [
        "hooks/pre-receive",
        "hooks/update",
        "hooks/post-update",
        ".githooks/post-checkout",
    ] {
        project.write(name, &hook);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.folder.join(name), mode).unwrap();
    }
    let config = format!(
        "[core]\n\tfsmonitor = touch {canary}\n\thooksPath = hooks\n\tsshCommand = touch {canary}\n[filter \"x\"]\n\tsmudge = touch {canary}\n\tclean = touch {canary}\n[uploadpack]\n\tpackObjectsHook = touch {canary}\n"
    );
    // A bare repository within the repository.
    for (name, text) in [
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", &config),
        ("objects/x", ""),
        ("refs/x", ""),
    ] {
        project.write(&format!("bare/{name}"), text);
    }
    project.write(".gitconfig", &config);
    project.write(
        ".gitattributes",
        "* filter=x diff=x merge=x ident export-subst\n",
    );
    project.write("-rf", "");
    project.write("$(id)", "");
    project.write("a\nb;id", "");
    project.write("args.py", ARGUMENTS);
    project.write("paint.py", "print('\\x1b[2J\\x1b[31mred\\x07')\n");
    let task =
        format!("python3 args.py $(touch {canary}) `id` ; touch {canary} && id | id > {canary}");
    project.write(
        "zarpar.toml",
        &format!("[release]\ntasks = [\"{task}\", \"python3 paint.py\"]\n"),
    );
    let tricks = watch.tricks();
    let message = format!("{}\n\nzarpar: <b>forged</b>\n", tricks.join("\n"));
    let author = format!("user.name={} \u{1b}[31m", tricks[0]);
    let email = format!("user.email={}", tricks[2]);
    project.git(&["add", "-A"]);
    let made = project.git(&["-c", &author, "-c", &email, "commit", "-q", "-m", &message]);
    assert!(made.status.success(), "{}", text(&made));

    // A server that took push options would have to do something with them.
    let option = format!("--push-option={}", tricks[0]);
    let pushed = project.git(&["-c", &helper, "push", &option, &remote, "main"]);
    watch.refused("a push option", &pushed, &["does not support push options"]);
    let pushed = project.git(&["-c", &helper, "push", &remote, "main"]);
    let said = text(&pushed);
    assert!(pushed.status.success(), "{said}");
    watch.check("the push", said.as_bytes());
    // No shell read the task, and nothing paints the pusher's terminal.
    let argument = format!(
        "[\"$(touch\", \"{canary})\", \"`id`\", \";\", \"touch\", \"{canary}\", \"&&\", \"id\", \"|\", \"id\", \">\", \"{canary}\"]"
    );
    assert!(said.contains(&argument), "{said}");
    assert!(
        said.contains("red") && !said.contains("\u{1b}[2J"),
        "{said:?}"
    );

    let id = project.git(&["rev-parse", "HEAD"]);
    let commit = String::from_utf8(id.stdout).unwrap().trim().to_owned();
    // The names of git's own tricks, which git's client sends when it is made to.
    for name in [
        "--upload-pack=x",
        "$(id)",
        "`id`",
        "a;b",
        "a|b",
        "a&b",
        "x/-rf",
    ] {
        let refused = project.git(&[
            "-c",
            &helper,
            "push",
            &remote,
            &format!("main:refs/heads/{name}"),
        ]);
        watch.refused(name, &refused, &["is deployed from the branch `main`"]);
    }
    let listed = world.ok(&["deployments", "app"])
        + &world.ok(&["releases", "app"])
        + &world.ok(&["logs", "app"]);
    assert!(!listed.contains('\u{1b}'), "{listed:?}");
    watch.check("listings", listed.as_bytes());
    commit
}
