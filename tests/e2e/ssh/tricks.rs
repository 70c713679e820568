//! What must not come by SSH.

use super::refused;
use crate::sshd::Sshd;
use crate::world::{World, text};

/// Whatever a client tries, one line and nothing else happens.
pub(super) fn tricks(world: &World, sshd: &Sshd) {
    let canary = world.path("canary");
    let touch = format!("touch {}", canary.display());
    let before = world.json(&["deployments", "tienda", "--json"]);
    let data = world.data().display().to_string();
    let said = [
        String::new(),
        "id".to_owned(),
        "bash".to_owned(),
        touch.clone(),
        format!("sh -c '{touch}'"),
        format!("bash -c \"{touch}\""),
        format!("; {touch}"),
        format!("`{touch}`"),
        format!("$({touch})"),
        format!("apps list; {touch}"),
        format!("apps list && {touch}"),
        format!("apps list | {touch}"),
        format!("apps list\n{touch}"),
        format!("apps list\r{touch}"),
        format!("apps list '$({touch})'"),
        format!("git-upload-pack 'tienda'; {touch}"),
        format!("git-upload-pack '$({touch})'"),
        format!("git-upload-pack 'tienda' --upload-pack='{touch}'"),
        format!("git-receive-pack '{data}/repos/tienda.git'"),
        "git-receive-pack '../repos/tienda'".to_owned(),
        "git-upload-archive 'tienda'".to_owned(),
        "git".to_owned(),
        "scp -t /tmp".to_owned(),
        "scp -f /etc/passwd".to_owned(),
        "rsync --server . /tmp".to_owned(),
        "/usr/lib/openssh/sftp-server".to_owned(),
        "serve".to_owned(),
        format!("serve --data {data}"),
        "router".to_owned(),
        format!("router --config {}", canary.display()),
        "build --print-dockerfile /etc".to_owned(),
        "compress-static / x".to_owned(),
        "shell --key boss --socket /x".to_owned(),
        format!("apps list --data {data}"),
        format!("--data={data} apps list"),
        format!("logs 'tienda --data {data}'"),
        "apps list 'unclosed".to_owned(),
        "rollback --upload-pack=x".to_owned(),
        "deploy tienda --output=/tmp/x".to_owned(),
        "pre-receive".to_owned(),
    ];
    // The environment of the client's choice reaches the program and changes nothing.
    let env = [
        ("GIT_SSH_COMMAND", touch.as_str()),
        ("GIT_PROTOCOL", "version=2:;touch"),
        ("GIT_EXEC_PATH", "/tmp"),
        ("ZARPAR_DATA", "/etc"),
        ("ZARPAR_CONFIG", "/etc/passwd"),
    ];
    let send = "SendEnv=GIT_SSH_COMMAND GIT_PROTOCOL GIT_EXEC_PATH ZARPAR_DATA ZARPAR_CONFIG";
    for (place, said) in said.iter().enumerate() {
        let ways = [&[][..], &["-t", "-t"], &["-A", "-X"]];
        for options in ways.iter().take(if place < 3 { 3 } else { 1 }) {
            let mut command = sshd.command("dev", &[&["-o", send], *options].concat(), &[said]);
            command.envs(env);
            let output = command.output().unwrap();
            let shown = text(&output);
            let ours: Vec<&str> = shown
                .lines()
                .filter(|line| {
                    !line.starts_with("PTY allocation")
                        && !line.starts_with("Pseudo-terminal")
                        && !line.starts_with("X11 forwarding")
                })
                .filter(|line| !line.starts_with("Warning: ") && !line.trim().is_empty())
                .collect();
            assert!(!output.status.success(), "`{said}` {options:?}: {shown}");
            let parser = ours.first().is_some_and(|line| line.starts_with("error: "));
            assert!(
                parser || ours.len() <= 1 || shown.contains("hint:"),
                "`{said}`: {shown}"
            );
            assert!(
                !shown.contains("root:") && !shown.contains(&data) || said.contains(&data),
                "`{said}`: {shown}"
            );
        }
    }
    let greeting = refused(
        &sshd.say("dev", ""),
        "hello, key `dev` (role deploy, tienda)",
    );
    assert_eq!(greeting.trim().lines().count(), 1, "{greeting}");

    // sftp, and forwarding of every kind.
    let sftp = sshd.command("dev", &["-s"], &["sftp"]).output().unwrap();
    // sshd passes no error output of a subsystem on.
    refused(&sftp, "");
    let remote = sshd.command(
        "dev",
        &[
            "-N",
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            "0:127.0.0.1:1",
        ],
        &[],
    );
    refused(&{ remote }.output().unwrap(), "forwarding failed");
    let to_console = format!("127.0.0.1:{}", world.console);
    let forwarded = sshd
        .command("dev", &["-W", &to_console], &[])
        .output()
        .unwrap();
    refused(&forwarded, "administratively prohibited");

    assert!(!canary.exists(), "something ran");
    assert_eq!(world.json(&["deployments", "tienda", "--json"]), before);
}
