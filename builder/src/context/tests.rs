#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tokio_tar::Archive;

use super::*;

/// A repository with links that lead out of it, and what they lead to.
fn repository() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(folder.path().join("secret"), "FROM secret").unwrap();
    let secret = folder.path().join("secret");
    symlink(&secret, work.join("Dockerfile")).unwrap();
    symlink("../secret", work.join("zarpar.toml")).unwrap();
    symlink("/", work.join("root")).unwrap();
    std::fs::write(work.join("plain"), "plain").unwrap();
    for words in [
        &["init", "-q"][..],
        &["add", "-A"],
        &[
            "-c",
            "user.name=P",
            "-c",
            "user.email=p@example.test",
            "commit",
            "-qm",
            "m",
        ],
    ] {
        let mut git = Command::new("git");
        let git = git.args(words).current_dir(&work);
        let done = git.env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap();
        assert!(done.success());
    }
    (folder, work)
}

#[tokio::test]
async fn a_link_that_leads_out_is_a_link_and_is_never_followed() {
    let (folder, work) = repository();
    let mut head = Command::new("git");
    let head = head.args(["rev-parse", "HEAD"]).current_dir(&work).output();
    let head = String::from_utf8(head.unwrap().stdout).unwrap();
    let (app, commit) = ("tienda".parse().unwrap(), head.trim().parse().unwrap());
    let checkout = Checkout::read(&work.join(".git"), &app, &commit).unwrap();
    assert_eq!(checkout.text("Dockerfile"), None);
    assert_eq!(checkout.text("zarpar.toml"), None);
    assert_eq!(checkout.text("plain").unwrap(), "plain");

    let stream = stream_context(checkout, DockerIgnore::parse(""), Vec::new(), Vec::new());
    let reader = tokio_util::io::StreamReader::new(Box::pin(stream));
    let mut entries = Archive::new(reader).entries().unwrap();
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await {
        let entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|link| link.into_owned());
        found.push((
            entry.path().unwrap().into_owned(),
            entry.header().raw_entry_size().unwrap(),
            link,
        ));
    }
    let secret = folder.path().join("secret");
    let expected = [
        ("Dockerfile", 0, Some(secret)),
        ("plain", 5, None),
        ("root", 0, Some("/".into())),
        ("zarpar.toml", 0, Some("../secret".into())),
    ];
    assert_eq!(
        found,
        expected.map(|(path, size, link)| (PathBuf::from(path), size, link))
    );

    // The look at a folder does not follow them either.
    let checkout = Checkout::folder(&work).unwrap();
    let paths = checkout.files.iter().map(|file| file.path.as_slice());
    assert_eq!(paths.collect::<Vec<_>>(), [b"plain"]);
}
