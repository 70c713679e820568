//! A fetch over ssh with a deploy key: a real sshd on a port of its own, git's server behind it,
//! and the real binary in ssh's place.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use zarpar_builder::Checkout;
use zarpar_control::Secret;
use zarpar_model::{AppName, CommitId};
use zarpar_receiver::{
    Credentials, FetchError, FetchRules, FetchSource, GitConfig, Repositories, fetch, fingerprint,
    host_keys, remove_unfinished,
};

use crate::world::{BINARY, free_port, text, until};

struct Forge {
    folder: TempDir,
    port: u16,
    sshd: Child,
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

pub fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn key(folder: &Path, name: &str) {
    let _ = fs::remove_file(folder.join(name));
    let words = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name];
    run(folder, "ssh-keygen", &words);
}

impl Forge {
    fn start() -> Forge {
        let folder = tempfile::Builder::new()
            // What a path may have and ssh's options give a meaning.
            .prefix("a forge %h ")
            .tempdir()
            .unwrap();
        let path = folder.path();
        for name in ["host", "deploy", "stranger"] {
            key(path, name);
        }
        fs::copy(path.join("deploy.pub"), path.join("authorized")).unwrap();
        run(path, "git", &["init", "-q", "-b", "main", "work"]);
        let work = path.join("work");
        for text in ["one", "two"] {
            fs::write(work.join("file"), text).unwrap();
            run(&work, "git", &["add", "file"]);
            let who = ["-c", "user.name=yo", "-c", "user.email=yo@forge.test"];
            run(
                &work,
                "git",
                &[&who[..], &["commit", "-q", "-m", text]].concat(),
            );
        }
        let port = free_port();
        let sshd = sshd(path, port);
        Forge { folder, port, sshd }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn url(&self) -> String {
        let user = run(self.folder.path(), "id", &["-un"]);
        format!("ssh://{user}@127.0.0.1:{}/yo/tienda.git", self.port)
    }

    fn rules(&self) -> FetchRules {
        FetchRules {
            allow: vec!["127.0.0.1".parse().unwrap()],
            ports: vec![self.port],
            timeout: Duration::from_secs(20),
            ..FetchRules::default()
        }
    }

    async fn repositories(&self) -> Repositories {
        let home = self.path("zarpar");
        let hooks = home.join("hooks");
        fs::create_dir_all(&hooks).unwrap();
        let _ = symlink(BINARY, hooks.join("git-ssh"));
        let repositories = Repositories::new(
            home.join("repos"),
            GitConfig {
                hooks,
                control_socket: home.join("control.sock"),
                limits: zarpar_receiver::GitLimits::default(),
                home,
            },
        );
        let branch = "main".parse().unwrap();
        repositories.create(&app(), &branch).await.unwrap();
        repositories
    }

    async fn fetch(&self, key: &str, host_keys: &[String]) -> Result<CommitId, FetchError> {
        let repositories = self.repositories().await;
        let source = FetchSource {
            url: &self.url().parse().unwrap(),
            branch: &"main".parse().unwrap(),
            credentials: Credentials::DeployKey {
                private: Secret::new(self.read(key)),
                host_keys: host_keys.to_vec(),
            },
        };
        let fetched = fetch(&repositories, &app(), &source, &self.rules()).await;
        let left = self.path("zarpar/repos/.fetch").read_dir().unwrap().count();
        assert_eq!(left, 0, "keys or objects are left");
        fetched
    }
}

fn app() -> AppName {
    "tienda".parse().unwrap()
}

/// Serves the one repository, whatever is asked for, and writes down what was asked.
pub fn sshd(folder: &Path, port: u16) -> Child {
    let here = folder.display();
    let serve = folder.join("serve");
    let script = format!(
        "#!/bin/sh\necho \"$SSH_ORIGINAL_COMMAND\" >> '{here}/asked'\nexec git upload-pack '{here}/work/.git'\n"
    );
    fs::write(&serve, script).unwrap();
    run(folder, "chmod", &["+x", "serve"]);
    // What the service's unit makes elsewhere.
    fs::create_dir_all("/run/sshd").unwrap();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{here}/host\"\nPidFile none\n\
         AuthorizedKeysFile \"{}/authorized\"\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nAcceptEnv GIT_PROTOCOL\n\
         ForceCommand \"{here}/serve\"\n",
        // `%h` is the user's home in this one.
        here.to_string().replace('%', "%%"),
    );
    fs::write(folder.join("sshd_config"), config).unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("sshd.log")).unwrap())
        .spawn()
        .unwrap();
    until("sshd", 10, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_key_opens_the_repository_of_the_pinned_host() {
    let mut forge = Forge::start();
    let url = forge.url().parse().unwrap();
    let pinned = host_keys(&url, &forge.rules()).await.unwrap();
    let public = forge.read("host.pub");
    assert_eq!(pinned, [public.trim()]);
    let shown = run(forge.folder.path(), "ssh-keygen", &["-lf", "host.pub"]);
    assert!(shown.contains(&fingerprint(&pinned[0])), "{shown}");

    let commit = forge.fetch("deploy", &pinned).await.unwrap();
    let tip = run(&forge.path("work"), "git", &["rev-parse", "HEAD"]);
    assert_eq!(commit.as_str(), tip);
    assert_eq!(forge.read("asked"), "git-upload-pack '/yo/tienda.git'\n");
    // Its history is missing, and the builder reads it all the same.
    let repository = forge.path("zarpar/repos/tienda.git");
    assert!(repository.join("shallow").exists());
    let checkout = Checkout::read(&repository, &app(), &commit).unwrap();
    assert_eq!(checkout.files.len(), 1);

    let error = forge.fetch("stranger", &pinned).await.unwrap_err();
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    assert!(
        error.to_string().contains("is the deploy key added"),
        "{error}"
    );

    // Another host, or nothing pinned: no key of ours is shown to it.
    let _ = forge.sshd.kill();
    let _ = forge.sshd.wait();
    key(forge.folder.path(), "host");
    forge.sshd = sshd(forge.folder.path(), forge.port);
    for pinned in [pinned.as_slice(), &[]] {
        let error = forge.fetch("deploy", pinned).await.unwrap_err();
        assert!(matches!(error, FetchError::HostKey { .. }), "{error}");
        assert!(error.to_string().contains("another host key"), "{error}");
    }
    let log = forge.read("sshd.log");
    assert!(!log.contains("publickey"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_and_says_nothing_is_left_after_the_time_limit() {
    let forge = Forge::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let rules = FetchRules {
        ports: vec![port],
        timeout: Duration::from_secs(2),
        ..forge.rules()
    };
    let url = format!("ssh://git@127.0.0.1:{port}/yo/tienda.git");
    let url = url.parse().unwrap();
    let repositories = forge.repositories().await;
    let source = FetchSource {
        url: &url,
        branch: &"main".parse().unwrap(),
        credentials: Credentials::DeployKey {
            private: Secret::new(forge.read("deploy")),
            host_keys: vec![],
        },
    };
    let error = fetch(&repositories, &app(), &source, &rules).await;
    assert!(matches!(error, Err(FetchError::Slow { .. })), "{error:?}");
    // A server that was killed leaves such a folder.
    let left = forge.path("zarpar/repos/.fetch/fetch-x");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("key"), "secret").unwrap();
    remove_unfinished(&repositories).unwrap();
    assert!(!forge.path("zarpar/repos/.fetch").exists());
}

#[test]
fn git_ssh_becomes_ssh_for_nothing_but_a_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("git-ssh");
    symlink(BINARY, &link).unwrap();
    for command in ["id", "git-receive-pack 'x'", "", "-oProxyCommand=id"] {
        let output = Command::new(&link)
            .args(["git@forge.test", command])
            .envs([
                ("ZARPAR_SSH_FOLDER", "/"),
                ("ZARPAR_SSH_ADDRESS", "127.0.0.1"),
                ("ZARPAR_SSH_HOST", "forge.test"),
                ("ZARPAR_SSH_PORT", "1"),
                ("ZARPAR_SSH_USER", "git"),
            ])
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(
            text(&output).contains("zarpar's own git alone"),
            "{}",
            text(&output)
        );
    }
}
