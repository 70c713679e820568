//! The git remotes of the work tree one stands in, asked of the user's own git, so that
//! `insteadOf`, included files and `safe.directory` count as they do for a push.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::address::{Address, Leads};

/// The remote that the README tells to add.
const USUAL: &str = "production";

/// Why no remote says where the words go.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RemoteError {
    #[error(
        "expected to be inside a git work tree, for `--remote {0}`\nhint: `cd` to the project, or name a server's data folder with `--data DIR`"
    )]
    NoWorkTree(String),
    #[error(
        "expected a git remote `{name}`, there is {}\nhint: `git remote add {name} zarpar@HOST:APP`",
        list(there)
    )]
    Unknown { name: String, there: Vec<String> },
    #[error(
        "the git remote `{name}` does not lead to an app of zarpar by ssh\nhint: `git remote set-url {name} zarpar@HOST:APP`"
    )]
    Elsewhere { name: String },
    #[error(
        "the git remote `{name}` is reached by HTTP, which carries code and no other words\nhint: {}",
        by_ssh(name, other.as_deref())
    )]
    Http { name: String, other: Option<String> },
    #[error(
        "several git remotes lead to zarpar: {}\nhint: say which with `--remote NAME`",
        list(names)
    )]
    Several { names: Vec<String> },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{}`", name.escape_debug()))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn by_ssh(name: &str, other: Option<&str>) -> String {
    match other {
        Some(other) => format!("`--remote {other}` says the words over the ssh of another remote"),
        None => format!(
            "with a key on the server (`zarpar keys add`): `git remote set-url {name} zarpar@HOST:APP`"
        ),
    }
}

/// The remotes of a work tree.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Where each one's pushes go.
    remotes: BTreeMap<String, Vec<String>>,
    /// The remote that a plain `git push` of the current branch goes to.
    of_branch: Option<String>,
}

impl Repository {
    /// The repository of the current folder; none when there is no git or no repository.
    pub(super) fn here() -> Option<Repository> {
        let names = git(&["remote"])?;
        let urls = |name: &str| {
            let urls = git(&["remote", "get-url", "--push", "--all", "--", name]);
            let urls = urls.unwrap_or_default();
            urls.lines().map(str::to_owned).collect()
        };
        let remotes = names.lines().map(|name| (name.to_owned(), urls(name)));
        let of_branch = git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| {
            let format = "--format=%(push:remotename)";
            git(&["for-each-ref", format, "--", branch.trim_end()])
        });
        Some(Repository {
            remotes: remotes.collect(),
            of_branch: of_branch.map(|name| name.trim_end().to_owned()),
        })
    }

    /// The address of a remote that was named.
    pub(super) fn named(&self, name: &str) -> Result<Address, RemoteError> {
        let urls = self.remotes.get(name).ok_or_else(|| RemoteError::Unknown {
            name: name.to_owned(),
            there: self.remotes.keys().cloned().collect(),
        })?;
        match leads(urls, true) {
            Leads::Ssh(address) => Ok(address),
            Leads::Http => Err(RemoteError::Http {
                name: name.to_owned(),
                other: None,
            }),
            Leads::Elsewhere => Err(RemoteError::Elsewhere {
                name: name.to_owned(),
            }),
        }
    }

    /// The address of the remote that is meant when none is named: the branch's, else
    /// `production`, else the only one. None when no remote leads to zarpar. `production` counts
    /// whatever its user, because the README tells to add it and `keys add` prints it so; others
    /// must have the user `zarpar`, or be named.
    pub(super) fn usual(&self) -> Result<Option<Address>, RemoteError> {
        let all = self.remotes.iter();
        let found: Vec<(&String, Leads)> = all
            .map(|(name, urls)| (name, leads(urls, name == USUAL)))
            .filter(|(_, leads)| *leads != Leads::Elsewhere)
            .collect();
        let of = |wanted: Option<&str>| {
            let mut found = found.iter();
            found.find(|(name, _)| Some(name.as_str()) == wanted)
        };
        let meant = of(self.of_branch.as_deref()).or_else(|| of(Some(USUAL)));
        match (meant, found.as_slice()) {
            (Some((name, leads)), _) | (None, [(name, leads)]) => match leads {
                Leads::Ssh(address) => Ok(Some(address.clone())),
                // Never another one in its stead: the words could change the wrong server.
                _ => Err(RemoteError::Http {
                    name: (*name).clone(),
                    other: self.possible(),
                }),
            },
            (None, []) => Ok(None),
            (None, several) => Err(RemoteError::Several {
                names: several.iter().map(|(name, _)| (*name).clone()).collect(),
            }),
        }
    }

    /// The first remote that would lead to an app if it were named. It is only proposed, never
    /// taken: `git@HOST:NAME` may be any forge.
    pub(super) fn possible(&self) -> Option<String> {
        let mut all = self.remotes.iter();
        let found = all.find(|(_, urls)| matches!(leads(urls, true), Leads::Ssh(_)));
        found.map(|(name, _)| name.clone())
    }
}

/// Where the pushes of one remote go; of several addresses the first that leads to zarpar.
fn leads(urls: &[String], named: bool) -> Leads {
    let mut all = urls.iter().map(|url| Leads::read(url, named));
    let mut http = false;
    let by_ssh = all.find(|leads| {
        http |= *leads == Leads::Http;
        matches!(leads, Leads::Ssh(_))
    });
    by_ssh.unwrap_or(if http { Leads::Http } else { Leads::Elsewhere })
}

/// What git prints for these words; none when it fails. Its errors are its own affair: a folder
/// that is no work tree is an answer here.
pub(super) fn git(words: &[&str]) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the user's own git, with the user's own environment"
    )]
    let mut command = Command::new("git");
    let output = command
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn repository(of_branch: &str, remotes: &[(&str, &str)]) -> Repository {
        let remotes = remotes.iter();
        Repository {
            remotes: remotes
                .map(|(name, url)| ((*name).to_owned(), vec![(*url).to_owned()]))
                .collect(),
            of_branch: Some(of_branch.to_owned()),
        }
    }

    fn usual(of_branch: &str, remotes: &[(&str, &str)]) -> String {
        match repository(of_branch, remotes).usual() {
            Ok(Some(address)) => format!("{} on {address}", address.app),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    const FORGE: (&str, &str) = ("origin", "git@github.com:yo/tienda.git");
    const PRODUCTION: (&str, &str) = ("production", "zarpar@barco:tienda");
    const STAGING: (&str, &str) = ("staging", "ssh://zarpar@prueba:2222/tienda");

    #[test]
    fn the_branch_comes_first_then_production_then_the_only_one() {
        let all = [FORGE, PRODUCTION, STAGING];
        assert_eq!(usual("staging", &all), "tienda on zarpar@prueba port 2222");
        assert_eq!(usual("origin", &all), "tienda on zarpar@barco");
        assert_eq!(
            usual("", &[FORGE, STAGING]),
            "tienda on zarpar@prueba port 2222"
        );
        assert_eq!(usual("origin", &[FORGE]), "none");
    }

    #[test]
    fn several_are_listed() {
        let other = ("canary", "zarpar@canary:tienda");
        let text = usual("origin", &[FORGE, STAGING, other]);
        assert!(
            text.contains("`canary`, `staging`\nhint: say which with `--remote NAME`"),
            "{text}"
        );
    }

    #[test]
    fn production_counts_whatever_its_user() {
        let web = ("web", "https://barco/git/tienda.git");
        for (url, expected) in [
            ("root@barco:tienda", "tienda on root@barco"),
            ("myserver:tienda", "tienda on myserver"),
            (
                "ssh://root@barco:2222/tienda.git",
                "tienda on root@barco port 2222",
            ),
        ] {
            let production = ("production", url);
            assert_eq!(usual("origin", &[FORGE, production]), expected);
            assert_eq!(usual("main", &[web, production, STAGING]), expected);
            // Under another name it is only proposed.
            let live = repository("", &[FORGE, ("live", url)]);
            assert_eq!(live.usual(), Ok(None));
            assert_eq!(live.possible().as_deref(), Some("live"));
            let text = usual("", &[web, ("live", url)]);
            assert!(
                text.contains("`web` is reached by HTTP") && text.contains("`--remote live`"),
                "{text}"
            );
        }
        let forge = ("production", FORGE.1);
        assert_eq!(usual("", &[forge]), "none");
        assert_eq!(repository("", &[forge]).possible(), None);
        assert_eq!(
            usual("", &[forge, STAGING]),
            "tienda on zarpar@prueba port 2222"
        );
    }

    #[test]
    fn http_carries_no_words() {
        let http = (
            "production",
            "http://zp_secret@127.0.0.1:7070/git/tienda.git",
        );
        let text = usual("", &[FORGE, http]);
        assert!(text.contains("`production` is reached by HTTP"), "{text}");
        assert!(!text.contains("zp_secret"), "{text}");
        // Nor does another remote take its place: it is proposed.
        let text = usual("", &[http, STAGING]);
        assert!(
            text.contains("`production` is reached by HTTP") && text.contains("`--remote staging`"),
            "{text}"
        );
        let repository = repository("", &[FORGE, http]);
        for name in ["production", "origin", "nada"] {
            let text = repository.named(name).unwrap_err().to_string();
            assert!(
                text.contains(&format!("`{name}`")) && text.contains("hint: "),
                "{text}"
            );
        }
    }
}
