//! What a container is made of.
//!
//! A container is made with exactly what its specification says. There is no
//! way to publish a port on the host (those bypass the host's firewall): the
//! edge reaches a container by its address on its network.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, RestartPolicy as EngineRestartPolicy, RestartPolicyNameEnum,
};

use crate::label::to_map;

/// Rotated log files kept for a container whose log size is limited.
const LOG_FILES: &str = "3";

/// What to make a container of. `Default` plus an image is a plain one.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Id or reference; it must exist locally.
    pub image: String,
    /// Replaces the image's `CMD`.
    pub command: Option<Vec<String>>,
    /// Replaces the image's `ENTRYPOINT`; `Some(vec![])` removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Added to the image's environment; the same name replaces.
    pub env: Vec<(String, String)>,
    /// Labels to find it by.
    pub labels: BTreeMap<String, String>,
    /// The one network it joins, by name; `None` is the engine's default bridge.
    pub network: Option<String>,
    /// More names it answers to on that network.
    pub aliases: Vec<String>,
    /// Named volumes and where they appear inside.
    pub volumes: Vec<(String, String)>,
    /// Replaces the image's `WORKDIR`.
    pub working_dir: Option<String>,
    /// Replaces the image's `USER`.
    pub user: Option<String>,
    /// What the engine does when it ends.
    pub restart: RestartPolicy,
    /// Memory limit in bytes; the engine allows as much swap again.
    pub memory_bytes: Option<i64>,
    /// Most processes and threads at a time.
    pub pids_limit: Option<i64>,
    /// Signal that asks it to stop, for example `SIGINT`; `None` is the image's.
    pub stop_signal: Option<String>,
    /// Whether a minimal init reaps orphans and forwards signals.
    pub init: bool,
    /// Whether its standard input is open until the one attached client leaves.
    pub open_stdin: bool,
    /// Whether it gets a terminal; then stdout and stderr are one.
    pub tty: bool,
    /// Log bytes per file (three files, the oldest dropped); `None` is the engine's setting.
    pub log_max_bytes: Option<u64>,
}

/// What the engine does when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Starts it again, also after a reboot, until it is stopped on purpose.
    UnlessStopped,
}

pub(crate) fn to_body(spec: ContainerSpec) -> ContainerCreateBody {
    let endpoint = EndpointSettings {
        aliases: Some(spec.aliases),
        ..Default::default()
    };
    let mounts = spec.volumes.into_iter().map(|(volume, path)| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume),
        target: Some(path),
        ..Default::default()
    });
    let host = HostConfig {
        mounts: Some(mounts.collect()),
        network_mode: spec.network.clone(),
        restart_policy: Some(spec.restart.into()),
        memory: spec.memory_bytes,
        pids_limit: spec.pids_limit,
        init: spec.init.then_some(true),
        log_config: spec.log_max_bytes.map(|bytes| HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), bytes.to_string()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(spec.image),
        cmd: spec.command,
        entrypoint: spec.entrypoint,
        env: Some(
            spec.env
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        labels: to_map(&spec.labels),
        working_dir: spec.working_dir,
        user: spec.user,
        stop_signal: spec.stop_signal,
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        // The program sees the end of its input when the client's input ends.
        stdin_once: Some(spec.open_stdin),
        attach_stdin: Some(spec.open_stdin),
        networking_config: spec.network.map(|network| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        host_config: Some(host),
        ..Default::default()
    }
}

impl From<RestartPolicy> for EngineRestartPolicy {
    fn from(policy: RestartPolicy) -> EngineRestartPolicy {
        let name = match policy {
            RestartPolicy::No => RestartPolicyNameEnum::NO,
            RestartPolicy::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
        };
        EngineRestartPolicy {
            name: Some(name),
            maximum_retry_count: None,
        }
    }
}
