//! An edge as the ordering task sees it: a certificate store, and listeners that answer
//! challenges on the ports where the authority looks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::super::*;
use super::pebble::Site;

/// Waits until `state` holds.
pub(super) async fn eventually(what: &str, within: Duration, mut state: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !state().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(within, reached).await.is_err() {
        panic!("not within {within:?}: {what}");
    }
}

/// Certificates by host, and how often one was installed.
#[derive(Default)]
pub(super) struct Store {
    state: Mutex<StoreState>,
}

#[derive(Default)]
struct StoreState {
    certificates: HashMap<String, (Validity, String)>,
    installs: Vec<Vec<String>>,
    refuses: bool,
    late: usize,
}

impl Store {
    pub(super) fn installs(&self) -> Vec<Vec<String>> {
        self.state.lock().unwrap().installs.clone()
    }

    pub(super) fn pem(&self, host: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        state.certificates.get(host).map(|(_, pem)| pem.clone())
    }

    /// How many certificates came after their predecessor had ended.
    pub(super) fn late(&self) -> usize {
        self.state.lock().unwrap().late
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }
}

impl CertificateStore for Store {
    fn install(&self, hosts: &[String], pem: &str) -> Result<(), String> {
        let mut state = self.state.lock().unwrap();
        if state.refuses {
            return Err("the disk is full".to_owned());
        }
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(pem.matches("-----BEGIN CERTIFICATE-----").count() >= 2);
        let (validity, mut names) = read(pem);
        let mut wanted = hosts.to_vec();
        names.sort();
        wanted.sort();
        assert_eq!(names, wanted);
        for host in hosts {
            let value = (validity, pem.to_owned());
            let before = state.certificates.insert(host.clone(), value);
            if before.is_some_and(|(old, _)| old.not_after < SystemTime::now()) {
                state.late += 1;
            }
        }
        state.installs.push(hosts.to_vec());
        Ok(())
    }

    fn expiry(&self, host: &str) -> Option<Validity> {
        let state = self.state.lock().unwrap();
        state.certificates.get(host).map(|(validity, _)| *validity)
    }
}

fn read(pem: &str) -> (Validity, Vec<String>) {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let at = |time: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(time.timestamp() as u64)
    };
    let validity = Validity {
        not_before: at(parsed.validity().not_before),
        not_after: at(parsed.validity().not_after),
    };
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("unexpected name {other:?}"),
    });
    (validity, names.collect())
}

/// An edge with one ordering task; dropping it ends both.
pub(super) struct Edge {
    pub(super) acme: Arc<Acme>,
    pub(super) groups: watch::Sender<Vec<Group>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Edge {
    /// Starts with the names in `groups`; challenges are answered where `site` looks.
    pub(super) async fn start(
        site: &Site,
        config: Config,
        groups: &[Group],
        store: &Arc<Store>,
    ) -> Edge {
        let acme = Arc::new(Acme::default());
        let (sender, receiver) = watch::channel(groups.to_vec());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(answer_http(listen(site.http_port).await, Arc::clone(&acme)));
        tasks.spawn(answer_tls(listen(site.tls_port).await, Arc::clone(&acme)));
        let store: Arc<dyn CertificateStore> = Arc::clone(store) as _;
        tasks.spawn(run(
            Arc::clone(&acme),
            config,
            receiver,
            store,
            stop.clone(),
        ));
        Edge {
            acme,
            groups: sender,
            stop,
            tasks,
        }
    }

    /// The first group's status.
    pub(super) fn status(&self) -> Option<Status> {
        self.acme.statuses().first().cloned()
    }

    /// Ends the ordering task as a shutdown does, then the listeners.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
        self.tasks.shutdown().await;
    }
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.unwrap()
}

async fn answer_http(listener: TcpListener, acme: Arc<Acme>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| {
            let host = request.headers()["host"].to_str().unwrap();
            let host = host.split(':').next().unwrap();
            let token = request.uri().path().strip_prefix(HTTP_PREFIX);
            let content = token.and_then(|token| acme.challenges().http01(host, token));
            let status = match content {
                // A name whose way in is blocked, as by a firewall.
                Some(_) if host.starts_with("blocked.") => StatusCode::FORBIDDEN,
                Some(_) => StatusCode::OK,
                None => StatusCode::NOT_FOUND,
            };
            let mut answer = Response::new(content.unwrap_or_default());
            *answer.status_mut() = status;
            async move { Ok::<_, Infallible>(answer) }
        });
        let io = TokioIo::new(stream);
        let _ = http1::Builder::new()
            .keep_alive(false)
            .serve_connection(io, service)
            .await;
    }
}

async fn answer_tls(listener: TcpListener, acme: Arc<Acme>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver(Arc::clone(acme.challenges()))));
    config.alpn_protocols = vec![TLS_ALPN_PROTOCOL.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = acceptor.accept(stream).await;
    }
}

#[derive(Debug)]
struct Resolver(Arc<Challenges>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name()?;
        if host.starts_with("blocked.") {
            return None;
        }
        self.0.tls_alpn01(host)
    }
}
