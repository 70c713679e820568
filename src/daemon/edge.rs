//! The edge as a process that outlives us: started in a session of its own, with a log file of
//! its own, when none answers; looked after as long as we live.

use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use zarpar_builder::Builder;
use zarpar_control::{EdgeClient, EdgeStatus};

use crate::config::{Config, Layout};

/// An edge listens within some milliseconds; a machine that just booted may be slow.
const START: Duration = Duration::from_secs(15);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Names the program and what it was told: the file it runs from, whatever lies at that path now,
/// and the settings an edge has.
pub(crate) fn identity(config: &Config) -> String {
    let program = std::fs::metadata("/proc/self/exe").map_or_else(
        |_| env!("CARGO_PKG_VERSION").to_owned(),
        |file| {
            format!(
                "{}:{}:{}.{}",
                file.dev(),
                file.ino(),
                file.mtime(),
                file.mtime_nsec()
            )
        },
    );
    let mut settings = DefaultHasher::new();
    let told = (
        (config.http, config.https, config.connections_per_address),
        (&config.acme, &config.access_log),
    );
    format!("{told:?}").hash(&mut settings);
    format!("{program} {:016x}", settings.finish())
}

/// Sees to an edge that is our program with our settings. Another one that runs is replaced
/// without a gap: the new one takes its sockets over. If that fails, the old one is better than
/// none.
///
/// # Errors
/// No edge runs and none can be started.
pub(crate) async fn ensure(config: &Config, layout: &Layout) -> anyhow::Result<()> {
    match status(layout).await {
        Some(running) if running.identity == identity(config) => Ok(()),
        Some(running) => {
            tracing::info!(
                pid = running.pid,
                "the edge has another version or other settings, starting one that takes over from it"
            );
            if let Err(error) = start(config, layout, Some(running.pid)).await {
                tracing::error!(error = %zarpar_model::explain(error.as_ref()), pid = running.pid, "the edge is not replaced, it serves on as it is");
            }
            Ok(())
        }
        None => start(config, layout, None).await,
    }
}

/// Starts an edge, in the place of the one with this process id, and waits until it answers.
async fn start(config: &Config, layout: &Layout, replaces: Option<u32>) -> anyhow::Result<()> {
    super::private_folder(&layout.logs())?;
    let mut child = spawn(config, layout)?;
    let began = Instant::now();
    loop {
        let answering = status(layout).await.map(|edge| edge.pid);
        if answering == Some(child.id()) {
            break;
        }
        if let Some(status) = child.try_wait()? {
            // Another one may have been started at the same moment, and won.
            if answering.is_some() && answering != replaces {
                return Ok(());
            }
            anyhow::bail!(
                "the edge ended with {status} while it started:\n{}\nhint: `zarpar router --http {} --data {}` shows what is wrong",
                last_lines(layout),
                config.http,
                layout.root().display()
            );
        }
        anyhow::ensure!(
            began.elapsed() < START,
            "the edge does not answer on `{}`\nhint: its log is `{}`",
            layout.edge_socket().display(),
            log(layout).display()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The child is not waited for: it lives on without us. While we live, its end is noticed by
    // `keep`, which also reaps it.
    REAPER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .push(child);
    Ok(())
}

/// Edges started by this process, so that one that died does not stay a zombie.
static REAPER: std::sync::Mutex<Vec<std::process::Child>> = std::sync::Mutex::new(Vec::new());

/// Starts the edge again when it is gone, and gives it the table.
pub(crate) async fn keep(
    config: Config,
    layout: Layout,
    builder: Builder,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        REAPER
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        if answers(&layout).await {
            continue;
        }
        tracing::error!("the edge does not answer, starting one");
        let started = ensure(&config, &layout).await;
        match started {
            Ok(()) => {
                if let Err(error) = builder.publish().await {
                    tracing::error!(error = %error.explain(), "the new edge does not take the table; it serves from its last one");
                }
            }
            Err(error) => {
                tracing::error!(error = %zarpar_model::explain(error.as_ref()), "the edge cannot be started")
            }
        }
    }
}

async fn answers(layout: &Layout) -> bool {
    status(layout).await.is_some()
}

async fn status(layout: &Layout) -> Option<EdgeStatus> {
    let ask = async {
        let mut edge = EdgeClient::connect(&layout.edge_socket()).await.ok()?;
        edge.status().await.ok()
    };
    // A connect to a socket without a listener fails at once; a hung edge must not hang us.
    tokio::time::timeout(Duration::from_secs(5), ask)
        .await
        .ok()
        .flatten()
}

#[expect(
    clippy::disallowed_methods,
    reason = "starts ourselves, with arguments of our own"
)]
fn spawn(config: &Config, layout: &Layout) -> anyhow::Result<std::process::Child> {
    let path = log(layout);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open the edge's log `{}`", path.display()))?;
    let mut command = Command::new(&config.program);
    command
        .arg("router")
        .args(
            config
                .file
                .iter()
                .flat_map(|file| [Path::new("--config"), file]),
        )
        .arg("--data")
        .arg(layout.root())
        .arg("--http")
        .arg(config.http.to_string())
        .arg("--https")
        .arg(
            config
                .https
                .map_or_else(|| "none".to_owned(), |address| address.to_string()),
        );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // glibc keeps an arena a thread and gives little of it back; one arena is enough for few
    // threads that allocate little.
    command.env("MALLOC_ARENA_MAX", "1");
    // A group of its own: a Ctrl-C at our terminal, or a kill of our group, is not for the edge.
    command.process_group(0);
    command.spawn().context("cannot start the edge")
}

fn log(layout: &Layout) -> std::path::PathBuf {
    layout.logs().join("edge.log")
}

fn last_lines(layout: &Layout) -> String {
    let text = std::fs::read_to_string(log(layout)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
