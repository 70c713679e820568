//! `keys`. The key is parsed before anything is asked of the control plane, so a private key
//! that was given by mistake goes nowhere.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use zarpar_control::{KeyAdded, KeyView, Request};
use zarpar_model::{AppName, PublicKey, Role};

use super::client::{ask, follow};
use super::{Listing, Remote, output, table};
use crate::report::fail;

/// More than any key has, in bytes.
const LIMIT: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Let a public key in
    Add {
        /// What it is called here, and in deployments
        name: AppName,
        /// The file with the key, such as ~/.ssh/id_ed25519.pub (`-` for standard input)
        #[arg(default_value = "-")]
        file: PathBuf,
        /// An app it may touch (default: all)
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<AppName>,
        /// What it may say: `deploy` pushes, rolls back and looks; `operate` also changes what
        /// runs; `admin` everything
        #[arg(long, default_value = "deploy", value_name = "deploy|operate|admin")]
        role: Role,
    },
    /// List the keys
    List(Listing),
    /// Let a key in no more
    Remove { name: AppName },
}

pub(crate) fn keys(remote: &Remote, command: KeysCommand) -> ExitCode {
    match command {
        KeysCommand::Add {
            name,
            file,
            apps,
            role,
        } => {
            let key = match read(&file) {
                Ok(key) => key,
                Err(error) => return fail(error.as_ref(), 2),
            };
            let request = Request::KeyAdd {
                name,
                key,
                role,
                apps,
            };
            ask(remote, &request, |added: KeyAdded| {
                let key = added.key;
                output::line(&format!(
                    "the key `{}` ({}) may come in by SSH, with the role {} for {}",
                    key.name,
                    key.fingerprint,
                    key.role,
                    apps_of(key.apps.as_deref())
                ));
                output::note(&format!(
                    "next, in the project:\n  git remote add production {}\n  git push production {}",
                    added.remote,
                    added.branch.as_deref().unwrap_or("main")
                ));
            })
        }
        KeysCommand::List(listing) => ask(remote, &Request::KeyList, |keys: Vec<KeyView>| {
            if listing.json {
                return output::json(&keys);
            }
            let rows: Vec<Vec<String>> = keys
                .into_iter()
                .map(|key| {
                    let apps = apps_of(key.apps.as_deref());
                    vec![key.name, key.role, apps, key.fingerprint, key.comment]
                })
                .collect();
            table::print(
                &["KEY", "ROLE", "APPS", "FINGERPRINT", "COMMENT"],
                &rows,
                "no keys yet\nhint: `zarpar keys add NAME FILE.pub` lets one in",
            );
        }),
        KeysCommand::Remove { name } => follow(remote, &Request::KeyRemove { name }),
    }
}

pub(super) fn apps_of(apps: Option<&[String]>) -> String {
    apps.map_or_else(|| "all apps".to_owned(), |apps| apps.join(", "))
}

fn read(file: &Path) -> anyhow::Result<PublicKey> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|found| found.take(LIMIT).read_to_end(&mut bytes))
    }
    .with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).parse::<PublicKey>()?)
}
