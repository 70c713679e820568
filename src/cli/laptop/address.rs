//! The address of a git remote, as far as it leads to a zarpar server. It can only be parsed, so no
//! part of it is an option of `ssh`, a credential or anything a shell would read.

use std::fmt;
use std::net::Ipv6Addr;

use zarpar_model::AppName;

/// The user that keys are added for, unless the server's configuration says otherwise.
const USER: &str = "zarpar";

/// `zarpar@HOST:APP`, or `ssh://zarpar@HOST[:PORT]/APP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// None leaves it to the user's configuration of ssh.
    pub(super) user: Option<String>,
    /// A host, or an alias of the user's configuration of ssh.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) app: AppName,
}

/// What a remote's address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leads {
    /// An app of a zarpar server, by ssh.
    Ssh(Address),
    /// An app of a zarpar server, by smart HTTP, which carries code and no words.
    Http,
    /// Somewhere else.
    Elsewhere,
}

impl Leads {
    /// Reads an address. One that nobody named, and that is not `production`, must have the user `zarpar`, because
    /// `git@HOST:NAME` may be any forge.
    pub(super) fn read(url: &str, named: bool) -> Leads {
        match ssh(url) {
            Some(address) if named || address.user.as_deref() == Some(USER) => Leads::Ssh(address),
            _ if is_http(url) => Leads::Http,
            _ => Leads::Elsewhere,
        }
    }
}

impl Address {
    /// `USER@HOST`, what ssh is called with.
    pub(super) fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination())?;
        match self.port {
            Some(port) => write!(f, " port {port}"),
            None => Ok(()),
        }
    }
}

fn ssh(url: &str) -> Option<Address> {
    let (authority, path, port) = match url.strip_prefix("ssh://") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/')?;
            let (authority, port) = match authority.rsplit_once(':') {
                // The colons of `[::1]` are the host's.
                Some((before, port)) if !port.contains(']') => (before, Some(port)),
                _ => (authority, None),
            };
            (authority, path, port)
        }
        None if url.contains("://") => return None,
        None => {
            let (authority, path) = match url.find("]:") {
                Some(end) => (&url[..=end], &url[end + 2..]),
                None => url.split_once(':')?,
            };
            (authority, path.strip_prefix('/').unwrap_or(path), None)
        }
    };
    let (user, host) = match authority.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| !is_plain(user)) {
        return None;
    }
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(Address {
        user: user.map(str::to_owned),
        host: host_of(host)?,
        port,
        app: path.strip_suffix(".git").unwrap_or(path).parse().ok()?,
    })
}

fn host_of(text: &str) -> Option<String> {
    match text
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse().ok().map(|ip: Ipv6Addr| ip.to_string()),
        None => is_plain(text).then(|| text.to_owned()),
    }
}

/// Neither an option nor anything else than a name.
fn is_plain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// `http(s)://[TOKEN@]HOST[:PORT]/git/APP.git`.
fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
    rest.and_then(|rest| rest.split_once("/git/"))
        .and_then(|(_, path)| path.trim_end_matches('/').strip_suffix(".git"))
        .is_some_and(|app| app.parse::<AppName>().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(user: &str, host: &str, port: Option<u16>, app: &str) -> Leads {
        Leads::Ssh(Address {
            user: (!user.is_empty()).then(|| user.to_owned()),
            host: host.to_owned(),
            port,
            app: app.parse().unwrap(),
        })
    }

    #[test]
    fn addresses_of_zarpar_are_known() {
        for (url, expected) in [
            (
                "zarpar@barco.example:tienda",
                address("zarpar", "barco.example", None, "tienda"),
            ),
            (
                "zarpar@barco:/tienda.git",
                address("zarpar", "barco", None, "tienda"),
            ),
            (
                "zarpar@[::1]:tienda",
                address("zarpar", "::1", None, "tienda"),
            ),
            (
                "ssh://zarpar@barco/tienda",
                address("zarpar", "barco", None, "tienda"),
            ),
            (
                "ssh://zarpar@127.0.0.1:2222/tienda/",
                address("zarpar", "127.0.0.1", Some(2222), "tienda"),
            ),
            (
                "ssh://zarpar@[::1]:22/tienda.git",
                address("zarpar", "::1", Some(22), "tienda"),
            ),
            ("http://zp_x@127.0.0.1:7070/git/tienda.git", Leads::Http),
            ("https://ship.example/git/tienda.git", Leads::Http),
        ] {
            assert_eq!(Leads::read(url, false), expected, "{url}");
        }
    }

    #[test]
    fn another_user_must_be_named() {
        for (url, user) in [("git@barco:tienda", "git"), ("barco:tienda", "")] {
            assert_eq!(Leads::read(url, false), Leads::Elsewhere);
            assert_eq!(
                Leads::read(url, true),
                address(user, "barco", None, "tienda")
            );
        }
    }

    #[test]
    fn what_could_be_something_else_leads_elsewhere() {
        for url in [
            "",
            "/srv/tienda.git",
            "../tienda",
            "file:///srv/tienda",
            "git@github.com:yo/tienda.git",
            "https://github.com/yo/tienda.git",
            "zarpar@barco:Tienda",
            "zarpar@barco:../tienda",
            "zarpar@barco:--upload-pack=x",
            "zarpar@-oProxyCommand=id:tienda",
            "-oProxyCommand=id@barco:tienda",
            "-oProxyCommand=id:tienda",
            "ssh://-oProxyCommand=id/tienda",
            "ssh://zarpar@-oProxyCommand=id/tienda",
            "ssh://zarpar@barco:0/tienda",
            "ssh://zarpar@barco:+22/tienda",
            "ssh://zarpar@barco:22;id/tienda",
            "ssh://zarpar@barco/tienda;id",
            "ssh://zarpar@ba rco/tienda",
            "zarpar@barco$(id):tienda",
            "zarpar@barco\n:tienda",
            "ext::sh -c id",
        ] {
            assert_eq!(Leads::read(url, true), Leads::Elsewhere, "{url}");
        }
    }
}
