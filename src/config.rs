//! The server's configuration: flags and environment first, then the file, then defaults. What
//! was written becomes what is relied on in one step, before anything is made or bound; every
//! error here ends with exit code 64.

mod console;
mod fetch;
mod git;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use zarpar_model::{HostName, RouteTable};
use zarpar_receiver::{FetchRules, GitLimits};
use zarpar_router::{AccessLog, AcmeSettings, Limits, LineFormat};

/// Where the file is looked for when `--config` does not say.
pub(crate) const DEFAULT_FILE: &str = "/etc/zarpar/zarpar.toml";

/// No address.
const NONE: &str = "none";

/// Flags of `serve` and `router`; each has an environment variable.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Configuration file (optional; default /etc/zarpar/zarpar.toml)
    #[arg(long, env = "ZARPAR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder (default /var/lib/zarpar)
    #[arg(long, env = "ZARPAR_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where visitors come in (default 0.0.0.0:80)
    #[arg(long, env = "ZARPAR_HTTP", value_name = "ADDR")]
    http: Option<String>,
    /// Where visitors come in with TLS, or `none` (default 0.0.0.0:443 when --http is on port 80,
    /// else none)
    #[arg(long, env = "ZARPAR_HTTPS", value_name = "ADDR")]
    https: Option<String>,
    /// Where git pushes come in, with health and metrics (default 127.0.0.1:7070)
    #[arg(long, env = "ZARPAR_CONSOLE", value_name = "ADDR")]
    console: Option<String>,
}

/// The file as it may be written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    data: Option<PathBuf>,
    http: Option<String>,
    https: Option<String>,
    console: console::RawConsole,
    engine: RawEngine,
    ssh: SshSettings,
    acme: RawAcme,
    edge: RawEdge,
    fetch: fetch::RawFetch,
    git: git::RawGit,
    deploy: RawDeploy,
}

/// How deployments are run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDeploy {
    at_once: Option<NonZeroUsize>,
}

/// How certificates are ordered.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAcme {
    enabled: Option<bool>,
    directory: Option<String>,
    roots: Option<PathBuf>,
    contact: Option<String>,
    addresses: Vec<IpAddr>,
    look_up_names: Option<bool>,
}

/// What the edge writes down, and what a visitor may have of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEdge {
    access_log: RawAccessLog,
    access_log_static: bool,
    connections_per_address: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAccessLog {
    #[default]
    Json,
    Combined,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEngine {
    labels: BTreeMap<String, String>,
}

/// Who comes in by SSH, and where sshd looks for their keys.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SshSettings {
    /// The user of this machine whom sshd logs in; `zarpar` when the server runs as root, else
    /// the server's own.
    pub(crate) user: Option<String>,
    /// The file of keys; `~/.ssh/authorized_keys` of that user when absent.
    pub(crate) authorized_keys: Option<PathBuf>,
}

/// What the server relies on.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The data folder, absolute.
    pub(crate) data: PathBuf,
    /// The edge's address.
    pub(crate) http: SocketAddr,
    /// The edge's address for TLS, when it has one.
    pub(crate) https: Option<SocketAddr>,
    /// The console's address.
    pub(crate) console: SocketAddr,
    /// The host that the edge passes on to the console, when it has one.
    pub(crate) console_host: Option<HostName>,
    /// How certificates are ordered, when they are.
    pub(crate) acme: Option<AcmeSettings>,
    /// How the access log is kept, when it is.
    pub(crate) access_log: Option<AccessLog>,
    /// Open connections of one visitor's address at the edge; 0: no limit.
    pub(crate) connections_per_address: usize,
    /// From where code may be fetched.
    pub(crate) fetch: FetchRules,
    /// What a push may ask of this machine.
    pub(crate) git: GitLimits,
    /// Deployments at work at once, each of another app; what the machine is for when absent.
    pub(crate) deploy_at_once: Option<NonZeroUsize>,
    /// The file that was read because `--config` said so.
    pub(crate) file: Option<PathBuf>,
    /// Where our program was when we started: the same path may hold another version later, and
    /// the system calls ours deleted then.
    pub(crate) program: PathBuf,
    /// Who comes in by SSH.
    pub(crate) ssh: SshSettings,
    /// Further labels of everything made in Docker.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`\nhint: is the path right? Without `--config`, a missing file means the defaults", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file that `ca` of `[fetch]` names cannot be read.
    #[error("`ca` of `[fetch]`: cannot read the certificates in `{}`\nhint: is the path right, and may the server's user read the file?", path.display())]
    Authorities {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Not the TOML that is expected; the message has line and column.
    #[error("the configuration `{}` is wrong: {message}\nhint: correct it and start again; the keys are `data`, `http`, `https`, `console` (or `address` and `host` of `[console]`), `[engine] labels`, `user`, `authorized_keys` of `[ssh]`, and `enabled`, `directory`, `roots`, `contact`, `addresses`, `look_up_names` of `[acme]`, and `access_log` (`json`, `combined`, `off`), `access_log_static`, `connections_per_address` (0: no limit) of `[edge]`, and `allow` (addresses or networks), `ports`, `ca`, `timeout`, `max_size` of `[fetch]`, and `max_pack`, `max_file`, `max_expanded`, `receive_time` of `[git]`, and `at_once` (1 or more) of `[deploy]`", path.display())]
    Format { path: PathBuf, message: String },
    /// Not the JSON of a route table; the message has line and column.
    #[error("the route table `{}` is wrong: {message}\nhint: correct it and start again; the keys are in README of examples/edge", path.display())]
    Table { path: PathBuf, message: String },
    /// A key of `[git]` that says nothing usable.
    #[error(
        "the configuration has a wrong `{key}` under `[git]`: {message}\nhint: for example `max_pack = \"1g\"`, `max_file = \"256m\"`, `max_expanded = \"2g\"`, `receive_time = \"10m\"`"
    )]
    Git { key: &'static str, message: String },
    /// An address that is none.
    #[error(
        "expected an address such as `127.0.0.1:8080` for `{key}`, found `{found}`\nhint: write it as IP:PORT, in the configuration, as `--{key}` or in the environment"
    )]
    Address { key: &'static str, found: String },
}

/// Reads a route table written by hand.
pub(crate) fn read_table(path: &Path) -> Result<RouteTable, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| ConfigError::Table {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

impl Config {
    /// Resolves flags, file and defaults.
    pub(crate) fn resolve(args: &ServerArgs) -> Result<Config, ConfigError> {
        let raw = match &args.config {
            Some(path) => read(path)?.ok_or_else(|| ConfigError::Read {
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })?,
            None => read(Path::new(DEFAULT_FILE))?.unwrap_or_default(),
        };
        let data = args.data.clone().or(raw.data).unwrap_or_else(default_data);
        let http = address(
            "http",
            args.http.as_ref().or(raw.http.as_ref()),
            "0.0.0.0:80",
        )?;
        // Somebody who chose another port for HTTP tries something out, or has a proxy in front;
        // port 443 would be in the way.
        let usual = if http.port() == 80 {
            "0.0.0.0:443"
        } else {
            NONE
        };
        let https = args.https.as_ref().or(raw.https.as_ref());
        let https = if https.map_or(usual, String::as_str) == NONE {
            None
        } else {
            Some(address("https", https, usual)?)
        };
        let data = std::path::absolute(&data)
            .map_err(|source| ConfigError::Read { path: data, source })?;
        // A public authority comes to port 80; on another one only somebody's own could.
        let orders = https.is_some() && (http.port() == 80 || raw.acme.directory.is_some());
        let acme = if raw.acme.enabled.unwrap_or(orders) {
            Some(acme(&data, raw.acme)?)
        } else {
            None
        };
        let access_log = access_log(&data, &raw.edge);
        Ok(Config {
            data,
            acme,
            access_log,
            connections_per_address: raw
                .edge
                .connections_per_address
                .unwrap_or(Limits::default().connections_per_address),
            fetch: raw.fetch.resolve()?,
            git: git::limits(raw.git)?,
            deploy_at_once: raw.deploy.at_once,
            file: args.config.clone(),
            http,
            https,
            console: address(
                "console",
                args.console.as_ref().or(raw.console.address.as_ref()),
                "127.0.0.1:7070",
            )?,
            console_host: raw.console.host,
            program: std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into()),
            ssh: raw.ssh,
            labels: raw.engine.labels,
        })
    }
}

/// The folders and sockets below the data folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Layout {
        Layout { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.root.join("zarpar.key")
    }

    pub(crate) fn instance(&self) -> PathBuf {
        self.root.join("instance")
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join("repos")
    }

    pub(crate) fn hooks(&self) -> PathBuf {
        self.root.join("hooks")
    }

    pub(crate) fn static_files(&self) -> PathBuf {
        self.root.join("static")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn access_log(&self) -> PathBuf {
        self.logs().join("access.log")
    }

    pub(crate) fn edge_table(&self) -> PathBuf {
        self.root.join("edge").join("table.json")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("edge").join("uploads")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    pub(crate) fn edge_socket(&self) -> PathBuf {
        self.run().join("router.sock")
    }

    pub(crate) fn serve_lock(&self) -> PathBuf {
        self.run().join("serve.lock")
    }

    pub(crate) fn edge_lock(&self) -> PathBuf {
        self.run().join("router.lock")
    }
}

fn access_log(data: &Path, raw: &RawEdge) -> Option<AccessLog> {
    let format = match raw.access_log {
        RawAccessLog::Json => LineFormat::Json,
        RawAccessLog::Combined => LineFormat::Combined,
        RawAccessLog::Off => return None,
    };
    Some(AccessLog {
        file: Layout::new(data.to_owned()).access_log(),
        format,
        with_static: raw.access_log_static,
    })
}

fn acme(data: &Path, raw: RawAcme) -> Result<AcmeSettings, ConfigError> {
    let roots = match raw.roots {
        Some(path) => Some(
            std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?,
        ),
        None => None,
    };
    let contact = raw.contact.map(|contact| {
        if contact.contains(':') {
            contact
        } else {
            format!("mailto:{contact}")
        }
    });
    Ok(AcmeSettings {
        folder: data.join("acme"),
        directory: raw.directory,
        roots,
        contact,
        addresses: raw.addresses,
        look_up_names: raw.look_up_names.unwrap_or(true),
    })
}

pub(crate) fn default_data() -> PathBuf {
    PathBuf::from("/var/lib/zarpar")
}

fn read(path: &Path) -> Result<Option<RawConfig>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map(Some)
            .map_err(|error| ConfigError::Format {
                path: path.to_owned(),
                message: error.to_string().trim_end().to_owned(),
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn address(
    key: &'static str,
    written: Option<&String>,
    default: &str,
) -> Result<SocketAddr, ConfigError> {
    let text = written.map_or(default, String::as_str);
    text.parse().map_err(|_| ConfigError::Address {
        key,
        found: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(super) fn resolve(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zarpar.toml");
        std::fs::write(&file, text).unwrap();
        Config::resolve(&ServerArgs {
            config: Some(file),
            data: None,
            http: None,
            https: None,
            console: None,
        })
    }

    #[test]
    fn the_console_is_an_address_or_a_table() {
        let shown = |text: &str| {
            let config = resolve(text).unwrap();
            (
                config.console.to_string(),
                config.console_host.map(|host| host.to_string()),
            )
        };
        let host = Some("ship.example.org".to_owned());
        assert_eq!(shown(""), ("127.0.0.1:7070".to_owned(), None));
        assert_eq!(
            shown("console = \"127.0.0.1:1\""),
            ("127.0.0.1:1".to_owned(), None)
        );
        let text = "[console]\naddress = \"127.0.0.1:1\"\nhost = \"ship.example.org\"";
        assert_eq!(shown(text), ("127.0.0.1:1".to_owned(), host.clone()));
        let text = "[console]\nhost = \"ship.example.org\"";
        assert_eq!(shown(text), ("127.0.0.1:7070".to_owned(), host));
        for (wrong, says) in [
            ("console = 5", "an address such as"),
            ("[console]\nhots = \"a\"", "`hots`"),
            ("[console]\nhost = \"a b\"", "`a b`"),
            ("[console]\nhost = \"https://a.test/\"", "`https://a.test/`"),
        ] {
            let error = resolve(wrong).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn connections_of_one_address() {
        for (text, expected) in [
            ("", 256),
            ("[edge]\nconnections_per_address = 1000", 1000),
            ("[edge]\nconnections_per_address = 0", 0),
        ] {
            let config = resolve(text).unwrap();
            assert_eq!(config.connections_per_address, expected, "{text}");
        }
        for wrong in ["-1", "\"many\"", "1.5"] {
            let error = resolve(&format!("[edge]\nconnections_per_address = {wrong}"));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("(0: no limit) of `[edge]`"), "{error}");
        }
    }

    #[test]
    fn deployments_at_once() {
        let config = resolve("[deploy]\nat_once = 3").unwrap();
        assert_eq!(config.deploy_at_once.map(NonZeroUsize::get), Some(3));
        assert_eq!(resolve("").unwrap().deploy_at_once, None);
        let error = resolve("[deploy]\nat_once = 0").unwrap_err().to_string();
        assert!(
            error.contains("`at_once` (1 or more) of `[deploy]`"),
            "{error}"
        );
    }
}
