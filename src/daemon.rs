//! The two daemons, assembled in visible steps: parse, build, spawn, serve, drain. `serve` owns
//! the store and may die at any instant; `router` owns the listeners and lives on.

mod apps;
mod certificates;
mod console;
mod console_host;
mod control;
mod deployments;
mod edge;
mod forge;
mod keys;
mod lock;
mod log_page;
mod process_names;
mod processes;
pub(crate) mod ssh;
mod upkeep;
mod views;
mod webhooks;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zarpar_builder::{Builder, Folders, Journal, Queue, Surroundings};
use zarpar_engine::Engine;
use zarpar_model::{Instance, RouteTable};
use zarpar_receiver::{GitConfig, Intake, ReceiverState, Repositories};
use zarpar_router::TableSource;
use zarpar_store::Store;

use crate::config::{Config, Layout, ServerArgs};
use crate::report::{BAD_CONFIGURATION, fail};

/// What a stopping server waits for answers that are being written.
const GRACE: Duration = Duration::from_secs(10);

/// Everything the requests of the control socket need; clones share it.
#[derive(Clone)]
pub(crate) struct Daemon {
    store: Store,
    builder: Builder,
    intake: Intake,
    queue: Queue,
    repositories: Repositories,
    console: std::net::SocketAddr,
    edge_socket: std::path::PathBuf,
    fetch: zarpar_receiver::FetchRules,
    receiver: ReceiverState,
    ssh: ssh::Ssh,
    webhooks: webhooks::Webhooks,
    console_host: Option<console_host::ConsoleHost>,
}

/// `zarpar serve`.
pub(crate) fn serve(args: &ServerArgs) -> ExitCode {
    let config = match Config::resolve(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    start_log();
    // Two threads are enough: what waits for the disk is moved aside, and every thread costs
    // memory on a small machine.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(run_serve(config)),
        Err(error) => Err(error).context("cannot start"),
    };
    ended(served)
}

/// `zarpar router`.
pub(crate) fn router(args: &ServerArgs, table: Option<&Path>) -> ExitCode {
    let config = match Config::resolve(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    let table = match table.map(crate::config::read_table).transpose() {
        Ok(table) => table,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    start_log();
    ended(run_router(&config, table))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref(), 1),
    }
}

async fn run_serve(config: Config) -> anyhow::Result<()> {
    let layout = Layout::new(config.data.clone());
    // A folder that has served before keeps serving, whatever is wrong with Docker: the edge
    // starts from its own table, first of all.
    if layout.edge_table().exists() {
        edge::ensure(&config, &layout).await?;
    }
    // Before anything is made: without an engine, a fresh folder stays untouched.
    let engine = Engine::connect().await?;
    let info = engine.info().await?;

    private_folder(layout.root())?;
    private_folder(&layout.run())?;
    let _lock = lock::acquire(&layout.serve_lock(), "zarpar serve", layout.root())?;
    let console = std::net::TcpListener::bind(config.console)
        .with_context(|| format!("cannot listen on the console address `{}`\nhint: is it in use? `ss -ltnp` shows by whom; another one is set with `--console ADDR`", config.console))?;
    console.set_nonblocking(true)?;
    let store = tokio::task::block_in_place(|| Store::open(&layout.state(), &layout.key()))?;
    if let Some(restored) = store.restored() {
        tracing::error!(
            ?restored,
            "the state was damaged and restored from its export"
        );
    }
    let instance = Instance::new(instance_id(&layout)?, config.labels.clone());
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let ssh = ssh::Ssh::new(
        config.ssh.clone(),
        config.program.clone(),
        &layout,
        instance.id(),
        tasks.clone(),
        stop.clone(),
    );
    edge::ensure(&config, &layout).await?;
    zarpar_hooks::install(&layout.hooks(), &config.program)?;

    let console_route = console_host::route(&config, console.local_addr()?, &store)?;
    let builder = Builder::new(
        store.clone(),
        engine,
        instance,
        Journal::new(layout.logs().join("deployments"))?,
        Surroundings {
            cpus: info.cpus,
            memory: info.memory_bytes,
            http_port: config.http.port(),
        },
        Folders {
            repositories: layout.repositories(),
            static_files: layout.static_files(),
            edge_socket: layout.edge_socket(),
            console: console_route.clone(),
        },
    );
    let git = GitConfig {
        home: layout.root().to_owned(),
        hooks: layout.hooks(),
        control_socket: layout.control_socket(),
        limits: config.git.clone(),
    };
    let repositories = Repositories::new(layout.repositories(), git);
    let (webhooks, deliveries) = webhooks::Webhooks::new();
    let daemon = Daemon {
        intake: Intake::new(store.clone()),
        queue: Queue::new(
            builder.clone(),
            config
                .deploy_at_once
                .unwrap_or_else(|| Queue::usual_at_once(info.cpus, info.memory_bytes)),
        ),
        receiver: ReceiverState::new(store.clone(), repositories.clone(), tasks.clone()),
        ssh,
        repositories,
        edge_socket: layout.edge_socket(),
        fetch: config.fetch.clone(),
        webhooks,
        console: console.local_addr()?,
        console_host: console_host::ConsoleHost::of(&config),
        store,
        builder,
    };
    daemon.repositories.remove_stale_locks()?;
    let moves = daemon.queue.watch();
    daemon
        .builder
        .recover()
        .await
        .map_err(|error| anyhow::anyhow!(error.explain()))?;

    zarpar_receiver::remove_unfinished(&daemon.repositories)?;

    tasks.spawn(daemon.queue.clone().run(stop.clone()));
    tasks.spawn(forge::tell(daemon.clone(), moves, stop.clone()));
    tasks.spawn(upkeep::run(
        daemon.clone(),
        daemon.queue.watch(),
        stop.clone(),
    ));
    let repositories = daemon.repositories.clone();
    tasks.spawn(async move { repositories.tidy().await });
    tasks.spawn(edge::keep(
        config.clone(),
        layout.clone(),
        daemon.builder.clone(),
        stop.clone(),
    ));
    tasks.spawn(control::listen(
        unix_socket(&layout.control_socket())?,
        daemon.clone(),
        stop.clone(),
        control::Door::Own,
    ));
    // Whoever comes by HTTP or on this machine is served without it.
    if let Err(error) = daemon.ssh.agree(&daemon).await {
        tracing::error!(error = %zarpar_model::explain(error.as_ref()), "nobody new can come in by SSH");
    }
    tasks.spawn(webhooks::run(daemon.clone(), deliveries, stop.clone()));
    tasks.spawn(console::listen(
        tokio::net::TcpListener::from_std(console)?,
        daemon.clone(),
        console_route.map(|route| route.key),
        stop.clone(),
    ));
    tracing::info!(http = %config.http, console = %config.console, data = %layout.root().display(), docker = %info.version, "zarpar serves");

    asked_to_stop()?.await;
    tracing::info!("stopping; the edge goes on serving");
    stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
    Ok(())
}

fn run_router(config: &Config, table: Option<RouteTable>) -> anyhow::Result<()> {
    let layout = Layout::new(config.data.clone());
    private_folder(layout.root())?;
    private_folder(&layout.run())?;
    let mut entrance = zarpar_router::Entrance::from_systemd()?;
    let (control, succession) = match zarpar_router::take_over(&layout.edge_socket())? {
        Some(taken) => {
            entrance.extend(taken.visitors);
            (taken.control, taken.succession)
        }
        None => {
            let lock = lock::acquire(&layout.edge_lock(), "zarpar router", layout.root())?;
            let control = unix_socket(&layout.edge_socket())?;
            (control, zarpar_router::Succession::first(lock))
        }
    };
    let listeners = zarpar_router::Listeners {
        http: entrance.open(config.http)?,
        https: config
            .https
            .map(|address| entrance.open(address))
            .transpose()?,
    };
    for port in entrance.unused_ports() {
        tracing::warn!(port, http = %config.http, https = ?config.https, "systemd passed a socket on a port that nothing is configured for");
    }
    let kept = layout.edge_table();
    private_folder(kept.parent().unwrap_or(layout.root()))?;
    let table = match table {
        Some(table) => TableSource::Fixed(table),
        None => TableSource::Kept(kept),
    };
    let stop = async {
        match asked_to_stop() {
            Ok(asked) => asked.await,
            // Without signals it runs until it is killed, which it is built for.
            Err(error) => {
                tracing::error!(%error, "cannot listen for signals");
                std::future::pending().await
            }
        }
    };
    zarpar_router::run(
        zarpar_router::EdgeConfig {
            acme: config.acme.clone(),
            access_log: config.access_log.clone(),
            identity: edge::identity(config),
            limits: zarpar_router::Limits {
                connections_per_address: config.connections_per_address,
                ..zarpar_router::Limits::default()
            },
            ..zarpar_router::EdgeConfig::new(table, layout.certificates(), layout.uploads())
        },
        listeners,
        control,
        succession,
        stop,
    )?;
    Ok(())
}

/// SIGTERM or SIGINT.
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder `{}`\nhint: run zarpar as root, or name a folder with `--data DIR`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// A socket for our own user alone. The lock is held by now, so a file of that name is left from
/// a process that is dead.
fn unix_socket(path: &Path) -> anyhow::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot make the socket `{}`\nhint: a path of more than 107 bytes is too long for a socket; name a shorter folder with `--data DIR`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The id that names this data folder's things in Docker, made once.
fn instance_id(layout: &Layout) -> anyhow::Result<String> {
    let path = layout.instance();
    match fs::read_to_string(&path) {
        Ok(id) if id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            return Ok(id);
        }
        Ok(id) => anyhow::bail!(
            "expected eight hexadecimal digits in `{}`, found `{}`\nhint: `docker ps` shows the id in the names of this server's containers; write it back",
            path.display(),
            id.escape_debug()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let tmp = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&tmp)?;
    io::Write::write_all(&mut file, id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&tmp, &path)?;
    fs::File::open(layout.root())?.sync_all()?;
    Ok(id)
}

fn start_log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("ZARPAR_LOG").unwrap_or_else(|_| "info".into());
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(io::stderr)
        .try_init();
}

/// Values of one kind by name, for requests that carry maps.
pub(crate) type Map<K, V> = BTreeMap<K, V>;
