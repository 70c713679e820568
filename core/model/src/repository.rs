//! Where code is fetched from: the address of a repository at a forge. It can only be parsed, so a
//! value is proof that no part of it is an option, a credential, another transport or a path that
//! climbs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::HostName;

/// The longest path of a repository, in bytes; forges allow less.
const PATH: usize = 250;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `https`, with a token or without one.
    Https,
    /// `ssh`, with a deploy key.
    Ssh,
}

impl Transport {
    /// The port when the address names none.
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Https => 443,
            Transport::Ssh => 22,
        }
    }
}

/// The address of a repository: `https://HOST[:PORT]/PATH`, `ssh://[USER@]HOST[:PORT]/PATH`, or
/// what forges show for ssh, `USER@HOST:PATH`. Shown in the first two forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryUrl {
    transport: Transport,
    user: Option<String>,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is not the address of a repository that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the address of a repository, found `{found}`: {reason}\nhint: for example `https://github.com/OWNER/REPO.git` or `git@github.com:OWNER/REPO.git`"
)]
pub struct RepositoryUrlError {
    found: String,
    reason: &'static str,
}

impl RepositoryUrl {
    /// How it is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The user of an ssh address.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// A host name or an IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, when the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The port, the transport's own when none was named.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `OWNER/REPO`, as forges call it in their payloads: without a `.git` at its end.
    pub fn slug(&self) -> &str {
        self.path.strip_suffix(".git").unwrap_or(&self.path)
    }

    /// Whether a payload's name of a repository means this one. Forges do not tell upper from
    /// lower case in it.
    pub fn is_named(&self, full_name: &str) -> bool {
        self.slug().eq_ignore_ascii_case(full_name)
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Https => "https",
            Transport::Ssh => "ssh",
        };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port != self.transport.default_port() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.path)
    }
}

impl FromStr for RepositoryUrl {
    type Err = RepositoryUrlError;

    fn from_str(text: &str) -> Result<RepositoryUrl, RepositoryUrlError> {
        parse(text).map_err(|reason| RepositoryUrlError {
            found: shown(text),
            reason,
        })
    }
}

impl TryFrom<String> for RepositoryUrl {
    type Error = RepositoryUrlError;
    fn try_from(text: String) -> Result<RepositoryUrl, RepositoryUrlError> {
        text.parse()
    }
}

impl From<RepositoryUrl> for String {
    fn from(url: RepositoryUrl) -> String {
        url.to_string()
    }
}

/// The literal for a message: cut, without control characters, and without what stands between
/// `//` and `@`, which may be somebody's token.
fn shown(text: &str) -> String {
    let start = text.find("//").map_or(0, |place| place + 2);
    let without_credentials = match text[start..].rfind('@') {
        Some(at) if start > 0 => format!("{}…{}", &text[..start], &text[start + at..]),
        _ => text.to_owned(),
    };
    without_credentials
        .chars()
        .take(120)
        .flat_map(char::escape_debug)
        .collect()
}

fn parse(text: &str) -> Result<RepositoryUrl, &'static str> {
    let (transport, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (Transport::Https, rest)
    } else if let Some(rest) = text.strip_prefix("ssh://") {
        (Transport::Ssh, rest)
    } else if text.contains("://") {
        return Err("it is neither `https` nor `ssh`");
    } else {
        return scp_like(text);
    };
    let (authority, path) = rest.split_once('/').ok_or("it has no path")?;
    let (user, host_and_port) = match authority.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, authority),
    };
    if transport == Transport::Https && user.is_some() {
        return Err("it carries a name or a token, which must not be in an address");
    }
    let (host, port) = host_and_port_of(host_and_port, transport)?;
    make(transport, user, host, port, path)
}

/// `USER@HOST:PATH`, or `HOST:PATH`.
fn scp_like(text: &str) -> Result<RepositoryUrl, &'static str> {
    let (authority, path) = text
        .split_once(':')
        .ok_or("it has neither a scheme nor a `HOST:PATH`")?;
    let (user, host) = match authority.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    make(
        Transport::Ssh,
        user,
        host,
        Transport::Ssh.default_port(),
        path.trim_start_matches('/'),
    )
}

fn host_and_port_of(text: &str, transport: Transport) -> Result<(&str, u16), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("its `[` has no `]`")?;
        (host, rest.strip_prefix(':'))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => transport.default_port(),
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0 && port_is_plain(text))
            .ok_or("its port is not a number from 1 to 65535")?,
    };
    Ok((host, port))
}

/// `parse` takes a `+` before a number.
fn port_is_plain(text: &str) -> bool {
    !text.contains('+')
}

fn make(
    transport: Transport,
    user: Option<&str>,
    host: &str,
    port: u16,
    path: &str,
) -> Result<RepositoryUrl, &'static str> {
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if user.is_some_and(|user| user.len() > 64 || !plain(user, "._-")) {
        return Err("its user is not of letters, digits, `.`, `_` and `-`");
    }
    let host = match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host
            .parse::<HostName>()
            .map_err(|_| "its host is neither a host name nor an IP address")?
            .to_string(),
    };
    let path = path.trim_end_matches('/');
    let segments_are_plain = path.split('/').all(|segment| {
        plain(segment, "._~+-") && segment.bytes().any(|byte| byte != b'.') && segment != ".git"
    });
    if path.len() > PATH || !segments_are_plain {
        return Err(
            "its path is not of names of letters, digits, `.`, `_`, `-`, `~` and `+`, none of which starts with `-`",
        );
    }
    Ok(RepositoryUrl {
        transport,
        user: user.map(str::to_owned),
        host,
        port,
        path: path.to_owned(),
    })
}

/// Whose webhooks and interface an app's repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// GitHub, on github.com or one's own server.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

impl Provider {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Github => "github",
            Provider::Gitlab => "gitlab",
            Provider::Gitea => "gitea",
            Provider::Bitbucket => "bitbucket",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Provider, ProviderError> {
        Ok(match text {
            "github" => Provider::Github,
            "gitlab" => Provider::Gitlab,
            "gitea" | "forgejo" => Provider::Gitea,
            "bitbucket" => Provider::Bitbucket,
            _ => {
                return Err(ProviderError {
                    found: text.chars().take(80).flat_map(char::escape_debug).collect(),
                });
            }
        })
    }
}

/// No provider of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a provider, found `{found}`\nhint: `github`, `gitlab`, `gitea` (also for Forgejo) or `bitbucket`"
)]
pub struct ProviderError {
    found: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_of_forges_are_taken() {
        for (text, shown, slug, port) in [
            (
                "https://github.com/yo/tienda.git",
                "https://github.com/yo/tienda.git",
                "yo/tienda",
                443,
            ),
            (
                "https://GitHub.com/yo/tienda/",
                "https://github.com/yo/tienda",
                "yo/tienda",
                443,
            ),
            (
                "git@github.com:yo/tienda.git",
                "ssh://git@github.com/yo/tienda.git",
                "yo/tienda",
                22,
            ),
            (
                "ssh://git@forge.example:2222/a/b/c.git",
                "ssh://git@forge.example:2222/a/b/c.git",
                "a/b/c",
                2222,
            ),
            (
                "https://127.0.0.1:8443/yo/x",
                "https://127.0.0.1:8443/yo/x",
                "yo/x",
                8443,
            ),
            (
                "https://[::1]:8443/yo/x",
                "https://[::1]:8443/yo/x",
                "yo/x",
                8443,
            ),
        ] {
            let url: RepositoryUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!((url.slug(), url.port()), (slug, port));
            assert_eq!(shown.parse::<RepositoryUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        for text in [
            "",
            "http://github.com/yo/x",
            "file:///etc",
            "ext::sh -c id",
            "ext::sh",
            "/srv/x.git",
            "https://token@github.com/yo/x",
            "https://a:b@github.com/yo/x",
            "https://github.com",
            "https://github.com/",
            "https://github.com/../x",
            "https://github.com/yo/%2e%2e",
            "https://github.com/yo//x",
            "https://github.com/yo/x?y=1",
            "https://github.com/yo/x#y",
            "https://-oProxyCommand=id/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://-oProxyCommand=id@h/x",
            "-oProxyCommand=id:x",
            "git@h:--upload-pack=id",
            "git@h:x;id",
            "git@h:x\nid",
            "git@h:$(id)",
            "https://h:0/x",
            "https://h:+1/x",
            "https://h:65536/x",
            "https://h:/x",
            "https://[::1/x",
        ] {
            assert!(text.parse::<RepositoryUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_in_a_refused_address_is_not_repeated() {
        let error = "https://me:ghp_secret@github.com/yo/x".parse::<RepositoryUrl>();
        let text = error.unwrap_err().to_string();
        assert!(!text.contains("ghp_secret"), "{text}");
        assert!(text.contains("github.com/yo/x"), "{text}");
    }
}
