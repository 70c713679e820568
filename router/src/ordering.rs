//! Joins the ordering of certificates to the table and to what is kept: every app of the table
//! gets one certificate for its hosts, except for those that have one given by hand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zarpar_control::CertificateView;
use zarpar_model::Timestamp;

use crate::acme::{self, Acme, CertificateStore, Challenges, Group, Status, Validity};
use crate::certificates::{Certificates, Source};
use crate::config::AcmeSettings;
use crate::live::Live;

/// The ordering task's side that the control socket sees.
pub(crate) struct Ordering {
    acme: Arc<Acme>,
    groups: watch::Sender<Vec<Group>>,
    enabled: bool,
}

impl Ordering {
    /// Nothing is ordered before [`Ordering::run`].
    pub(crate) fn new(enabled: bool) -> Ordering {
        Ordering {
            acme: Arc::default(),
            groups: watch::Sender::default(),
            enabled,
        }
    }

    /// Open challenges, for the workers.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.acme.challenges().clone()
    }

    /// Orders and renews until `stop`.
    pub(crate) async fn run(
        &self,
        settings: &AcmeSettings,
        certificates: Arc<Certificates>,
        stop: CancellationToken,
    ) {
        let store = Arc::new(Kept(certificates));
        let groups = self.groups.subscribe();
        acme::run(self.acme.clone(), config(settings), groups, store, stop).await;
    }

    /// Takes note of the hosts of the table in force and of certificates given by hand.
    pub(crate) fn look(&self, live: &Live, certificates: &Certificates) {
        if !self.enabled {
            return;
        }
        let now: Vec<Group> = live
            .apps()
            .iter()
            .map(|(app, hosts)| Group {
                name: app.clone(),
                hosts: hosts
                    .iter()
                    .filter(|host| !certificates.has_own(host))
                    .cloned()
                    .collect(),
            })
            .collect();
        self.groups.send_if_modified(|groups| {
            let changed = *groups != now;
            *groups = now;
            changed
        });
    }

    /// Orders for an app now, whatever its back-off says. `false` when nothing is ordered for it.
    pub(crate) fn renew(&self, app: &str) -> bool {
        let groups = self.groups.borrow();
        let known = groups
            .iter()
            .any(|group| group.name == app && !group.hosts.is_empty());
        if known {
            self.acme.renew(app);
        }
        known
    }

    /// The certificates there are, with what comes next, and the apps that wait for one.
    pub(crate) fn list(&self, certificates: &Certificates) -> Vec<CertificateView> {
        let statuses = self.acme.statuses();
        let mut all = certificates.list();
        for status in statuses.iter() {
            let mut named = false;
            for view in all.iter_mut().filter(|view| view.source == "acme") {
                if view.names.iter().any(|name| status.hosts.contains(name)) {
                    view.next_step.clone_from(&status.next_step);
                    view.last_error = trouble(status);
                    named = true;
                }
            }
            if !named {
                all.push(awaited(status));
            }
        }
        all
    }
}

/// An app without a certificate yet.
fn awaited(status: &Status) -> CertificateView {
    let shown =
        |at: Option<SystemTime>| at.map_or_else(String::new, |at| Timestamp::from(at).to_string());
    CertificateView {
        name: status.name.clone(),
        names: status.hosts.clone(),
        issuer: status.issuer.clone().unwrap_or_default(),
        not_before: String::new(),
        not_after: shown(status.not_after),
        source: "acme".to_owned(),
        next_step: status.next_step.clone(),
        last_error: trouble(status),
    }
}

fn trouble(status: &Status) -> Option<String> {
    let parts: Vec<&str> = [&status.alarm, &status.last_error]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn config(settings: &AcmeSettings) -> acme::Config {
    let mut config = acme::Config::new(settings.folder.clone());
    config.contact.clone_from(&settings.contact);
    config.extra_roots.clone_from(&settings.roots);
    config.dns.enabled = settings.look_up_names;
    config.dns.addresses.clone_from(&settings.addresses);
    if let Some(directory) = &settings.directory {
        // An authority of one's own has no staging and may sign names of a private net.
        config.directory.clone_from(directory);
        config.staging = None;
        config.profile = None;
        config.dns.private_names = true;
    }
    config
}

/// The kept certificates as the ordering task sees them.
struct Kept(Arc<Certificates>);

impl CertificateStore for Kept {
    fn install(&self, hosts: &[String], pem: &str) -> Result<(), String> {
        self.0
            .install(Source::Acme, hosts, pem.as_bytes())
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn expiry(&self, host: &str) -> Option<Validity> {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        self.0.validity(host).map(|(from, until)| Validity {
            not_before: at(from),
            not_after: at(until),
        })
    }
}
