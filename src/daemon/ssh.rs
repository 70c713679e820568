//! The SSH road: whose `authorized_keys` names our keys, through which socket their commands
//! come, and who is let through there.
//!
//! The keys are in the store; the file is made from them, at the start and after each change.
//! sshd runs `zarpar shell` as its user. When that is the user of `zarpar serve`, the control
//! socket serves it. When it is another one, it gets a socket of its own, which takes nothing
//! but what a key says. A line that somebody put back by hand opens nothing: the store decides.

mod account;
mod authorized_keys;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::fs::{Gid, Uid, chown};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zarpar_model::{App, HostName, SshKey};

use self::account::Account;
pub(crate) use self::account::name_of as user_name;
use self::authorized_keys::{KeyFile, Owner};
use super::control::{self, Door};
use super::{Daemon, unix_socket};
use crate::config::{Layout, SshSettings};

/// Whom sshd logs in when `zarpar serve` runs as root.
const USER: &str = "zarpar";
/// Where the sockets of other users are: below the data folder nobody else gets anywhere.
const SOCKETS: &str = "/run/zarpar";

/// The road; clones share it.
#[derive(Clone)]
pub(crate) struct Ssh {
    inner: Arc<Inner>,
}

struct Inner {
    settings: SshSettings,
    /// Our program, as sshd shall start it.
    program: PathBuf,
    control_socket: PathBuf,
    /// The socket that another user gets.
    other_socket: PathBuf,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// One change of the file at a time; whether the other user's socket is open.
    open: Mutex<bool>,
}

/// What the road comes to on this machine.
struct Road {
    account: Account,
    socket: PathBuf,
    /// Whether it is another user than ours.
    other: bool,
}

impl Ssh {
    /// `tasks` and `stop` are those of the server.
    pub(crate) fn new(
        settings: SshSettings,
        program: PathBuf,
        layout: &Layout,
        instance: &str,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Ssh {
        let inner = Inner {
            settings,
            program,
            control_socket: layout.control_socket(),
            other_socket: Path::new(SOCKETS).join(format!("{instance}.sock")),
            tasks,
            stop,
            open: Mutex::new(false),
        };
        Ssh {
            inner: Arc::new(inner),
        }
    }

    /// Opens the door and makes the file agree with the store. Without keys and without a user,
    /// there is nothing to do.
    ///
    /// # Errors
    /// In words: no such user, another user's file that we may not write, a path that a shell
    /// would read otherwise.
    pub(crate) async fn agree(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let mut open = self.inner.open.lock().await;
        let keys = daemon.store.keys()?;
        let road = match self.road() {
            Err(error) if keys.is_empty() => {
                // A user that nobody named may be missing where nobody comes by SSH.
                if self.inner.settings.user.is_some() {
                    tracing::warn!(error = %zarpar_model::explain(error.as_ref()), "nobody can come in by SSH as the configuration says");
                }
                return Ok(());
            }
            road => road?,
        };
        if road.other && !*open {
            self.open_door(&road, daemon)?;
            *open = true;
        }
        tokio::task::block_in_place(|| self.write(&road, &keys))
    }

    /// Whether the road can be used, before anything is kept.
    ///
    /// # Errors
    /// As [`Ssh::agree`].
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.road().map(drop)
    }

    /// `USER@HOST:APP`, as far as it is known: the console's host leads to this machine, and the
    /// app's does as a rule.
    pub(crate) fn remote(&self, console: Option<&HostName>, app: Option<&App>) -> String {
        let user = self
            .road()
            .map_or_else(|_| USER.to_owned(), |road| road.account.name);
        let main = app.and_then(|app| app.domains.first());
        let host = console
            .or(main)
            .map(ToString::to_string)
            // Such a name is the visitor's own machine.
            .filter(|host| host != "localhost" && !host.ends_with(".localhost"));
        format!(
            "{user}@{}:{}",
            host.as_deref().unwrap_or("HOST"),
            app.map_or("APP", |app| app.name.as_str())
        )
    }

    fn road(&self) -> anyhow::Result<Road> {
        let own = rustix::process::geteuid().as_raw();
        let account = match &self.inner.settings.user {
            Some(name) => account::by_name(name)?,
            None if own == 0 => account::by_name(USER)?,
            None => account::by_id(own)?,
        };
        let other = account.uid != own;
        anyhow::ensure!(
            !other || own == 0,
            "`zarpar serve` runs as the user {own}, and only root may serve the SSH user `{}`\nhint: run it as root, or leave out `[ssh] user`",
            account.name
        );
        let socket = if other {
            self.inner.other_socket.clone()
        } else {
            self.inner.control_socket.clone()
        };
        for path in [&self.inner.program, &socket] {
            harmless(path)?;
        }
        Ok(Road {
            account,
            socket,
            other,
        })
    }

    fn write(&self, road: &Road, keys: &[SshKey]) -> anyhow::Result<()> {
        let path = match &self.inner.settings.authorized_keys {
            Some(path) => path.clone(),
            None => road.account.home.join(".ssh").join("authorized_keys"),
        };
        let file = KeyFile {
            path: &path,
            owner: road.other.then_some(Owner {
                uid: road.account.uid,
                gid: road.account.gid,
            }),
            uid: road.account.uid,
        };
        let lines: Vec<String> = keys
            .iter()
            .map(|key| self.line(&road.socket, key))
            .collect();
        let sockets = [&self.inner.control_socket, &self.inner.other_socket];
        let endings = sockets.map(|socket| format!(" --socket {}\"", socket.display()));
        file.agree(&endings, &lines)
            .with_context(|| format!("cannot write the keys of `{}` to `{}`\nhint: `[ssh] authorized_keys` names another file, which sshd must know by `AuthorizedKeysFile`", road.account.name, path.display()))
    }

    fn line(&self, socket: &Path, key: &SshKey) -> String {
        format!(
            "restrict,command=\"{} shell --key {} --socket {}\" {} zarpar:{}",
            self.inner.program.display(),
            key.name,
            socket.display(),
            key.key.line(),
            key.name
        )
    }

    /// The socket of the other user: theirs, in a folder that shows no names.
    fn open_door(&self, road: &Road, daemon: &Daemon) -> anyhow::Result<()> {
        let folder = Path::new(SOCKETS);
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder `{SOCKETS}`"))?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
        let listener = unix_socket(&road.socket)?;
        let uid = road.account.uid;
        chown(
            &road.socket,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(road.account.gid)),
        )
        .with_context(|| format!("cannot give the socket `{}` away", road.socket.display()))?;
        self.inner.tasks.spawn(control::listen(
            listener,
            daemon.clone(),
            self.inner.stop.clone(),
            Door::Keys { uid },
        ));
        Ok(())
    }
}

/// sshd gives the command to the user's shell, and the file of keys has quotes of its own; so a
/// path with letters that either of them reads otherwise is not written there.
fn harmless(path: &Path) -> anyhow::Result<()> {
    let text = path.to_str().unwrap_or("\u{fffd}");
    anyhow::ensure!(
        text.starts_with('/')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte)),
        "expected a path of letters, digits and `/._+-` for what sshd starts, found `{}`\nhint: put the program into `/usr/local/bin`, and name another data folder with `--data DIR`",
        path.display().to_string().escape_debug()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_shell_reads_otherwise_is_refused() {
        for good in ["/usr/local/bin/zarpar", "/srv/z-1.0_a+b/run/control.sock"] {
            assert!(harmless(Path::new(good)).is_ok());
        }
        for bad in [
            "zarpar", "/a b", "/a\"b", "/a'b", "/$(id)", "/a;b", "/a\nb", "/ñ", "/a\\b", "/~a",
            "/a*", "/a%b",
        ] {
            assert!(harmless(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
