//! A real sshd of the test's own: a high port, its own host key, configuration and file of keys.
//! It lets in whoever runs the test, and allows what a server may allow at most, so that what is
//! refused is refused by the lines that zarpar writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::world::{World, free_port, until};

pub struct Sshd {
    child: Child,
    folder: PathBuf,
    /// Where the keys are: below the home, since sshd trusts no folder below /tmp.
    keys: tempfile::TempDir,
    pub user: String,
}

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Sshd {
    /// A world and a server for it; the world is configured and not started.
    pub fn start() -> (World, Sshd) {
        let world = World::bare();
        let folder = world.path("sshd");
        fs::create_dir(&folder).unwrap();
        let user = output("id", &["-un"]);
        let passwd = output("getent", &["passwd", &user]);
        let home = passwd.split(':').nth(5).unwrap().to_owned();
        let keys = tempfile::Builder::new()
            .prefix(".zarpar-e2e-")
            .tempdir_in(home)
            .unwrap();
        let port = free_port();
        let host_key = folder.join("host_key");
        new_key(&host_key);
        let public = fs::read_to_string(host_key.with_extension("pub")).unwrap();
        fs::write(
            folder.join("known_hosts"),
            format!("[127.0.0.1]:{port} {public}"),
        )
        .unwrap();
        let file = keys.path().join(".ssh/authorized_keys");
        fs::write(
            folder.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
                 StrictModes yes\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nAllowTcpForwarding yes\nAllowAgentForwarding yes\n\
                 AllowStreamLocalForwarding yes\nX11Forwarding yes\nPermitTunnel yes\nPermitTTY yes\n\
                 AcceptEnv GIT_* ZARPAR_*\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
                host_key.display(),
                file.display()
            ),
        )
        .unwrap();
        fs::write(
            folder.join("ssh_config"),
            format!(
                "Host server\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentitiesOnly yes\n  \
                 BatchMode yes\n  UserKnownHostsFile {}\n  ForwardAgent no\n",
                folder.join("known_hosts").display()
            ),
        )
        .unwrap();
        let config = fs::read_to_string(world.config()).unwrap();
        fs::write(
            world.config(),
            format!("{config}[ssh]\nauthorized_keys = \"{}\"\n", file.display())
                + &format!("user = \"{user}\"\n"),
        )
        .unwrap();
        if user == "root" {
            // sshd's own folder for its parts without rights; the system's start script makes it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Sshd {
            child,
            folder,
            keys,
            user,
        };
        until("sshd to listen", 10, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        (world, sshd)
    }

    /// The file that zarpar writes and sshd reads.
    pub fn file(&self) -> PathBuf {
        self.keys.path().join(".ssh/authorized_keys")
    }

    /// A key pair of this name, made when it is not there; the public half's file.
    pub fn key(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        if !path.exists() {
            new_key(&path);
        }
        path.with_extension("pub")
    }

    /// The words with which git and people start `ssh` as this key.
    pub fn client(&self, name: &str) -> Vec<String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        vec![
            "ssh".to_owned(),
            "-F".to_owned(),
            path("ssh_config"),
            "-i".to_owned(),
            path(name),
        ]
    }

    /// `ssh OPTIONS server COMMAND`, not started.
    pub fn command(&self, name: &str, options: &[&str], said: &[&str]) -> Command {
        let client = self.client(name);
        let mut command = Command::new(&client[0]);
        command
            .args(&client[1..])
            .args(options)
            .args(["--", "server"])
            .args(said)
            .stdin(Stdio::null());
        command
    }

    /// What a command over SSH says.
    pub fn say(&self, name: &str, said: &str) -> Output {
        self.command(name, &["-T"], &[said]).output().unwrap()
    }

    /// git in a folder, over SSH as this key.
    pub fn git(&self, name: &str, folder: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .args(words)
            .current_dir(folder)
            .env("GIT_SSH_COMMAND", self.client(name).join(" "))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!(
                "--- sshd\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

fn new_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "somebody@laptop",
            "-f",
        ])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}
