//! Repositories with the real git: who owns them, what stays in them, what a commit may unpack to.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use zarpar_model::{AppName, CommitId, DeploymentId, ReleaseNumber};
use zarpar_receiver::{GitConfig, GitLimits, Kept, RepackRules, Repacked, Repositories, TreeError};

struct Lab {
    folder: tempfile::TempDir,
    repositories: Repositories,
    app: AppName,
}

impl Lab {
    async fn new(limits: GitLimits) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let git = GitConfig {
            home: folder.path().to_owned(),
            hooks: folder.path().join("hooks"),
            control_socket: folder.path().join("none.sock"),
            limits,
        };
        let repositories = Repositories::new(folder.path().join("repos"), git);
        let app: AppName = "tienda".parse().unwrap();
        repositories
            .create(&app, &"main".parse().unwrap())
            .await
            .unwrap();
        let lab = Lab {
            folder,
            repositories,
            app,
        };
        fs::create_dir(lab.work()).unwrap();
        lab.git(&["init", "-q", "-b", "main"]);
        let bare = lab.bare();
        let bare = ["--git-dir", bare.to_str().unwrap(), "config"];
        // As the server says it for pushes that come to it.
        lab.git(&[&bare[..], &["receive.unpackLimit", "1"]].concat());
        lab
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn bare(&self) -> PathBuf {
        self.repositories.path(&self.app)
    }

    #[track_caller]
    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Prueba", "-c", "user.email=a@example.test"])
            .args(words)
            .current_dir(self.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a file of this content in the place of what was there, and pushes it by force.
    fn push(&self, content: &str) -> CommitId {
        fs::write(self.work().join("file"), content).unwrap();
        self.git(&["add", "-A"]);
        let amend = self.bare().join("refs/heads/main").exists();
        let words: &[&str] = if amend { &["--amend"] } else { &[] };
        self.git(&[&["commit", "-q", "-m", content], words].concat());
        self.git(&[
            "push",
            "-q",
            "--force",
            self.bare().to_str().unwrap(),
            "main",
        ]);
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    async fn has(&self, commit: &CommitId) -> bool {
        let found = self.repositories.resolve(&self.app, commit.as_str()).await;
        found.unwrap().as_ref() == Some(commit)
    }

    async fn repack(&self, rules: &RepackRules) -> Repacked {
        self.repositories.repack(&self.app, rules).await.unwrap()
    }

    fn packs(&self) -> usize {
        let packs = fs::read_dir(self.bare().join("objects/pack")).unwrap();
        packs
            .filter(|entry| {
                let path = entry.as_ref().unwrap().path();
                path.extension().is_some_and(|end| end == "pack")
            })
            .count()
    }
}

/// Everything that may be dropped is, at once.
fn drop_all() -> RepackRules {
    RepackRules {
        packs: 1,
        all_after: Duration::ZERO,
        drop_after: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_repack_drops_old_commits_but_never_one_of_a_kept_release() {
    let lab = Lab::new(GitLimits::default()).await;
    let kept_one = lab.push("one");
    let dropped = lab.push("two");
    let waiting = lab.push("three");
    let tip = lab.push("four");
    // Objects of the same second as the repack would count as new.
    let ago = ["-d", "1 hour ago"];
    let packs = fs::read_dir(lab.bare().join("objects/pack")).unwrap();
    let paths = packs.map(|entry| entry.unwrap().path());
    let touched = Command::new("touch")
        .args(ago)
        .args(paths)
        .status()
        .unwrap();
    assert!(touched.success());

    let mut kept = Kept::default();
    kept.release(ReleaseNumber(1), &kept_one);
    kept.deployment(DeploymentId(7), &waiting);
    // A commit that is nowhere does not keep the others from being kept.
    kept.release(ReleaseNumber(2), &"b".repeat(40).parse().unwrap());
    lab.repositories.keep(&lab.app, &kept).await.unwrap();
    let reference = lab.bare().join("refs/zarpar/releases/v1");
    assert_eq!(
        fs::read_to_string(&reference).unwrap().trim(),
        kept_one.as_str()
    );
    lab.repositories.keep(&lab.app, &kept).await.unwrap();

    let seldom = RepackRules::default();
    assert_eq!(lab.repack(&seldom).await, Repacked::NotNeeded);
    assert!(lab.has(&dropped).await);
    assert_eq!(lab.repack(&drop_all()).await, Repacked::All);
    for (commit, expected) in [
        (&kept_one, true),
        (&dropped, false),
        (&waiting, true),
        (&tip, true),
    ] {
        assert_eq!(lab.has(commit).await, expected, "{commit}");
    }
    lab.git(&[
        "--git-dir",
        lab.bare().to_str().unwrap(),
        "fsck",
        "--strict",
    ]);

    // The next one is told from the file that says when all of it was done.
    let soon = RepackRules {
        packs: 1,
        ..RepackRules::default()
    };
    assert_eq!(lab.repack(&soon).await, Repacked::Some);
    lab.repositories
        .keep(&lab.app, &Kept::default())
        .await
        .unwrap();
    assert!(!reference.exists());
    assert_eq!(lab.repack(&drop_all()).await, Repacked::All);
    assert!(!lab.has(&kept_one).await && !lab.has(&waiting).await && lab.has(&tip).await);
    assert_eq!(lab.packs(), 1);
}

#[tokio::test]
async fn many_small_packs_become_few_and_other_references_are_left_alone() {
    let lab = Lab::new(GitLimits::default()).await;
    let mut commits = Vec::new();
    for number in 0..16 {
        commits.push(lab.push(&format!("{number}")));
    }
    let fetched = lab.bare().join("refs/zarpar/fetched");
    fs::create_dir_all(&fetched).unwrap();
    fs::write(fetched.join("main"), format!("{}\n", commits[3])).unwrap();
    lab.repositories
        .keep(&lab.app, &Kept::default())
        .await
        .unwrap();
    assert!(fetched.join("main").exists());
    assert_eq!(lab.packs(), 16);
    assert_eq!(
        lab.repack(&RepackRules::default()).await,
        Repacked::All,
        "never done before"
    );
    // What nothing refers to stays for two weeks.
    assert!(lab.has(&commits[0]).await);
    assert_eq!(lab.packs(), 2);
}

#[tokio::test]
async fn git_works_in_a_repository_of_another_user_but_in_no_other_one() {
    let lab = Lab::new(GitLimits::default()).await;
    let commit = lab.push("one");
    let chown = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(lab.bare())
        .output()
        .unwrap();
    // Only root can give files away; without that there is nothing to see.
    if !chown.status.success() {
        return;
    }
    let plain = |safe: &Path| {
        Command::new("git")
            .arg("-c")
            .arg(format!("safe.directory={}", safe.display()))
            .args(["rev-parse", "main"])
            .current_dir(lab.bare())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap()
    };
    assert!(
        !plain(Path::new("/none")).status.success(),
        "git does check"
    );
    assert!(plain(&lab.bare()).status.success());
    assert!(lab.has(&commit).await);
}

#[tokio::test]
async fn what_a_commit_unpacks_to_is_limited() {
    let small = GitLimits {
        max_file: 1000,
        max_expanded: 1500,
        ..GitLimits::default()
    };
    let lab = Lab::new(small).await;
    let check = |commit: CommitId| {
        let (repositories, app) = (lab.repositories.clone(), lab.app.clone());
        async move { repositories.check_tree(&app, &commit, None).await }
    };
    assert!(check(lab.push(&"x".repeat(1000))).await.is_ok());
    let file = check(lab.push(&"x".repeat(1001))).await.unwrap_err();
    assert!(
        file.to_string()
            .starts_with("the file `file` is too large: it has 1001 bytes, and 1000 bytes"),
        "{file}"
    );
    fs::write(lab.work().join("other"), "y".repeat(800)).unwrap();
    let both = check(lab.push(&"x".repeat(800))).await;
    assert!(matches!(both, Err(TreeError::Expanded { limit: 1500 })));
    fs::remove_file(lab.work().join("other")).unwrap();
    // Exactly as deep as it may be, and one deeper.
    for (depth, good) in [(64, true), (65, false)] {
        let folder = lab.work().join("d/".repeat(depth));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("f"), "").unwrap();
        let checked = check(lab.push("deep")).await;
        assert_eq!(checked.is_ok(), good, "{depth}: {checked:?}");
    }
    let blob: CommitId = lab.git(&["rev-parse", "HEAD:file"]).parse().unwrap();
    let none = check(blob).await.unwrap_err();
    assert!(matches!(none, TreeError::NoTree { .. }), "{none}");
}
