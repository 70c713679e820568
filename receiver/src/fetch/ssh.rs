//! A fetch over ssh. git starts `git-ssh`, a link to this program in the hooks folder, which
//! becomes `ssh` with fixed options: to the address that was judged, with the pinned host key and
//! the deploy key alone, with nobody's configuration, agent or known hosts. No shell is on the way.
//!
//! Key and host keys are files of a folder that only we can read and that goes with the fetch.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use zarpar_model::RepositoryUrl;

/// The name of the link.
pub(crate) const PROGRAM: &str = "git-ssh";
/// The files, beside each other.
const KEY: &str = "key";
const KNOWN_HOSTS: &str = "known_hosts";
/// What git-ssh is told, all of it by us.
const ENV_FOLDER: &str = "ZARPAR_SSH_FOLDER";
const ENV_ADDRESS: &str = "ZARPAR_SSH_ADDRESS";
const ENV_HOST: &str = "ZARPAR_SSH_HOST";
const ENV_PORT: &str = "ZARPAR_SSH_PORT";
const ENV_USER: &str = "ZARPAR_SSH_USER";
/// The user of an address without one: it is git's at every forge.
const USER: &str = "git";

/// Writes key and host keys to `folder`. A host key that is not of the form `TYPE BASE64` is left
/// out, so no line can carry a second one or a marker.
pub(super) fn write_files(
    folder: &Path,
    host: &str,
    private: &str,
    host_keys: &[String],
) -> io::Result<()> {
    let mut key = private.trim_end().to_owned();
    key.push('\n');
    write_private(&folder.join(KEY), &key)?;
    let known: String = host_keys
        .iter()
        .filter_map(|line| super::host_keys::parse(line))
        .map(|line| format!("{host} {line}\n"))
        .collect();
    write_private(&folder.join(KNOWN_HOSTS), &known)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// The environment of a git that fetches over ssh. `hooks` has the link.
pub(super) fn environment(
    hooks: &Path,
    folder: &Path,
    url: &RepositoryUrl,
    address: IpAddr,
) -> Vec<(&'static str, OsString)> {
    vec![
        ("GIT_SSH", hooks.join(PROGRAM).into()),
        ("GIT_SSH_VARIANT", "ssh".into()),
        (ENV_FOLDER, folder.into()),
        (ENV_ADDRESS, address.to_string().into()),
        (ENV_HOST, url.host().into()),
        (ENV_PORT, url.port().to_string().into()),
        (ENV_USER, url.user().unwrap_or(USER).into()),
    ]
}

/// Whether a program name is the one that git starts instead of `ssh`.
pub fn is_git_ssh(called_as: &OsStr) -> bool {
    Path::new(called_as).file_name() == Some(OsStr::new(PROGRAM))
}

/// Becomes `ssh`. Of what git passes, the command for the far end alone is taken.
pub fn git_ssh() -> ExitCode {
    let Err(error) = become_ssh();
    let _ = writeln!(
        io::stderr(),
        "cannot start `ssh`: {error}\nhint: `apt-get install openssh-client` on the server"
    );
    ExitCode::FAILURE
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that becomes ssh, with an emptied environment"
)]
fn become_ssh() -> io::Result<std::convert::Infallible> {
    let variable =
        |name| std::env::var_os(name).ok_or_else(|| io::Error::other(format!("no `{name}`")));
    let wanted = std::env::args_os().next_back().unwrap_or_default();
    if !wanted.as_encoded_bytes().starts_with(b"git-upload-pack '") {
        return Err(io::Error::other("it is called by zarpar's own git alone"));
    }
    let mut destination = variable(ENV_USER)?;
    destination.push("@");
    destination.push(variable(ENV_HOST)?);
    let named = |option: &str, value: OsString| {
        let mut text = OsString::from(option);
        text.push(value);
        text
    };
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-T"]);
    for option in [
        // Relative names: a path may have blanks and `%`, which ssh gives a meaning.
        "IdentityFile=key",
        "UserKnownHostsFile=known_hosts",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
        "CheckHostIP=no",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "BatchMode=yes",
        "ProxyCommand=none",
        "ProxyJump=none",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "CanonicalizeHostname=no",
        "ConnectTimeout=15",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=2",
        "LogLevel=ERROR",
        "SendEnv=GIT_PROTOCOL",
    ] {
        ssh.arg("-o").arg(option);
    }
    ssh.arg("-o")
        .arg(named("HostName=", variable(ENV_ADDRESS)?))
        .arg("-o")
        .arg(named("HostKeyAlias=", variable(ENV_HOST)?))
        .arg("-o")
        .arg(named("Port=", variable(ENV_PORT)?))
        .arg("--")
        .arg(destination)
        .arg(wanted)
        .current_dir(variable(ENV_FOLDER)?)
        .env_clear();
    for name in ["PATH", "HOME", "LC_ALL", "GIT_PROTOCOL"] {
        if let Some(value) = std::env::var_os(name) {
            ssh.env(name, value);
        }
    }
    Err(ssh.exec())
}
