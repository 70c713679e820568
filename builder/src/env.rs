//! The environment of an app's containers: what zarpar injects (the contract in ARCHITECTURE.md)
//! and the user's own values, which win.

use std::collections::{BTreeMap, HashSet};

use zarpar_model::{App, CommitId, EnvKey, ReleaseNumber};

/// What the machine and the server add to the environment.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Processors of the engine's machine.
    pub cpus: u64,
    /// Its memory in bytes.
    pub memory: u64,
    /// The port of the edge that visitors use, for `SITE_URL`.
    pub http_port: u16,
}

impl Surroundings {
    /// The address of a host as visitors type it.
    pub fn url(&self, host: &str) -> String {
        match self.http_port {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        }
    }

    /// gunicorn's own advice of 2 × CPU + 1 workers, but at most one for each 128 MiB: a Django
    /// worker takes 60–100 MiB, and a swapping machine serves nobody.
    fn web_concurrency(&self) -> u64 {
        (2 * self.cpus + 1).min(self.memory / (128 << 20)).max(1)
    }
}

/// A host of an app as visitors reach it.
#[derive(Debug, Clone)]
pub struct Site {
    /// The host.
    pub host: String,
    /// With scheme, and with the port unless it is the scheme's own.
    pub url: String,
}

/// The whole environment of a container of a release, sorted by name.
pub(crate) fn environment(
    app: &App,
    own: &BTreeMap<EnvKey, String>,
    secrets: &BTreeMap<EnvKey, String>,
    surroundings: &Surroundings,
    sites: &[Site],
    (release, commit, port): (ReleaseNumber, Option<&CommitId>, u16),
) -> Vec<(String, String)> {
    let hosts: Vec<&str> = app.domains.iter().map(|host| host.as_str()).collect();
    let mut origins = Vec::new();
    for site in sites {
        origins.extend([
            format!("https://{}", site.host),
            surroundings.url(&site.host),
        ]);
        // The same again, unless TLS is on a port of its own.
        origins.push(site.url.clone());
    }
    let mut seen = HashSet::new();
    origins.retain(|origin| seen.insert(origin.clone()));
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |key: &str, value: String| all.insert(key.to_owned(), value);
    add("DEBUG", "False".to_owned());
    add("ALLOWED_HOSTS", hosts.join(","));
    add("CSRF_TRUSTED_ORIGINS", origins.join(","));
    add(
        "SITE_URL",
        sites
            .first()
            .map(|site| site.url.clone())
            .unwrap_or_default(),
    );
    add("PORT", port.to_string());
    add(
        "WEB_CONCURRENCY",
        surroundings.web_concurrency().to_string(),
    );
    add("ZARPAR_APP", app.name.to_string());
    add("ZARPAR_RELEASE", release.to_string());
    if let Some(commit) = commit {
        add("ZARPAR_COMMIT", commit.to_string());
    }
    for (key, value) in secrets.iter().chain(own) {
        add(key.as_str(), value.clone());
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_get_fewer_workers() {
        let machine = |cpus, gib: u64| Surroundings {
            cpus,
            memory: gib << 29,
            http_port: 80,
        };
        assert_eq!(machine(2, 8).web_concurrency(), 5);
        assert_eq!(machine(1, 2).web_concurrency(), 3);
        assert_eq!(machine(8, 1).web_concurrency(), 4);
        assert_eq!(
            Surroundings {
                cpus: 1,
                memory: 0,
                http_port: 80
            }
            .web_concurrency(),
            1
        );
    }

    #[test]
    fn the_port_is_shown_unless_it_is_the_usual_one() {
        let at = |http_port| Surroundings {
            cpus: 1,
            memory: 0,
            http_port,
        };
        assert_eq!(at(80).url("a.test"), "http://a.test");
        assert_eq!(at(8080).url("a.test"), "http://a.test:8080");
    }
}
