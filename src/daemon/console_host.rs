//! The console's own host name, when the configuration gives it one: pushes and webhooks come in
//! through the edge then, with TLS, at an address that people can remember.

use std::net::SocketAddr;

use base64::Engine as _;
use zarpar_model::{ConsoleRoute, HostName};
use zarpar_store::Store;

use super::Daemon;
use crate::config::Config;

/// What the edge is told, with a key that no process before this one knew.
///
/// # Errors
/// An app has that host, or the system gives no random bytes.
pub(super) fn route(
    config: &Config,
    target: SocketAddr,
    store: &Store,
) -> anyhow::Result<Option<ConsoleRoute>> {
    let Some(host) = config.console_host.clone() else {
        return Ok(None);
    };
    for app in store.apps()? {
        if app.domains.contains(&host) {
            anyhow::bail!(
                "the host `{host}` of `[console]` is one of the app `{0}`\nhint: start without it, then `zarpar domains remove {0} {host}`",
                app.name
            );
        }
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(Some(ConsoleRoute {
        host,
        target: reachable(target),
        key: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key),
    }))
}

/// A socket bound to every address is found at this machine's own.
fn reachable(mut target: SocketAddr) -> SocketAddr {
    if target.ip().is_unspecified() {
        target.set_ip(match target {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    target
}

/// The name by which clients reach the console.
#[derive(Debug, Clone)]
pub(super) struct ConsoleHost {
    name: HostName,
    /// Where the edge has TLS.
    port: u16,
}

impl ConsoleHost {
    pub(super) fn name(&self) -> &HostName {
        &self.name
    }

    pub(super) fn of(config: &Config) -> Option<ConsoleHost> {
        Some(ConsoleHost {
            name: config.console_host.clone()?,
            // Without TLS of our own, somebody's proxy in front of the edge has it.
            port: config.https.map_or(443, |address| address.port()),
        })
    }
}

impl Daemon {
    /// What the addresses of repositories and webhooks begin with, such as
    /// `https://ship.example.org`; without a slash at its end.
    pub(crate) fn public_console_url(&self) -> String {
        match &self.console_host {
            Some(host) if host.port == 443 => format!("https://{}", host.name),
            Some(host) => format!("https://{}:{}", host.name, host.port),
            None => format!("http://{}", self.console),
        }
    }

    /// Whether that address may mean something on other machines: not when it is a loopback
    /// address.
    pub(crate) fn console_is_reachable(&self) -> bool {
        self.console_host.is_some() || !self.console.ip().is_loopback()
    }

    /// Refuses a host that is not the console's.
    pub(super) fn is_the_console(&self, host: &HostName) -> anyhow::Result<()> {
        if self
            .console_host
            .as_ref()
            .is_some_and(|own| own.name == *host)
        {
            return Ok(());
        }
        anyhow::bail!(
            "`{host}` is neither an app nor the `host` of `[console]` in the server's configuration\nhint: `zarpar apps list` shows the apps"
        )
    }

    /// Refuses the console's host as one of an app.
    pub(super) fn not_the_console(&self, hosts: &[HostName]) -> anyhow::Result<()> {
        match &self.console_host {
            Some(ConsoleHost { name: own, .. }) if hosts.contains(own) => anyhow::bail!(
                "the host `{own}` is that of the console, where pushes come in\nhint: choose another one for the app, or another `host` of `[console]` in the server's configuration"
            ),
            _ => Ok(()),
        }
    }
}
