#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

const FOREIGN: &str = "# the admin's\nssh-ed25519 AAAA admin@desk\nrestrict,command=\"/x/zarpar shell --key a --socket /other.sock\" ssh-ed25519 BBBB zarpar:a";

fn endings() -> Vec<String> {
    vec![" --socket /s.sock\"".to_owned()]
}

fn line(name: &str) -> String {
    format!(
        "restrict,command=\"/z shell --key {name} --socket /s.sock\" ssh-ed25519 CCCC zarpar:{name}"
    )
}

fn file(path: &Path) -> KeyFile<'_> {
    KeyFile {
        path,
        owner: None,
        uid: rustix::process::geteuid().as_raw(),
    }
}

#[test]
fn foreign_lines_stay_and_ours_follow_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".ssh").join("authorized_keys");
    let text = || fs::read_to_string(&path).unwrap();
    let agree = |names: &[&str]| {
        let lines: Vec<String> = names.iter().map(|name| line(name)).collect();
        file(&path).agree(&endings(), &lines).unwrap();
    };
    // Nothing to say, nothing made.
    agree(&[]);
    assert!(!path.parent().unwrap().exists());
    agree(&["ana"]);
    assert_eq!(text(), format!("{}\n", line("ana")));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

    fs::write(&path, format!("{}\n{FOREIGN}", line("old"))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    agree(&["ana", "eva"]);
    assert_eq!(
        text(),
        format!("{FOREIGN}\n{}\n{}\n", line("ana"), line("eva"))
    );
    assert_eq!(mode(&path), 0o600);
    let before = fs::metadata(&path).unwrap().ino();
    agree(&["ana", "eva"]);
    assert_eq!(
        fs::metadata(&path).unwrap().ino(),
        before,
        "nothing to change, nothing written"
    );
    agree(&[]);
    assert_eq!(text(), format!("{FOREIGN}\n"));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn no_link_leads_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "hush").unwrap();
    let ssh = folder.path().join(".ssh");
    let path = ssh.join("authorized_keys");
    let refused = || file(&path).agree(&endings(), &[line("ana")]).unwrap_err();

    fs::create_dir(&ssh).unwrap();
    symlink(&secret, &path).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    fs::hard_link(&secret, &path).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    // What would be written through a link that waits under the name of the new file.
    symlink(&secret, ssh.join(NEW)).unwrap();
    file(&path).agree(&endings(), &[line("ana")]).unwrap();
    fs::remove_file(&path).unwrap();
    fs::rename(&ssh, folder.path().join("elsewhere")).unwrap();
    symlink(folder.path().join("elsewhere"), &ssh).unwrap();
    refused();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hush");
}
