//! The edge as a whole: workers that serve, and the calling thread, which listens to the control
//! plane. Serving starts first, from the table on disk.

use std::future::Future;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::config::EdgeConfig;
use crate::control;
use crate::error::EdgeError;
use crate::live::Live;
use crate::worker::{self, WorkerSetup};

/// A worker needs little: its futures live on the heap.
const STACK: usize = 1024 * 1024;
/// Open files wanted: two for each connection, and room for files.
const FILES: u64 = 16 * 1024;

/// Serves until `shutdown` is ready and the last visitor left, at most the limit for that.
/// Blocks the calling thread, which must not be inside an async runtime.
///
/// # Errors
/// [`EdgeError`] when the edge cannot be set up, or when a worker ends by itself: the caller
/// should end the process then, so that it is started afresh.
pub fn run(
    config: EdgeConfig,
    listener: TcpListener,
    control: UnixListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), EdgeError> {
    raise_file_limit();
    prepare(&listener).map_err(EdgeError::setup("the listening socket"))?;
    let http = listener
        .local_addr()
        .map_err(EdgeError::setup("the listening socket"))?;
    let live = Arc::new(Live::start(config.table_file.clone()));
    let stopping = CancellationToken::new();
    // Whatever ends this function ends the workers.
    let _stop = stopping.clone().drop_guard();
    let ended = start_workers(&config, listener, &live, &stopping)?;
    tracing::info!(%http, generation = live.generation(), "the edge serves");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::setup("the control runtime"))?;
    runtime.block_on(async {
        let socket = control_socket(control)?;
        // The control plane can ask until the last worker is done: it may wait for a drain.
        tokio::select! {
            stopped = supervise(ended, config.workers.max(1), shutdown, &stopping) => stopped,
            never = control::serve(socket, live, http) => match never {},
        }
    })
}

/// Waits for the shutdown and then for every worker. A worker that ends before stops the rest.
async fn supervise(
    mut ended: UnboundedReceiver<usize>,
    mut running: usize,
    shutdown: impl Future<Output = ()>,
    stopping: &CancellationToken,
) -> Result<(), EdgeError> {
    let result = tokio::select! {
        () = shutdown => Ok(()),
        number = ended.recv() => {
            running -= 1;
            Err(EdgeError::WorkerEnded { number: number.unwrap_or_default() })
        }
    };
    stopping.cancel();
    while running > 0 && ended.recv().await.is_some() {
        running -= 1;
    }
    result
}

fn start_workers(
    config: &EdgeConfig,
    listener: TcpListener,
    live: &Live,
    stopping: &CancellationToken,
) -> Result<UnboundedReceiver<usize>, EdgeError> {
    let (ending, ended) = unbounded_channel();
    let free = Arc::new(Semaphore::new(config.limits.connections));
    for number in 0..config.workers.max(1) {
        let setup = WorkerSetup {
            listener: listener
                .try_clone()
                .map_err(EdgeError::setup("the listening socket"))?,
            table: live.pointer(),
            limits: config.limits.clone(),
            free: free.clone(),
            stopping: stopping.clone(),
        };
        let ending = Ending {
            number,
            ending: ending.clone(),
        };
        thread::Builder::new()
            .name(format!("edge-{number}"))
            .stack_size(STACK)
            .spawn(move || {
                // The whole of it, or only its number would move into the thread.
                let ending = ending;
                if let Err(error) = worker::run(setup) {
                    tracing::error!(%error, number = ending.number, "a worker cannot serve");
                }
            })
            .map_err(EdgeError::setup("a worker thread"))?;
    }
    Ok(ended)
}

/// Tells the supervisor that a worker ended, however it did.
struct Ending {
    number: usize,
    ending: UnboundedSender<usize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens only when the edge is gone already.
        let _ = self.ending.send(self.number);
    }
}

/// Options that Linux hands down to accepted connections: small answers leave at once, and a
/// peer that vanished from a silent tunnel is noticed after some minutes.
fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, Duration::from_secs(60))?;
    Ok(())
}

fn control_socket(socket: UnixListener) -> Result<tokio::net::UnixListener, EdgeError> {
    socket
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixListener::from_std(socket))
        .map_err(EdgeError::setup("the control socket"))
}

/// The usual soft limit of 1,024 is less than the connections allowed.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}
