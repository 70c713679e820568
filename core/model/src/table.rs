//! The route table: all the edge knows. It is whole and immutable; a new one replaces it, and
//! its generation only grows. Address and static set of an app stand in one route, so a swap
//! changes both at once.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{AppName, HostName};

/// Every route the edge serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// Grows with each table; the edge refuses an older one. A table written by hand needs none.
    #[serde(default)]
    pub generation: u64,
    /// The routes.
    pub routes: Vec<Route>,
    /// The host of the control plane itself, when it has one. Left out while it has none, as
    /// [`Route::maintenance`] is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleRoute>,
}

/// The header by which the edge shows the console that a request came through it, and its
/// `X-Forwarded-For` is true: every other process of the machine has the edge's address too.
pub const EDGE_KEY_HEADER: &str = "x-zarpar-edge";

/// How the control plane's pushes and webhooks are reached by a name: the edge passes on what is
/// for them, and nothing else of the console.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleRoute {
    /// The name; no app has it.
    pub host: HostName,
    /// The console's address.
    pub target: SocketAddr,
    /// The value of [`EDGE_KEY_HEADER`], known to the edge and the console alone.
    pub key: String,
}

impl fmt::Debug for ConsoleRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleRoute")
            .field("host", &self.host)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What answers for the hosts of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The app.
    pub app: AppName,
    /// The release, for logs and `zarpar ps`; shown as `v12`. A table written by hand has none.
    #[serde(default)]
    pub release: String,
    /// The hosts; no host stands in two routes.
    pub hosts: Vec<HostName>,
    /// Where the web process listens; empty gives the 503 page.
    pub targets: Vec<SocketAddr>,
    /// Static files, when the app has them.
    #[serde(default, rename = "static")]
    pub static_files: Option<StaticRoute>,
    /// Uploaded files, when the app has them.
    #[serde(default)]
    pub media: Option<MediaRoute>,
    /// Whether visitors get a 503 page instead of the app; its files are served all the same,
    /// because the page may want them. Left out while it is not so: an edge of an older version
    /// refuses what it does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance: bool,
    /// Whether request bodies go to the app as they come, for apps that read them on the way. Else
    /// the app gets a request once it has arrived whole. Left out as `maintenance` is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream_requests: bool,
    /// How long requests for the app wait in the edge, in milliseconds, at most
    /// [`MAX_HOLD_MS`]; 0: they do not. Files are served all the same. Counted from the first
    /// table that holds the app; when it is over the targets answer, whether another table came
    /// or not, so a hold that nobody lifts lifts itself. The targets count as new ones, so a
    /// drain of the same addresses waits for the requests from before. Left out while it is 0,
    /// as `maintenance` is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_ms: u64,
    /// The largest request body in bytes (20 MB unless the app says otherwise).
    #[serde(default = "default_body_limit")]
    pub body_limit: u64,
    /// How long an app may take to begin its answer, in milliseconds.
    #[serde(default = "default_response_timeout")]
    pub response_timeout_ms: u64,
}

/// The longest hold in milliseconds: browsers and proxies before us wait for longer, visitors
/// hardly do (kamal-proxy pauses for as long).
pub const MAX_HOLD_MS: u64 = 30_000;

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The limit the guide's Nginx has (`client_max_body_size 20M`).
fn default_body_limit() -> u64 {
    20 * 1024 * 1024
}

/// Nginx's `proxy_read_timeout`.
fn default_response_timeout() -> u64 {
    60_000
}

/// Static files by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// The path they are below, with slashes at both ends: `/static/`.
    pub url: String,
    /// The app's folder, with `sets/<id>` (a static index) and `blobs/<hh>/<sha256>`.
    pub root: PathBuf,
    /// The sets, newest first. A path is looked for in each in turn, so a page of an older
    /// release still finds its hashed files.
    pub sets: Vec<String>,
}

/// Uploaded files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaRoute {
    /// The path they are below, with slashes at both ends: `/media/`.
    pub url: String,
    /// The folder on the host.
    pub root: PathBuf,
}

/// Why a table cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two routes want the same host.
    #[error("the host `{host}` stands in two routes, the second is that of `{app}`")]
    HostTwice {
        /// The host.
        host: HostName,
        /// The second app.
        app: AppName,
    },
    /// An app wants the host of the console.
    #[error("the host `{host}` of `{app}` is that of the console")]
    ConsoleHost {
        /// The host.
        host: HostName,
        /// The app.
        app: AppName,
    },
    /// A URL prefix that is no folder of the site.
    #[error(
        "expected a path such as `/static/` with slashes at both ends in the route of `{app}`, found `{url}`"
    )]
    Url {
        /// The app.
        app: AppName,
        /// The prefix.
        url: String,
    },
    /// A hold that is too long.
    #[error(
        "expected at most {MAX_HOLD_MS} milliseconds for `hold_ms` in the route of `{app}`, found `{hold_ms}`"
    )]
    Hold {
        /// The app.
        app: AppName,
        /// What it asks for.
        hold_ms: u64,
    },
}

impl RouteTable {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// [`TableError`] with the first one found.
    pub fn check(&self) -> Result<(), TableError> {
        let mut seen = HashSet::new();
        for route in &self.routes {
            for host in &route.hosts {
                if self.console.as_ref().is_some_and(|own| own.host == *host) {
                    return Err(TableError::ConsoleHost {
                        host: host.clone(),
                        app: route.app.clone(),
                    });
                }
                if !seen.insert(host) {
                    return Err(TableError::HostTwice {
                        host: host.clone(),
                        app: route.app.clone(),
                    });
                }
            }
            if route.hold_ms > MAX_HOLD_MS {
                return Err(TableError::Hold {
                    app: route.app.clone(),
                    hold_ms: route.hold_ms,
                });
            }
            let static_url = route.static_files.as_ref().map(|files| &files.url);
            let media_url = route.media.as_ref().map(|files| &files.url);
            for url in [static_url, media_url].into_iter().flatten() {
                if !(url.len() >= 2 && url.starts_with('/') && url.ends_with('/')) {
                    return Err(TableError::Url {
                        app: route.app.clone(),
                        url: url.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(json: &str) -> RouteTable {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_host_belongs_to_one_route() {
        let table = table(
            r#"{"generation": 1, "routes": [
                {"app": "a", "release": "v1", "hosts": ["x.test"], "targets": []},
                {"app": "b", "release": "v1", "hosts": ["x.test"], "targets": ["10.0.0.2:8000"]}]}"#,
        );
        assert_eq!(table.routes[0].body_limit, 20 * 1024 * 1024);
        assert!(table.check().unwrap_err().to_string().contains("`x.test`"));
    }

    #[test]
    fn the_console_s_host_is_no_app_s_and_its_key_is_not_shown() {
        let mut table = table(
            r#"{"routes": [{"app": "a", "hosts": ["x.test"], "targets": []}],
                "console": {"host": "ship.test", "target": "127.0.0.1:7070", "key": "hidden"}}"#,
        );
        assert_eq!(table.check(), Ok(()));
        assert!(!format!("{table:?}").contains("hidden"));
        let shown = serde_json::to_string(&table).unwrap();
        assert!(shown.contains("hidden"), "the edge is told");
        table.routes[0].hosts.push("ship.test".parse().unwrap());
        let error = table.check().unwrap_err().to_string();
        assert!(
            error.contains("`ship.test`") && error.contains("`a`"),
            "{error}"
        );
        table.console = None;
        assert!(!serde_json::to_string(&table).unwrap().contains("console"));
    }

    /// An edge that has not been restarted yet refuses what it does not know.
    #[test]
    fn what_is_not_asked_for_is_not_said() {
        let mut table = table(
            r#"{"routes": [{"app": "a", "hosts": ["x.test"], "targets": [], "stream_requests": true}]}"#,
        );
        let said = |table: &RouteTable| serde_json::to_string(table).unwrap();
        assert!(said(&table).contains("\"stream_requests\":true"));
        table.routes[0].stream_requests = false;
        let said = said(&table);
        assert!(!said.contains("stream_requests") && !said.contains("maintenance"));
    }

    #[test]
    fn a_hold_has_a_bound_and_is_left_out_when_there_is_none() {
        let held = |hold_ms| {
            table(&format!(
                r#"{{"routes": [{{"app": "a", "hosts": [], "targets": [], "hold_ms": {hold_ms}}}]}}"#
            ))
        };
        assert_eq!(held(30_000).check(), Ok(()));
        let error = held(30_001).check().unwrap_err().to_string();
        assert!(
            error.contains("`a`") && error.contains("`30001`"),
            "{error}"
        );
        let json = |hold_ms| serde_json::to_string(&held(hold_ms)).unwrap();
        assert!(json(5).contains("\"hold_ms\":5"));
        assert!(!json(0).contains("hold_ms"));
    }

    #[test]
    fn the_site_root_is_no_static_prefix() {
        for url in ["/", "static/", "/static", ""] {
            let json = format!(
                r#"{{"generation": 1, "routes": [{{"app": "a", "release": "v1", "hosts": [], "targets": [],
                    "media": {{"url": "{url}", "root": "/m"}}}}]}}"#
            );
            assert!(table(&json).check().is_err(), "{url}");
        }
    }
}
