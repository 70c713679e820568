//! sshd's user is not the server's.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use super::{refused, succeeded};
use crate::world::{BINARY, World};

/// The server runs as root and sshd logs in somebody else: their socket takes what keys say and
/// nothing else, and their file is theirs.
#[test]
fn another_user_has_a_socket_of_their_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can serve another user");
        return;
    }
    // In every Debian, and nothing of the test's.
    let (user, uid) = ("games", 5);
    let mut world = World::bare();
    let file = world.path("keys/authorized_keys");
    let config = fs::read_to_string(world.config()).unwrap();
    // A user that is not there is told at the start, not first when a key is added.
    let missing = format!("{config}[ssh]\nuser = \"nobody-here\"\n");
    fs::write(world.config(), missing).unwrap();
    world.serve();
    let log = fs::read_to_string(world.log()).unwrap();
    let warning = log.lines().find(|line| line.contains("nobody-here"));
    assert!(warning.is_some_and(|line| line.contains("WARN")), "{log}");
    world.kill_serve();
    fs::write(
        world.config(),
        format!(
            "{config}[ssh]\nuser = \"{user}\"\nauthorized_keys = \"{}\"\n",
            file.display()
        ),
    )
    .unwrap();
    world.serve();
    world.ok(&[
        "apps",
        "create",
        "tienda",
        "--domain",
        "tienda.example.test",
    ]);
    let public = world.path("key.pub");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0cOaEDZmKS0gojFpWWm1N8TvueNWCyu0BR7P0AEPag ana@laptop";
    fs::write(&public, key).unwrap();
    let added = world.cli(&[
        "keys",
        "add",
        "ana",
        public.to_str().unwrap(),
        "--app",
        "tienda",
    ]);
    assert!(succeeded(&added).contains(&format!(
        "git remote add production {user}@tienda.example.test:tienda"
    )));
    for (path, mode) in [(&file, 0o600), (&file.parent().unwrap().to_owned(), 0o700)] {
        let about = fs::metadata(path).unwrap();
        assert_eq!(
            (about.uid(), about.permissions().mode() & 0o7777),
            (uid, mode),
            "{}",
            path.display()
        );
    }
    let line = fs::read_to_string(&file).unwrap();
    let socket = line
        .split(" --socket ")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(socket.starts_with("/run/zarpar/"), "{line}");
    let about = fs::metadata(socket).unwrap();
    assert_eq!(
        (about.uid(), about.permissions().mode() & 0o777),
        (uid, 0o600)
    );

    // The program where this user can start it, as a package would have it.
    let program = tempfile::Builder::new()
        .prefix("zarpar-e2e-bin-")
        .tempdir()
        .unwrap();
    fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program_file = program.path().join("zarpar");
    fs::copy(BINARY, &program_file).unwrap();
    let as_user = |uid: &str, words: &[&str], said: &str| {
        Command::new("setpriv")
            .args(["--reuid", uid, "--regid", uid, "--clear-groups", "--"])
            .arg(&program_file)
            .args(words)
            .env_clear()
            .env("SSH_ORIGINAL_COMMAND", said)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let shell = ["shell", "--key", "ana", "--socket", socket];
    let apps = as_user("5", &shell, "apps list");
    assert!(succeeded(&apps).contains("tienda"));
    // Without a key's name, nothing; nor does anybody else get in, nor this user elsewhere.
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"\"app_list\"\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("takes what keys say"), "{answer}");
    refused(&as_user("2", &shell, "apps list"), "zarpar does not answer");
    let data = world.data();
    let own = data.join("run/control.sock");
    let elsewhere = ["shell", "--key", "ana", "--socket", own.to_str().unwrap()];
    refused(
        &as_user("5", &elsewhere, "apps list"),
        "zarpar does not answer",
    );
    refused(
        &as_user("5", &["apps", "list", "--data", data.to_str().unwrap()], ""),
        "no permission",
    );
    let socket = std::path::PathBuf::from(socket);
    drop(world);
    let _ = fs::remove_file(socket);
}
