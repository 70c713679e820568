//! The certificates in force.
//!
//! Kept: one PEM file a certificate, `<data>/certificates/<name>/certificate.pem` for one that
//! was given by hand, `acme.pem` for one that was ordered, mode 0600, private key and chain in
//! one file so that a pair can never be torn apart; in memory a map from name to key behind an
//! atomic pointer. What can never happen: a certificate in force that is not durable, or whose
//! key does not match. A crash leaves the old file or the new one, whole, and perhaps a `.new`
//! beside it. A file that cannot be used is reported and left alone; the others serve.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use zarpar_control::CertificateView;
use zarpar_model::Timestamp;

use crate::certificate::{Certificate, CertificateError};
use crate::metrics::Expiry;
use crate::persist;

/// How a certificate came here; the one given by hand goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Given by hand.
    Own,
    /// Ordered from a certificate authority.
    Acme,
}

/// All certificates.
#[derive(Debug)]
pub(crate) struct Certificates {
    root: PathBuf,
    provider: Arc<CryptoProvider>,
    live: ArcSwap<InForce>,
    /// Held while files change; never by a handshake.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct InForce {
    /// The best certificate for each name; wildcards under `*.example.org`.
    by_name: HashMap<Box<str>, Arc<Certificate>>,
    all: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    folder: String,
    source: Source,
    certificate: Arc<Certificate>,
}

/// Why a certificate was not put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate ran out at {at}\nhint: get a new one")]
    Expired { at: Timestamp },
    #[error(
        "the certificate is for `{names}` and for no host of the app (`{hosts}`)\nhint: `zarpar domains add APP HOST` if the host is missing there"
    )]
    Hosts { names: String, hosts: String },
    #[error("cannot keep the certificate in `{}`\nhint: is the disk full? `df -h`", path.display())]
    Save { path: PathBuf, source: io::Error },
    #[error(
        "there is no certificate `{name}` that was given by hand\nhint: `zarpar certificates list` shows them"
    )]
    Unknown { name: String },
}

impl Certificates {
    /// Reads what is kept below `root`, which need not exist.
    pub(crate) fn load(root: PathBuf, provider: Arc<CryptoProvider>) -> Certificates {
        let certificates = Certificates {
            root,
            provider,
            live: ArcSwap::default(),
            changing: Mutex::default(),
        };
        certificates.reload();
        certificates
    }

    /// The key for a name as it stands in a handshake.
    pub(crate) fn key(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let live = self.live.load();
        Some(live.find(name)?.key.clone())
    }

    /// Whether visitors of `host` can be served with TLS.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let live = self.live.load();
        !live.by_name.is_empty() && live.find(host).is_some()
    }

    /// Whether a certificate given by hand, not run out, is for `host`.
    pub(crate) fn has_own(&self, host: &str) -> bool {
        let now = SystemTime::now();
        let live = self.live.load();
        live.all.iter().any(|stored| {
            stored.source == Source::Own
                && stored.certificate.covers(host)
                && !stored.certificate.is_expired(now)
        })
    }

    /// From when and until when the certificate in force for `host` is good, Unix seconds.
    pub(crate) fn validity(&self, host: &str) -> Option<(u64, u64)> {
        let live = self.live.load();
        let found = live.find(host)?;
        Some((found.not_before, found.not_after))
    }

    /// Keeps a certificate and puts it in force. One given by hand must be for one of `hosts`.
    ///
    /// # Errors
    /// [`InstallError`]; nothing is changed then.
    pub(crate) fn install(
        &self,
        source: Source,
        hosts: &[String],
        pem: &[u8],
    ) -> Result<CertificateView, InstallError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = Certificate::from_pem(pem, &self.provider)?;
        if certificate.is_expired(SystemTime::now()) {
            return Err(InstallError::Expired {
                at: Timestamp(certificate.not_after * 1000),
            });
        }
        if !hosts.iter().any(|host| certificate.covers(host)) {
            return Err(InstallError::Hosts {
                names: certificate.names.join(", "),
                hosts: hosts.join(", "),
            });
        }
        // By the first name, so that the next one for the same names replaces this one.
        let folder = folder_name(&certificate.names[0]);
        let path = self.root.join(&folder).join(source.file_name());
        persist::write_whole(&path, pem).map_err(|error| InstallError::Save {
            path: path.clone(),
            source: error,
        })?;
        self.reload();
        Ok(view(&Stored {
            folder,
            source,
            certificate: Arc::new(certificate),
        }))
    }

    /// Forgets a certificate that was given by hand.
    ///
    /// # Errors
    /// [`InstallError`].
    pub(crate) fn remove(&self, name: &str) -> Result<CertificateView, InstallError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load_full();
        let found = live.all.iter().find(|stored| {
            stored.source == Source::Own
                && (stored.folder == name || stored.certificate.names.iter().any(|own| own == name))
        });
        let stored = found.ok_or_else(|| InstallError::Unknown {
            name: name.escape_debug().to_string(),
        })?;
        let path = self
            .root
            .join(&stored.folder)
            .join(stored.source.file_name());
        fs::remove_file(&path).map_err(|source| InstallError::Save { path, source })?;
        self.reload();
        Ok(view(stored))
    }

    /// What there is, by name.
    pub(crate) fn list(&self) -> Vec<CertificateView> {
        self.live.load().all.iter().map(view).collect()
    }

    /// When each of them runs out.
    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        let live = self.live.load();
        let expiry = |stored: &Stored| Expiry {
            name: stored.folder.clone(),
            source: stored.source.word(),
            at: stored.certificate.not_after,
        };
        live.all.iter().map(expiry).collect()
    }

    fn reload(&self) {
        let mut all = Vec::new();
        for folder in folders(&self.root) {
            for source in [Source::Own, Source::Acme] {
                let path = self.root.join(&folder).join(source.file_name());
                match read(&path, &self.provider) {
                    Ok(None) => {}
                    Ok(Some(certificate)) => all.push(Stored {
                        folder: folder.clone(),
                        source,
                        certificate: Arc::new(certificate),
                    }),
                    Err(reason) => {
                        tracing::error!(path = %path.display(), reason, "a certificate cannot be used")
                    }
                }
            }
        }
        self.live
            .store(Arc::new(InForce::new(all, SystemTime::now())));
    }
}

impl InForce {
    fn new(all: Vec<Stored>, now: SystemTime) -> InForce {
        // Worst first, so that the best one of a name is the last to be put there: one that has
        // run out is better than none, by hand goes before ordered, later before earlier.
        let mut ranked: Vec<&Stored> = all.iter().collect();
        ranked.sort_by_key(|stored| {
            (
                !stored.certificate.is_expired(now),
                stored.source == Source::Own,
                stored.certificate.not_after,
            )
        });
        let mut by_name: HashMap<Box<str>, Arc<Certificate>> = HashMap::new();
        for stored in ranked {
            for name in &stored.certificate.names {
                by_name.insert(name.as_str().into(), stored.certificate.clone());
            }
        }
        InForce { by_name, all }
    }

    fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        if let Some(found) = self.by_name.get(name) {
            return Some(found);
        }
        let (_, above) = name.split_once('.')?;
        self.by_name.get(format!("*.{above}").as_str())
    }
}

impl Source {
    fn file_name(self) -> &'static str {
        match self {
            Source::Own => "certificate.pem",
            Source::Acme => "acme.pem",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Source::Own => "own",
            Source::Acme => "acme",
        }
    }
}

fn view(stored: &Stored) -> CertificateView {
    let certificate = &stored.certificate;
    let expired = certificate.is_expired(SystemTime::now());
    CertificateView {
        name: stored.folder.clone(),
        names: certificate.names.clone(),
        issuer: certificate.issuer.clone(),
        not_before: Timestamp(certificate.not_before * 1000).to_string(),
        not_after: Timestamp(certificate.not_after * 1000).to_string(),
        source: stored.source.word().to_owned(),
        next_step: match (stored.source, expired) {
            (Source::Own, false) => "replace it before it runs out: `zarpar certificates add`",
            (Source::Own, true) => "it has run out, browsers warn: `zarpar certificates add`",
            (Source::Acme, _) => "it is renewed by itself",
        }
        .to_owned(),
        last_error: None,
    }
}

/// A name as a folder: names are host names, so only the wildcard needs another spelling.
fn folder_name(name: &str) -> String {
    let good = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    name.replace('*', "_wildcard")
        .chars()
        .map(|character| if good(character) { character } else { '_' })
        .collect::<String>()
        .trim_start_matches('.')
        .to_owned()
}

fn folders(root: &Path) -> Vec<String> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::error!(%error, path = %root.display(), "the certificates cannot be read");
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn read(path: &Path, provider: &CryptoProvider) -> Result<Option<Certificate>, String> {
    let pem = match fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    Certificate::from_pem(&pem, provider)
        .map(Some)
        .map_err(|error| error.to_string())
}
