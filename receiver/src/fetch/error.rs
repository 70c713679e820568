//! Why nothing was fetched, in the words of the person who can change it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use zarpar_model::{BranchName, RepositoryUrl, show_size, show_span};

use crate::git::GitError;
use crate::tree::TreeError;

/// Why code could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The files of the commit are beyond the limits of a push.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The name means nothing.
    #[error(
        "cannot find the host `{host}`\nhint: is it spelled right? `getent hosts {host}` on the server shows what its resolver says"
    )]
    UnknownHost {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The host is where the server must not be sent to.
    #[error(
        "`{host}` is at `{address}`, {kind}, and code is fetched from public addresses alone\nhint: if this server shall fetch from there, write `allow = [\"{address}\"]` under `[fetch]` in its configuration and restart `zarpar serve`"
    )]
    Address {
        /// The host.
        host: String,
        /// The address that is refused.
        address: IpAddr,
        /// What it is.
        kind: &'static str,
    },
    /// A port that git is not served on.
    #[error(
        "code is fetched from the ports {allowed}, not from `{port}`\nhint: if your forge is there, write `ports = [{wanted}]` under `[fetch]` in the server's configuration and restart `zarpar serve`"
    )]
    Port {
        /// The port.
        port: u16,
        /// Those that are allowed now.
        allowed: String,
        /// Those that the configuration has to name, this one included.
        wanted: String,
    },
    /// Nobody answers, or somebody does who speaks neither TLS nor ssh.
    #[error(
        "`{url}` cannot be reached from this server: {message}\nhint: is the forge up, and does a firewall between let this server through?"
    )]
    Unreachable {
        /// The repository.
        url: RepositoryUrl,
        /// What git said.
        message: String,
    },
    /// No such repository, or not for us.
    #[error(
        "`{url}` is not there, or not for this server to read\nhint: is the address right? A private repository needs the deploy key (`zarpar webhooks show APP` shows it) with an address such as `git@HOST:OWNER/REPO.git`"
    )]
    NotFound {
        /// The repository.
        url: RepositoryUrl,
    },
    /// The key is not known there.
    #[error(
        "`{url}` does not let this server's deploy key in\nhint: is the deploy key added to the repository? `zarpar webhooks show APP` shows it; read access is enough"
    )]
    Denied {
        /// The repository.
        url: RepositoryUrl,
    },
    /// The token is wrong.
    #[error(
        "`{url}` does not take the token\nhint: is it still valid, and may it read the repository's contents?"
    )]
    Token {
        /// The repository.
        url: RepositoryUrl,
    },
    /// Another host key than the pinned one, or none is pinned.
    #[error(
        "`{host}` shows another host key than the one that was pinned: it was replaced there, or somebody is in between\nhint: compare with what your forge publishes; if it is right, `zarpar webhooks enable APP --rotate` pins it anew"
    )]
    HostKey {
        /// The host.
        host: String,
    },
    /// A forge whose key is published shows another one.
    #[error(
        "`{host}` shows the host key `{found}`, and its published one is `{published}`: somebody is in between\nhint: do not go on from this network"
    )]
    NotThePublishedKey {
        /// The host.
        host: String,
        /// The fingerprint that was seen.
        found: String,
        /// The one that is published.
        published: &'static str,
    },
    /// No host key at all.
    #[error(
        "`{host}` shows no host key on port {port}\nhint: does an ssh server answer there? `ssh-keyscan -p {port} {host}` shows it"
    )]
    NoHostKey {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The certificate is not trusted.
    #[error(
        "`{url}` has no certificate that this server trusts: {message}\nhint: with an authority of your own, write `ca = \"FILE\"` under `[fetch]` in the server's configuration and restart `zarpar serve`"
    )]
    Certificate {
        /// The repository.
        url: RepositoryUrl,
        /// What git said.
        message: String,
    },
    /// The server sends us elsewhere.
    #[error(
        "`{url}` sends to another address, and that is not followed\nhint: give the repository's own address; has it moved, or does it need `.git` at its end?"
    )]
    Redirect {
        /// The repository.
        url: RepositoryUrl,
    },
    /// No such branch.
    #[error(
        "`{url}` has no branch `{branch}`\nhint: push it there, or name another one with `--branch`"
    )]
    NoBranch {
        /// The repository.
        url: RepositoryUrl,
        /// The branch.
        branch: BranchName,
    },
    /// More than the limit.
    #[error(
        "`{url}` sends more than {}\nhint: take large files out of the repository, or write a larger `max_size` under `[fetch]` in the server's configuration", show_size(*limit)
    )]
    TooLarge {
        /// The repository.
        url: RepositoryUrl,
        /// The limit in bytes.
        limit: u64,
    },
    /// Longer than the limit.
    #[error(
        "`{url}` did not send everything within {}\nhint: try again; with a slow line, write a larger `timeout` under `[fetch]` in the server's configuration", show_span(*limit)
    )]
    Slow {
        /// The repository.
        url: RepositoryUrl,
        /// The limit.
        limit: Duration,
    },
    /// Objects that git's own check refuses.
    #[error(
        "`{url}` sends what git's check refuses: {message}\nhint: `git fsck --strict` in a clone of it says where"
    )]
    Hostile {
        /// The repository.
        url: RepositoryUrl,
        /// What git said.
        message: String,
    },
    /// git said something else.
    #[error("cannot fetch from `{url}`: {message}")]
    Git {
        /// The repository.
        url: RepositoryUrl,
        /// What git said last.
        message: String,
    },
    /// Our own side of it.
    #[error(transparent)]
    Own(#[from] GitError),
    /// A file or a program of our own side.
    #[error(
        "cannot prepare a fetch\nhint: is the disk full? Are `git`, `openssh-client` and `coreutils` installed?"
    )]
    Files {
        /// What the system said.
        source: io::Error,
    },
}

/// What git's last words mean. They are English, since it is started with `LC_ALL=C`; a far end
/// that imitates them is told about in the wrong words, and nothing else.
pub(super) fn explain(
    url: &RepositoryUrl,
    branch: &BranchName,
    with_token: bool,
    limit: u64,
    said: &str,
) -> FetchError {
    let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let url = url.clone();
    let message = || {
        let line = said.lines().rfind(|line| !line.trim().is_empty());
        line.unwrap_or("it ended without a word").trim().to_owned()
    };
    // All that is left to say when `index-pack` was ended by SIGXFSZ, for a file over its limit.
    let cut = said.trim() == "fatal: fetch-pack: invalid index-pack output";
    if has(&[
        "Host key verification failed",
        "HOST IDENTIFICATION HAS CHANGED",
    ]) {
        FetchError::HostKey {
            host: url.host().to_owned(),
        }
    } else if cut
        || has(&[
            "died of signal 25",
            "File too large",
            "ut of memory",
            "over limit",
        ])
    {
        FetchError::TooLarge { url, limit }
    } else if let Some(line) = said.lines().find(|line| line.contains("error: object ")) {
        FetchError::Hostile {
            url,
            message: line.trim().to_owned(),
        }
    } else if has(&["Permission denied"]) {
        FetchError::Denied { url }
    } else if has(&["find remote ref"]) {
        FetchError::NoBranch {
            url,
            branch: branch.clone(),
        }
    } else if has(&["returned error: 30", "redirect"]) {
        FetchError::Redirect { url }
    } else if with_token
        && has(&[
            "Authentication failed",
            "could not read Username",
            "error: 401",
            "error: 403",
        ])
    {
        FetchError::Token { url }
    } else if has(&[
        "not found",
        "error: 404",
        "error: 401",
        "error: 403",
        "could not read Username",
        "Authentication failed",
        "not appear to be a git repository",
    ]) {
        FetchError::NotFound { url }
    } else if has(&["certificate", "SSL peer"]) {
        FetchError::Certificate {
            url,
            message: message(),
        }
    } else if has(&[
        "Failed to connect",
        "Could not connect",
        "Connection refused",
        "timed out",
        "unable to access",
        "Could not resolve",
        "Connection closed",
    ]) {
        FetchError::Unreachable {
            url,
            message: message(),
        }
    } else {
        FetchError::Git {
            url,
            message: message(),
        }
    }
}
