//! A worker thread: accepts visitors and serves them, sharing with the other workers only the
//! listening sockets, the certificates, the pointer to the table, the counters of the targets and the number of
//! free connections, over all and for each address. It ends when it was told to and its last visitor left, or the limit is over.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Cache;
use hyper::server::conn::{http1, http2};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::acme::Challenges;
use crate::address_cap::AddressCap;
use crate::certificates::Certificates;
use crate::compress::Gzip;
use crate::config::Limits;
use crate::departure::{Departure, Grace};
use crate::h2::{self, OnThisThread};
use crate::headers::Scheme;
use crate::hot_files::HotFiles;
use crate::live::{LiveRoute, LiveTable, TablePointer};
use crate::pool::Pool;
use crate::request_id::RequestIds;
use crate::seen::Watch;
use crate::spool::Spool;
use crate::visitor::{self, Visitor};

/// The largest request head in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// The most hyper reads ahead or keeps unsent for a connection, in bytes.
const MAX_BUFFER: usize = 64 * 1024;
/// The pause after the system had no file or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// What a worker is given.
pub(crate) struct WorkerSetup {
    pub(crate) http: std::net::TcpListener,
    pub(crate) https: Option<std::net::TcpListener>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) table: TablePointer,
    pub(crate) watch: Watch,
    pub(crate) spool: Arc<Spool>,
    pub(crate) limits: Limits,
    /// Free connections of the whole edge.
    pub(crate) free: Arc<Semaphore>,
    /// Connections of each address.
    pub(crate) addresses: Arc<AddressCap>,
    pub(crate) departure: Arc<Departure>,
}

/// The state of a worker thread.
pub(crate) struct Worker {
    table: RefCell<Cache<TablePointer, Arc<LiveTable>>>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) limits: Limits,
    pub(crate) http: http1::Builder,
    pub(crate) http2: http2::Builder<OnThisThread>,
    certificates: Arc<Certificates>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) ids: RequestIds,
    pub(crate) gzip: Rc<Gzip>,
    pub(crate) hot: HotFiles,
    pub(crate) watch: Rc<Watch>,
    pub(crate) spool: Arc<Spool>,
    /// Where visitors find us with TLS, when they do.
    https: Option<u16>,
    pub(crate) stopping: CancellationToken,
    departure: Arc<Departure>,
    /// Whether connections close with their next answer.
    leaving: Cell<bool>,
    open: Cell<usize>,
    closed: Notify,
}

/// One open connection or tunnel.
pub(crate) struct Open(Rc<Worker>);

/// Runs a worker on this thread.
pub(crate) fn run(setup: WorkerSetup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Files that must come from the disk; visitors wait for them in turn.
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .build()?;
    LocalSet::new().block_on(&runtime, serve(setup))
}

async fn serve(setup: WorkerSetup) -> io::Result<()> {
    let plain = TcpListener::from_std(setup.http)?;
    let secure = setup.https.map(TcpListener::from_std).transpose()?;
    let port = match &secure {
        Some(secure) => Some(secure.local_addr()?.port()),
        None => None,
    };
    let acceptor = TlsAcceptor::from(setup.tls);
    let mut http = http1::Builder::new();
    // `VisitorIo` has the limit for heads, apart from the one between requests.
    http.header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);
    let worker = Rc::new(Worker {
        table: RefCell::new(Cache::new(setup.table)),
        pool: Rc::new(Pool::new(&setup.limits)),
        limits: setup.limits,
        http,
        http2: h2::builder(),
        certificates: setup.certificates,
        challenges: setup.challenges,
        ids: RequestIds::new(),
        gzip: Rc::default(),
        hot: HotFiles::default(),
        watch: Rc::new(setup.watch),
        spool: setup.spool,
        https: port,
        // A token of its own: connections wait on it without a lock shared by threads.
        stopping: setup.departure.begun.child_token(),
        departure: setup.departure,
        leaving: Cell::new(false),
        open: Cell::new(0),
        closed: Notify::new(),
    });
    let pool = worker.pool.clone();
    let sweeper = spawn_local(async move { pool.sweep().await });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&plain, secure.as_ref(), &setup.free) => accepted,
            Some(_) = connections.join_next() => continue,
            () = worker.stopping.cancelled() => break,
        };
        let Some((stream, peer, scheme, permit)) = accepted else {
            continue;
        };
        let Some(place) = setup.addresses.take(peer) else {
            worker.watch.connection_refused();
            refuse(stream);
            continue;
        };
        let visitor = Visitor::new(worker.clone(), peer, scheme, permit, place);
        match scheme {
            Scheme::Http => connections.spawn_local(visitor::serve(visitor, stream)),
            Scheme::Https => {
                connections.spawn_local(visitor::serve_tls(visitor, acceptor.clone(), stream))
            }
        };
    }
    worker.leaving.set(true);
    drop((plain, secure));
    if timeout(worker.grace().limit, worker.all_closed())
        .await
        .is_err()
    {
        tracing::warn!(open = worker.open.get(), "connections were cut at the end");
    }
    sweeper.abort();
    Ok(())
}

/// The next visitor; `None` after an error that is not the listener's end.
async fn accept(
    plain: &TcpListener,
    secure: Option<&TcpListener>,
    free: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, Scheme, OwnedSemaphorePermit)> {
    // Taken first: when all are taken, visitors queue in the kernel.
    let permit = free.clone().acquire_owned().await.ok()?;
    let tls = async {
        match secure {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        }
    };
    let (accepted, scheme) = tokio::select! {
        accepted = plain.accept() => (accepted, Scheme::Http),
        accepted = tls => (accepted, Scheme::Https),
    };
    match accepted {
        Ok((stream, peer)) => Some((stream, peer.ip(), scheme, permit)),
        Err(error) => {
            let errno = error.raw_os_error().map(Errno::from_raw_os_error);
            if let Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) = errno {
                tracing::error!(%error, "cannot accept a connection, waiting");
                sleep(EXHAUSTED).await;
            }
            None
        }
    }
}

/// Ends a connection with a reset: a farewell would cost the kernel a minute of memory for each.
fn refuse(stream: TcpStream) {
    if let Err(error) = sockopt::set_socket_linger(&stream, Some(Duration::ZERO)) {
        tracing::debug!(%error, "a refused connection is closed in the usual way");
    }
}

impl Worker {
    /// The route of a host in the table in force at this moment.
    pub(crate) fn route(&self, host: &str) -> Option<Arc<LiveRoute>> {
        self.table.borrow_mut().load().hosts.get(host).cloned()
    }

    /// The port where visitors of `host` are served with TLS; `None` while they are not.
    pub(crate) fn https_port(&self, host: &str) -> Option<u16> {
        self.https.filter(|_| self.certificates.covers(host))
    }

    /// Whether there are visitors with TLS at all.
    pub(crate) fn has_tls(&self) -> bool {
        self.https.is_some()
    }

    /// Whether a connection is to close with its next answer.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// What visitors have, once the edge leaves.
    pub(crate) fn grace(&self) -> Grace {
        self.departure.grace(&self.limits)
    }

    /// Counts a connection.
    pub(crate) fn opened(self: &Rc<Worker>) -> Open {
        self.open.set(self.open.get() + 1);
        self.watch.connection_opened();
        Open(self.clone())
    }

    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.watch.connection_closed();
        self.0.closed.notify_one();
    }
}
