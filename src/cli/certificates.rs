//! `certificates`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use zarpar_control::{CertificateView, Request, Secret};
use zarpar_model::{AppName, HostName, NameError};

use super::client::{ask, follow};
use super::{CertificatesCommand, Remote, output, table};

/// More than any chain with its key has, in bytes.
const LIMIT: u64 = 256 * 1024;

/// What a certificate is for: a name with a dot is the console's host.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    App(AppName),
    Console(HostName),
}

impl FromStr for Subject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Subject, NameError> {
        if text.contains('.') {
            text.parse().map(Subject::Console)
        } else {
            text.parse().map(Subject::App)
        }
    }
}

pub(crate) fn certificates(remote: &Remote, command: CertificatesCommand) -> ExitCode {
    match command {
        CertificatesCommand::Add { subject, cert, key } => {
            let pem = match pair(&cert, &key) {
                Ok(pem) => pem,
                Err(error) => return crate::report::fail(error.as_ref(), 1),
            };
            let request = match subject {
                Subject::App(app) => Request::CertificateAdd { app, pem },
                Subject::Console(host) => Request::ConsoleCertificateAdd { host, pem },
            };
            ask(remote, &request, |added: CertificateView| {
                output::line(&format!(
                    "{} is served with TLS until {}",
                    added.names.join(", "),
                    added.not_after
                ));
            })
        }
        CertificatesCommand::Remove { name } => ask(
            remote,
            &Request::CertificateRemove { name },
            |removed: CertificateView| {
                output::line(&format!(
                    "the certificate for {} is removed",
                    removed.names.join(", ")
                ));
            },
        ),
        CertificatesCommand::Renew { subject } => follow(
            remote,
            &match subject {
                Subject::App(app) => Request::CertificateRenew { app },
                Subject::Console(host) => Request::ConsoleCertificateRenew { host },
            },
        ),
        CertificatesCommand::List(listing) => ask(
            remote,
            &Request::CertificateList,
            |all: Vec<CertificateView>| {
                if listing.json {
                    return output::json(&all);
                }
                let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
                table::print(
                    &["NAMES", "ISSUER", "UNTIL", "NEXT", "LAST ERROR"],
                    &rows,
                    "no certificates yet\nhint: `zarpar certificates add APP CERT KEY` gives one",
                );
            },
        ),
    }
}

fn row(view: CertificateView) -> Vec<String> {
    vec![
        view.names.join(", "),
        view.issuer,
        view.not_after,
        view.next_step,
        view.last_error.unwrap_or_default(),
    ]
}

/// Key and chain in one text, as the edge keeps them. Either file may hold both already.
fn pair(cert: &Path, key: &Path) -> anyhow::Result<Secret> {
    if cert == Path::new("-") && key == Path::new("-") {
        let mut both = String::new();
        std::io::stdin()
            .lock()
            .take(LIMIT)
            .read_to_string(&mut both)
            .context("cannot read standard input as PEM")?;
        return Ok(Secret::new(both));
    }
    let read = |path: &Path| -> anyhow::Result<String> {
        let shown = path.display();
        let size = std::fs::metadata(path)
            .with_context(|| format!("cannot read `{shown}`"))?
            .len();
        anyhow::ensure!(
            size <= LIMIT,
            "expected a PEM file of at most {LIMIT} bytes, `{shown}` has {size}\nhint: the files are called such as `fullchain.pem` and `privkey.pem`"
        );
        std::fs::read_to_string(path).with_context(|| {
            format!("cannot read `{shown}` as PEM\nhint: `openssl x509 -inform der -in {shown} -out cert.pem` makes one of a DER file")
        })
    };
    let (cert, key) = (read(cert)?, read(key)?);
    Ok(Secret::new(format!("{key}\n{cert}")))
}
