//! Finding the Docker Engine and asking it what it is.
//!
//! The address is `DOCKER_HOST` or `/var/run/docker.sock`. The API version is
//! negotiated, never fixed: engines from 20.10 (API 1.41) to 29 (1.44 and up)
//! are in use. Plain questions get [`ANSWER_LIMIT`]; builds, waits, logs and
//! transfers have no limit of their own and end when their future is dropped.

use std::env;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::EngineError;
use crate::transport::{Address, Transport};

/// Time for a plain request. Creating or removing a container on a slow and
/// busy disk takes seconds; two minutes is what Docker's own clients allow.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Time for the first answer of an engine when connecting.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// bollard puts its one timeout (seconds) on the head of every response. A build
/// sends that head late, so the limit is out of reach and ours are per call.
const NO_LIMIT: u64 = 365 * 24 * 3600;

/// A handle to the Docker Engine; clones share everything.
#[derive(Debug, Clone)]
pub struct Engine {
    address: Address,
    pub(crate) docker: Docker,
    /// One network creation at a time; see `network.rs`.
    pub(crate) network_creation: Arc<Mutex<()>>,
}

/// What the engine says about itself and its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// For example `20.10.24`.
    pub version: String,
    /// Newest API version it speaks, for example `1.41`.
    pub api_version: String,
    /// Processors of its machine.
    pub cpus: u64,
    /// Memory of its machine, in bytes.
    pub memory_bytes: u64,
    /// For example `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
}

impl Engine {
    /// Connects to `DOCKER_HOST`, or to `/var/run/docker.sock` where that is unset.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when nobody answers within 5 seconds,
    /// [`EngineError::Address`] when `DOCKER_HOST` is neither `unix://` nor `tcp://`.
    pub async fn connect() -> Result<Self, EngineError> {
        Self::connect_to(env::var("DOCKER_HOST").ok().as_deref()).await
    }

    /// Connects to an address written as in `DOCKER_HOST`; `None` or empty is the default socket.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn connect_to(host: Option<&str>) -> Result<Self, EngineError> {
        let address = parse_address(host.unwrap_or_default())?;
        let docker = dial_through(&address, None)?;
        let late = |_| {
            let source = io::Error::from(io::ErrorKind::TimedOut);
            EngineError::unreachable(address.to_string(), source)
        };
        let docker = tokio::time::timeout(PING_LIMIT, docker.negotiate_version())
            .await
            .map_err(late)?
            .map_err(|error| EngineError::new("negotiate an API version", error))?;
        let engine = Self {
            address: address.clone(),
            docker,
            network_creation: Arc::default(),
        };
        tokio::time::timeout(PING_LIMIT, engine.ping())
            .await
            .map_err(late)??;
        Ok(engine)
    }

    /// Asks whether the engine still answers.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when it does not.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.ask("ping the Docker Engine", self.docker.ping())
            .await
            .map(|_| ())
    }

    /// Version and size of the engine's machine.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when nobody answers.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let what = "ask the Docker Engine for its version";
        let version = self.ask(what, self.docker.version()).await?;
        let info = self.ask(what, self.docker.info()).await?;
        let count = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Ok(EngineInfo {
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            cpus: count(info.ncpu),
            memory_bytes: count(info.mem_total),
            os: info.operating_system.unwrap_or_default(),
        })
    }

    /// A client whose connections all end when `severed` is cancelled.
    pub(crate) fn severable(&self, severed: CancellationToken) -> Result<Docker, EngineError> {
        dial_through(&self.address, Some(severed))
    }

    /// One plain request: limited in time, and failing with `what` was being done.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.ask_within(what, ANSWER_LIMIT, request).await
    }

    pub(crate) async fn ask_within<T>(
        &self,
        what: &str,
        limit: Duration,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, request).await {
            Ok(result) => result.map_err(|error| EngineError::new(what, error)),
            Err(_) => Err(EngineError::TimedOut {
                what: what.to_owned(),
                after: limit,
            }),
        }
    }
}

fn dial_through(
    address: &Address,
    severed: Option<CancellationToken>,
) -> Result<Docker, EngineError> {
    let transport = Transport {
        address: address.clone(),
        severed,
    };
    // The host is a placeholder: the transport knows where to dial.
    Docker::connect_with_custom_transport(
        move |request| transport.clone().request(request),
        Some("http://docker"),
        NO_LIMIT,
        bollard::API_DEFAULT_VERSION,
    )
    .map_err(|error| EngineError::new("prepare a client for the Docker Engine", error))
}

fn parse_address(host: &str) -> Result<Address, EngineError> {
    let refused = || EngineError::Address {
        value: host.to_owned(),
    };
    if host.is_empty() {
        return Ok(Address::Unix(PathBuf::from("/var/run/docker.sock")));
    }
    if let Some(path) = host.strip_prefix("unix://") {
        let path = PathBuf::from(path);
        return path
            .is_absolute()
            .then_some(Address::Unix(path))
            .ok_or_else(refused);
    }
    let authority = host
        .strip_prefix("tcp://")
        .or_else(|| host.strip_prefix("http://"))
        .ok_or_else(refused)?
        .trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(Address::Tcp(authority.to_owned()))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_unix_or_tcp_and_nothing_else() {
        let shown = |host| parse_address(host).map(|address| address.to_string());
        assert_eq!(shown("").unwrap(), "/var/run/docker.sock");
        assert_eq!(shown("unix:///tmp/d.sock").unwrap(), "/tmp/d.sock");
        assert_eq!(shown("tcp://127.0.0.1:2375").unwrap(), "127.0.0.1:2375");
        assert_eq!(shown("http://[::1]:2375/").unwrap(), "[::1]:2375");
        for wrong in [
            "ssh://host",
            "unix://relative",
            "tcp://host",
            "fd://",
            "npipe:////./pipe/x",
        ] {
            let error = shown(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }
}
