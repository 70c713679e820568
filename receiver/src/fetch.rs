//! Code that is fetched: the branch of the configured repository, from where it is configured to
//! be, and from nowhere else.
//!
//! What is kept: `refs/zarpar/fetched/BRANCH` in the app's repository, one commit without its
//! history. What can never happen: a connection to an address that was not judged (the name is
//! looked up once, by us, and git is given the addresses; redirects, proxies and other transports
//! are off); a secret in an argument; something unfinished in the app's repository, since git
//! speaks with the forge in a scratch folder of its own, and the result is taken over whole. What
//! a crash leaves: that folder, which the next start of the server empties, and git processes
//! that end by themselves within their limits.

mod destination;
mod error;
mod host_keys;
mod network;
mod process;
mod ssh;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use zarpar_control::Secret;
use zarpar_model::{AppName, BranchName, CommitId, RepositoryUrl, Transport};

use crate::git::{ForgeFetch, fetched};
use crate::repository::Repositories;

pub(crate) use destination::resolve;
pub use error::FetchError;
pub use host_keys::{fingerprint, host_keys};
pub use network::{Network, NetworkError};
pub use ssh::{git_ssh, is_git_ssh};

/// Fetches at once; each may take `git/fetch.rs`'s memory, and a small machine has no more.
static FETCHES: Semaphore = Semaphore::const_new(2);

/// The rules of the server's configuration, `[fetch]`.
#[derive(Debug, Clone)]
pub struct FetchRules {
    /// Addresses that may be connected to although they are not public.
    pub allow: Vec<Network>,
    /// Ports beside 22 and 443.
    pub ports: Vec<u16>,
    /// A PEM file with the authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// What one fetch may take.
    pub timeout: Duration,
    /// What one fetch may bring, in bytes of a pack.
    pub max_bytes: u64,
}

impl Default for FetchRules {
    fn default() -> FetchRules {
        FetchRules {
            allow: Vec::new(),
            ports: Vec::new(),
            ca: None,
            timeout: Duration::from_secs(60),
            max_bytes: 100 * 1024 * 1024,
        }
    }
}

impl FetchRules {
    fn ports(&self) -> Vec<u16> {
        [22, 443].into_iter().chain(self.ports.clone()).collect()
    }
}

/// What to fetch.
#[derive(Debug)]
pub struct FetchSource<'a> {
    /// The configured repository.
    pub url: &'a RepositoryUrl,
    /// The configured branch.
    pub branch: &'a BranchName,
    /// How it opens.
    pub credentials: Credentials,
}

/// What opens a repository.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// It is public.
    None,
    /// Over ssh.
    DeployKey {
        /// The private key in OpenSSH's format.
        private: Secret,
        /// The server's pinned keys, each `TYPE BASE64`.
        host_keys: Vec<String>,
    },
    /// Over https.
    Token(Secret),
}

/// Fetches the tip of the branch to `refs/zarpar/fetched/BRANCH` of the app's repository, without
/// its history, and says which commit it is. Waits while two others are under way.
///
/// # Errors
/// [`FetchError`]; the app's repository is then as it was, but for a commit whose files are too
/// large, which is there and of no use.
pub async fn fetch(
    repositories: &Repositories,
    app: &AppName,
    source: &FetchSource<'_>,
    rules: &FetchRules,
) -> Result<CommitId, FetchError> {
    let _permit = FETCHES.acquire().await;
    let repository = repositories.path(app);
    let scratch = scratch(repositories).map_err(|source| FetchError::Files { source })?;
    let from = scratch.path().join("repository");
    let by_network = through_network(repositories, &repository, &scratch, &from, source, rules);
    tokio::time::timeout(rules.timeout, by_network)
        .await
        .map_err(|_| FetchError::Slow {
            url: source.url.clone(),
            limit: rules.timeout,
        })??;
    let git = repositories.git();
    let reference = fetched(source.branch);
    // Read before it is taken over, where nobody else writes.
    let commit: Option<CommitId> = git
        .resolve(&from, &reference)
        .await?
        .and_then(|id| id.parse().ok());
    let commit = commit.ok_or_else(|| FetchError::Git {
        url: source.url.clone(),
        message: format!("`{}` is not a commit there", source.branch),
    })?;
    // The pack was small; its files may be large all the same.
    repositories.check_tree_in(&from, &commit, None).await?;
    git.take_over(&from, &repository).await?;
    Ok(commit)
}

/// Removes what fetches left that were under way when the server was killed.
///
/// # Errors
/// When the folder cannot be removed.
pub fn remove_unfinished(repositories: &Repositories) -> std::io::Result<()> {
    match std::fs::remove_dir_all(repositories.scratch()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn scratch(repositories: &Repositories) -> std::io::Result<TempDir> {
    let folder = repositories.scratch();
    std::fs::create_dir_all(&folder)?;
    tempfile::Builder::new().prefix("fetch-").tempdir_in(folder)
}

async fn through_network(
    repositories: &Repositories,
    repository: &Path,
    scratch: &TempDir,
    into: &Path,
    source: &FetchSource<'_>,
    rules: &FetchRules,
) -> Result<(), FetchError> {
    let url = source.url;
    let addresses = resolve(url.host(), url.port(), rules).await?;
    let git = repositories.git();
    git.init(into, source.branch).await?;
    let tips = git.tips(repository).await?;
    share_objects(repository, &tips, into).map_err(|source| FetchError::Files { source })?;
    let (settings, env) = match url.transport() {
        Transport::Https => https(url, &addresses, &source.credentials, rules),
        Transport::Ssh => {
            let Some(address) = addresses.first() else {
                return Ok(());
            };
            if let Credentials::DeployKey { private, host_keys } = &source.credentials {
                ssh::write_files(scratch.path(), url.host(), private.expose(), host_keys)
                    .map_err(|source| FetchError::Files { source })?;
            }
            (
                vec!["protocol.ssh.allow=always".to_owned()],
                ssh::environment(&git.config.hooks, scratch.path(), url, *address),
            )
        }
    };
    let command = git.fetch(&ForgeFetch {
        repository: into,
        url,
        branch: source.branch,
        settings: &settings,
        env,
        timeout: rules.timeout,
        max_bytes: rules.max_bytes,
    });
    match process::run(command).await {
        Ok(None) => Ok(()),
        Ok(Some(said)) => {
            let with_token = matches!(source.credentials, Credentials::Token(_));
            let limit = rules.max_bytes;
            Err(error::explain(url, source.branch, with_token, limit, &said))
        }
        Err(source) => Err(FetchError::Files { source }),
    }
}

/// What the app's repository has need not be sent again: its objects are read in place, and the
/// forge is told of its commits, as references that nobody takes over.
fn share_objects(repository: &Path, tips: &[CommitId], scratch: &Path) -> std::io::Result<()> {
    let packed: String = tips
        .iter()
        .enumerate()
        .map(|(number, tip)| format!("{tip} refs/had/{number}\n"))
        .collect();
    std::fs::write(scratch.join("packed-refs"), packed)?;
    let mut objects = repository.join("objects").into_os_string();
    objects.push("\n");
    std::fs::write(
        scratch.join("objects/info/alternates"),
        objects.as_encoded_bytes(),
    )?;
    match std::fs::copy(repository.join("shallow"), scratch.join("shallow")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

type Settings = (Vec<String>, Vec<(&'static str, OsString)>);

fn https(
    url: &RepositoryUrl,
    addresses: &[IpAddr],
    credentials: &Credentials,
    rules: &FetchRules,
) -> Settings {
    let mut settings = vec!["protocol.https.allow=always".to_owned()];
    if url.address().is_none() {
        // CURLOPT_RESOLVE: libcurl asks no resolver for this host and port then.
        let pinned: Vec<String> = addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            })
            .collect();
        settings.push(format!(
            "http.curloptResolve={}:{}:{}",
            url.host(),
            url.port(),
            pinned.join(",")
        ));
    }
    if let Some(ca) = &rules.ca {
        settings.push(format!("http.sslCAInfo={}", ca.display()));
    }
    let mut env = Vec::new();
    if let Credentials::Token(token) = credentials {
        // The environment is read by our own user alone; an argument by everybody.
        let pair = format!("{}:{}", token_user(url.host()), token.expose());
        let header = format!("Authorization: Basic {}", STANDARD.encode(pair));
        env.push(("GIT_CONFIG_COUNT", "1".into()));
        env.push(("GIT_CONFIG_KEY_0", "http.extraHeader".into()));
        env.push(("GIT_CONFIG_VALUE_0", header.into()));
    }
    (settings, env)
}

/// The user name beside a token. GitHub, GitLab and Gitea take any; Bitbucket only this one.
fn token_user(host: &str) -> &'static str {
    if host == "bitbucket.org" {
        "x-token-auth"
    } else {
        "x-access-token"
    }
}
