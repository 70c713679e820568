//! What each forge wants to hear, by its documentation: "REST API endpoints for commit statuses"
//! and "… for deployment statuses" (GitHub, version 2022-11-28), "Set commit pipeline status"
//! (GitLab v4), "Create a commit status" (Gitea v1), "Create a build status for a commit"
//! (Bitbucket Cloud 2.0).

use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zarpar_model::{Provider, RepositoryUrl, Transport};

use super::{Forge, Report, ReportState};

/// The longest description that GitHub takes, in characters.
const GITHUB: usize = 140;
/// The others'.
const OTHERS: usize = 255;
/// The longest key that Bitbucket takes.
const KEY: usize = 40;

/// One request: where, and what.
pub(super) struct Call {
    pub(super) path: String,
    pub(super) body: Value,
}

/// How GitHub's record of a deployment is begun, and what is added to it.
pub(super) struct Record {
    pub(super) begin: Call,
    pub(super) state: Value,
}

/// Where the interface of a repository's forge is: host, port, and what its paths begin with.
pub(super) fn base(provider: Provider, url: &RepositoryUrl) -> (String, u16, &'static str) {
    // Names under which forges take ssh on port 443.
    let host = match url.host() {
        "ssh.github.com" => "github.com",
        "altssh.gitlab.com" => "gitlab.com",
        "altssh.bitbucket.org" => "bitbucket.org",
        host => host,
    };
    // The port of an ssh address says nothing about that of the interface.
    let port = match url.transport() {
        Transport::Https => url.port(),
        Transport::Ssh => Transport::Https.default_port(),
    };
    let (host, prefix) = match (provider, host) {
        (Provider::Github, "github.com") => ("api.github.com", ""),
        (Provider::Github, host) => (host, "/api/v3"),
        (Provider::Gitlab, host) => (host, "/api/v4"),
        (Provider::Gitea, host) => (host, "/api/v1"),
        (Provider::Bitbucket, "bitbucket.org") => ("api.bitbucket.org", "/2.0"),
        (Provider::Bitbucket, host) => (host, "/2.0"),
    };
    (host.to_owned(), port, prefix)
}

/// The headers that open the interface; `None` when the token cannot be one.
pub(super) fn headers(forge: &Forge<'_>) -> Option<HeaderMap> {
    let token = forge.token.expose();
    let (name, value) = match forge.provider {
        Provider::Github | Provider::Bitbucket => (AUTHORIZATION, format!("Bearer {token}")),
        Provider::Gitlab => (HeaderName::from_static("private-token"), token.to_owned()),
        Provider::Gitea => (AUTHORIZATION, format!("token {token}")),
    };
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    if forge.provider == Provider::Github {
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            HeaderName::from_static("x-github-api-version"),
            HeaderValue::from_static("2022-11-28"),
        );
    }
    Some(headers)
}

/// The status of the commit.
pub(super) fn status(forge: &Forge<'_>, report: &Report<'_>) -> Call {
    let (slug, commit) = (forge.repository.slug(), report.commit);
    let link = report.log_url.as_ref().or(report.environment_url.as_ref());
    let description = |limit| cut(&report.description, limit);
    match forge.provider {
        Provider::Github => Call {
            path: format!("/repos/{slug}/statuses/{commit}"),
            body: json!({
                "state": plain(report.state),
                "context": report.context,
                "description": description(GITHUB),
                "target_url": link,
            }),
        },
        Provider::Gitea => Call {
            path: format!("/repos/{slug}/statuses/{commit}"),
            body: json!({
                "state": plain(report.state),
                "context": report.context,
                "description": description(OTHERS),
                "target_url": link,
            }),
        },
        Provider::Gitlab => Call {
            path: format!("/projects/{}/statuses/{commit}", one_segment(slug)),
            body: json!({
                "state": match report.state {
                    ReportState::Pending => "running",
                    ReportState::Success => "success",
                    ReportState::Failure => "failed",
                    ReportState::Error => "canceled",
                },
                "name": report.context,
                "description": description(OTHERS),
                "target_url": link,
            }),
        },
        Provider::Bitbucket => Call {
            path: format!("/repositories/{slug}/commit/{commit}/statuses/build"),
            body: json!({
                "state": match report.state {
                    ReportState::Pending => "INPROGRESS",
                    ReportState::Success => "SUCCESSFUL",
                    ReportState::Failure => "FAILED",
                    ReportState::Error => "STOPPED",
                },
                "key": key(&report.context),
                "name": report.context,
                "description": description(OTHERS),
                // It does not go without one.
                "url": link.cloned().unwrap_or_else(|| {
                    format!("https://{}/{slug}", forge.repository.host())
                }),
            }),
        },
    }
}

/// GitHub's record of the deployment; the others have none that a token for statuses may write.
pub(super) fn record(forge: &Forge<'_>, report: &Report<'_>) -> Option<Record> {
    if forge.provider != Provider::Github {
        return None;
    }
    let description = cut(&report.description, GITHUB);
    Some(Record {
        begin: Call {
            path: format!("/repos/{}/deployments", forge.repository.slug()),
            body: json!({
                "ref": report.commit,
                "task": "deploy",
                "auto_merge": false,
                "required_contexts": [],
                "environment": report.context,
                "description": description,
                "production_environment": true,
            }),
        },
        state: json!({
            "state": match report.state {
                ReportState::Pending => "in_progress",
                other => plain(other),
            },
            "description": description,
            "log_url": report.log_url,
            "environment_url": report.environment_url,
            // The site is the new release's now, whatever was there before.
            "auto_inactive": true,
        }),
    })
}

/// The words of GitHub, which Gitea took over.
fn plain(state: ReportState) -> &'static str {
    match state {
        ReportState::Pending => "pending",
        ReportState::Success => "success",
        ReportState::Failure => "failure",
        ReportState::Error => "error",
    }
}

/// One line of at most `limit` characters.
fn cut(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= limit {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(limit - 1).collect();
    short.push('…');
    short
}

/// A path as one segment of another path. What else a slug may have needs no escape but `+`.
fn one_segment(slug: &str) -> String {
    slug.replace('/', "%2F").replace('+', "%2B")
}

/// A context as Bitbucket's key: the same one for the same app, and no two apps with one.
fn key(context: &str) -> String {
    if context.len() <= KEY {
        return context.to_owned();
    }
    let hash = Sha256::digest(context.as_bytes());
    let digits: String = hash.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let head: String = context.chars().take(KEY - 1 - digits.len()).collect();
    format!("{head}-{digits}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_interface_is_where_the_forge_has_it() {
        for (provider, url, expected) in [
            (
                Provider::Github,
                "git@github.com:yo/x.git",
                ("api.github.com", 443, ""),
            ),
            (
                Provider::Github,
                "ssh://git@ssh.github.com:443/yo/x.git",
                ("api.github.com", 443, ""),
            ),
            (
                Provider::Github,
                "https://ghe.example:8443/yo/x",
                ("ghe.example", 8443, "/api/v3"),
            ),
            (
                Provider::Gitlab,
                "ssh://git@gitlab.example:2222/a/b/c.git",
                ("gitlab.example", 443, "/api/v4"),
            ),
            (
                Provider::Gitea,
                "https://codeberg.org/yo/x.git",
                ("codeberg.org", 443, "/api/v1"),
            ),
            (
                Provider::Bitbucket,
                "git@bitbucket.org:yo/x.git",
                ("api.bitbucket.org", 443, "/2.0"),
            ),
        ] {
            let (host, port, prefix) = base(provider, &url.parse().unwrap());
            assert_eq!((host.as_str(), port, prefix), expected, "{url}");
        }
    }

    #[test]
    fn texts_fit() {
        assert_eq!(cut("one\ntwo", GITHUB), "one");
        let long = cut(&"ñ".repeat(200), GITHUB);
        assert_eq!(long.chars().count(), GITHUB);
        assert!(long.ends_with('…'));
        let one = key(&format!("zarpar/{}", "a".repeat(40)));
        let other = key(&format!("zarpar/{}b", "a".repeat(39)));
        assert_eq!((one.len(), other.len()), (KEY, KEY));
        assert_ne!(one, other);
        assert_eq!(key("zarpar/tienda"), "zarpar/tienda");
        assert_eq!(one_segment("a/b+c/d"), "a%2Fb%2Bc%2Fd");
    }
}
