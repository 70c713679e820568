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
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::access_log::Writer;
use crate::acme::Challenges;
use crate::address_cap::AddressCap;
use crate::certificates::Certificates;
use crate::config::{EdgeConfig, TableSource};
use crate::control::{self, Addresses, Edge};
use crate::departure::Departure;
use crate::error::EdgeError;
use crate::handover::{HandOver, Held};
use crate::live::Live;
use crate::ordering::Ordering;
use crate::predecessors::Predecessors;
use crate::seen::Watch;
use crate::spool::Spool;
use crate::takeover::Succession;
use crate::tls;
use crate::worker::{self, WorkerSetup};

/// A worker needs little: its futures live on the heap.
const STACK: usize = 1024 * 1024;
/// Open files wanted: two for each connection, and room for files.
const FILES: u64 = 16 * 1024;

/// Where visitors come in.
#[derive(Debug)]
pub struct Listeners {
    /// Without TLS.
    pub http: TcpListener,
    /// With TLS; without it no host is served with TLS, whatever certificates there are.
    pub https: Option<TcpListener>,
}

/// Serves until `shutdown` is ready and the last visitor left, at most the limit for that; or
/// until another edge took over, in the same way with a longer limit. The edge that `succession`
/// comes from is told once visitors are served here. Blocks the calling thread, which must not be
/// inside an async runtime.
///
/// # Errors
/// [`EdgeError`] when the edge cannot be set up, or when a worker ends by itself: the caller
/// should end the process then, so that it is started afresh.
pub fn run(
    config: EdgeConfig,
    listeners: Listeners,
    control: UnixListener,
    succession: Succession,
    shutdown: impl Future<Output = ()>,
) -> Result<(), EdgeError> {
    raise_file_limit();
    let addresses = prepare(&listeners).map_err(EdgeError::setup("the listening sockets"))?;
    let live = Arc::new(match &config.table {
        TableSource::Kept(file) => Live::start(file.clone(), succession.generation())?,
        TableSource::Fixed(table) => {
            Live::fixed(table).map_err(|error| EdgeError::Table(Box::new(error)))?
        }
    });
    let provider = tls::provider();
    let certificates = Arc::new(Certificates::load(
        config.certificates.clone(),
        provider.clone(),
    ));
    let ordering = Arc::new(Ordering::new(config.acme.is_some()));
    ordering.look(&live, &certificates);
    let challenges = ordering.challenges();
    let tls = tls::server_config(certificates.clone(), challenges.clone(), provider)
        .map_err(|error| EdgeError::setup("TLS")(std::io::Error::other(error)))?;
    // Before the guard below, so that its wait for the last lines comes after the workers' end.
    let access_log = config
        .access_log
        .as_ref()
        .map(|settings| Writer::start(settings, live.metrics()))
        .transpose()
        .map_err(EdgeError::setup("the access log"))?;
    let departure = Arc::new(Departure::default());
    // Whatever ends this function ends the workers.
    let _stop = departure.begun.clone().drop_guard();
    let secured = Secured {
        tls,
        certificates: certificates.clone(),
        challenges,
    };
    let ended = start_workers(
        &config,
        &listeners,
        &secured,
        &live,
        access_log.as_ref(),
        &departure,
    )?;
    let pid = succession.pid().to_owned();
    let (lock, before) = succession.split();
    let held = Held::new(listeners, &control, lock.as_ref())
        .map_err(EdgeError::setup("the handover to a later edge"))?;
    let handover = Arc::new(HandOver::new(departure.clone(), held));
    let Addresses { http, https } = addresses;
    tracing::info!(%http, ?https, generation = live.generation(), "the edge serves");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::setup("the control runtime"))?;
    runtime.block_on(async {
        let socket = control_socket(control)?;
        let predecessors = Predecessors::new(before)
            .map_err(EdgeError::setup("the connections to the edges before"))?;
        let workers = config.workers.max(1);
        if let Err(error) = predecessors.took_over().await {
            // It serves on. Who came to us meanwhile is served to the end.
            supervise(ended, workers, std::future::ready(()), &departure).await?;
            return Err(EdgeError::not_handed_over(pid, &error));
        }
        if let Some(mut lock) = lock {
            Succession::sign(&mut lock).map_err(EdgeError::setup("the lock"))?;
        }
        let edge = Edge {
            live,
            certificates: certificates.clone(),
            ordering: ordering.clone(),
            addresses,
            identity: config.identity.clone().into(),
            handover: handover.clone(),
            predecessors: Arc::new(predecessors),
        };
        let shutdown = async {
            shutdown.await;
            handover.stop_listening();
        };
        // The control plane can ask until the last worker is done: it may wait for a drain.
        tokio::select! {
            stopped = supervise(ended, workers, shutdown, &departure) => stopped,
            never = control::serve(socket, edge) => match never {},
            () = order(&config, &ordering, certificates, &departure.begun) => Ok(()),
        }
    })
}

/// Orders certificates when it is told how to; never ends before the edge does.
async fn order(
    config: &EdgeConfig,
    ordering: &Ordering,
    certificates: Arc<Certificates>,
    stopping: &CancellationToken,
) {
    if let Some(settings) = &config.acme {
        ordering.run(settings, certificates, stopping.clone()).await;
    }
    std::future::pending().await
}

/// Waits for the shutdown, or another edge, and then for every worker. A worker that ends before
/// stops the rest.
async fn supervise(
    mut ended: UnboundedReceiver<usize>,
    mut running: usize,
    shutdown: impl Future<Output = ()>,
    departure: &Departure,
) -> Result<(), EdgeError> {
    let result = tokio::select! {
        // In this order: a worker without visitors ends in the instant in which it is told to.
        biased;
        () = shutdown => Ok(()),
        () = departure.handed_over() => Ok(()),
        number = ended.recv() => {
            running -= 1;
            Err(EdgeError::WorkerEnded { number: number.unwrap_or_default() })
        }
    };
    departure.begun.cancel();
    while running > 0 && ended.recv().await.is_some() {
        running -= 1;
    }
    result
}

/// What workers need for TLS.
struct Secured {
    tls: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
}

fn start_workers(
    config: &EdgeConfig,
    listeners: &Listeners,
    secured: &Secured,
    live: &Live,
    access_log: Option<&Writer>,
    departure: &Arc<Departure>,
) -> Result<UnboundedReceiver<usize>, EdgeError> {
    let (ending, ended) = unbounded_channel();
    let free = Arc::new(Semaphore::new(config.limits.connections));
    let addresses = Arc::new(AddressCap::new(&config.limits));
    let spool = Arc::new(Spool::start(config.uploads.clone(), &config.limits));
    for number in 0..config.workers.max(1) {
        let setup = WorkerSetup {
            http: clone(&listeners.http)?,
            https: listeners.https.as_ref().map(clone).transpose()?,
            tls: secured.tls.clone(),
            certificates: secured.certificates.clone(),
            challenges: secured.challenges.clone(),
            table: live.pointer(),
            watch: Watch::new(live.metrics(), number, access_log.and_then(Writer::log)),
            spool: spool.clone(),
            limits: config.limits.clone(),
            free: free.clone(),
            addresses: addresses.clone(),
            departure: departure.clone(),
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

fn clone(listener: &TcpListener) -> Result<TcpListener, EdgeError> {
    listener
        .try_clone()
        .map_err(EdgeError::setup("a listening socket"))
}

/// Options that Linux hands down to accepted connections: small answers leave at once, and a
/// peer that vanished from a silent tunnel is noticed after some minutes.
fn prepare(listeners: &Listeners) -> std::io::Result<Addresses> {
    for listener in std::iter::once(&listeners.http).chain(&listeners.https) {
        listener.set_nonblocking(true)?;
        sockopt::set_tcp_nodelay(listener, true)?;
        sockopt::set_socket_keepalive(listener, true)?;
        sockopt::set_tcp_keepidle(listener, Duration::from_secs(60))?;
    }
    Ok(Addresses {
        http: listeners.http.local_addr()?,
        https: match &listeners.https {
            Some(https) => Some(https.local_addr()?),
            None => None,
        },
    })
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
