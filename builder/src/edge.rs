//! The route table as the store has it, sent to the edge. The table is always made whole from
//! the records, so it does not matter how often it is sent, by whom, or after which crash.

use std::time::{Duration, Instant};

use zarpar_control::{CertificateView, ClientError, EdgeClient, EdgeRequest};
use zarpar_model::{
    App, HostName, MediaRoute, Release, ReleaseState, Route, RouteTable, StaticRoute, TableError,
};

use crate::Builder;
use crate::env::Site;
use crate::error::DeployError;

/// An edge that was killed is started again within a second; a table is kept back that long.
const EDGE_PATIENCE: Duration = Duration::from_secs(10);
/// The body limit of the guide's Nginx, in bytes.
const BODY_LIMIT: u64 = 20 * 1024 * 1024;
/// Nginx's `proxy_read_timeout`, in milliseconds.
const RESPONSE_TIMEOUT_MS: u64 = 60_000;

/// What the edge serves with TLS.
struct Secure {
    port: u16,
    certificates: Vec<CertificateView>,
}

impl Secure {
    fn serves(&self, host: &str) -> bool {
        self.certificates
            .iter()
            .any(|certificate| certificate.serves(host))
    }

    fn url(&self, host: &str) -> String {
        match self.port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }
}

impl Builder {
    /// Makes the table from the store and puts it in force. Returns when visitors see it.
    ///
    /// # Errors
    /// [`DeployError::Edge`] when the edge does not answer within ten seconds, or refuses.
    pub async fn publish(&self) -> Result<(), DeployError> {
        let _one_at_a_time = self.table.lock().await;
        let mut table = RouteTable {
            generation: self.durable(zarpar_store::Store::next_generation)?,
            routes: Vec::new(),
            console: self.folders.console.clone(),
        };
        for app in self.store.apps()? {
            table.routes.push(self.route(&app).await?);
        }
        table
            .check()
            .map_err(|error: TableError| DeployError::Bug(error.to_string()))?;
        let began = Instant::now();
        loop {
            match self.send(&table).await {
                Ok(_) => return Ok(()),
                Err(error @ ClientError::Refused { .. }) => return Err(DeployError::Edge(error)),
                Err(error) if began.elapsed() > EDGE_PATIENCE => {
                    return Err(DeployError::Edge(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Where visitors find these hosts: with TLS those that the edge has a certificate for.
    pub async fn sites(&self, hosts: &[HostName]) -> Vec<Site> {
        // Without TLS, or without an edge to ask.
        let secure = self.secure().await.ok().flatten();
        let site = |host: &HostName| {
            let host = host.to_string();
            let url = match &secure {
                Some(secure) if secure.serves(&host) => secure.url(&host),
                _ => self.surroundings.url(&host),
            };
            Site { host, url }
        };
        hosts.iter().map(site).collect()
    }

    async fn secure(&self) -> Result<Option<Secure>, ClientError> {
        let mut edge = EdgeClient::connect(&self.folders.edge_socket).await?;
        let Some(address) = edge.status().await?.https else {
            return Ok(None);
        };
        let certificates = edge.certificates(&EdgeRequest::Certificates).await?;
        Ok(Some(Secure {
            port: address.port(),
            certificates,
        }))
    }

    async fn send(&self, table: &RouteTable) -> Result<u64, ClientError> {
        EdgeClient::connect(&self.folders.edge_socket)
            .await?
            .apply(table.clone())
            .await
    }

    async fn route(&self, app: &App) -> Result<Route, DeployError> {
        let releases = self.store.releases(&app.name)?;
        let active = releases
            .iter()
            .find(|release| Some(release.number) == app.active);
        let media = match active.and_then(|release| {
            release
                .settings
                .media_url
                .as_ref()
                .zip(release.settings.media_root.as_ref())
        }) {
            Some((url, _)) => {
                let volume = self
                    .engine
                    .ensure_volume(
                        &self.instance.volume(&app.name, "media"),
                        &self.instance.app_labels(&app.name),
                    )
                    .await?;
                Some(MediaRoute {
                    url: url.clone(),
                    root: volume.mountpoint.into(),
                })
            }
            None => None,
        };
        Ok(Route {
            app: app.name.clone(),
            release: active
                .map(|release| release.number.to_string())
                .unwrap_or_default(),
            hosts: app.domains.clone(),
            targets: active
                .map(|release| {
                    release
                        .web_targets()
                        .filter_map(|target| target.address)
                        .collect()
                })
                .unwrap_or_default(),
            static_files: active.and_then(|active| self.static_route(app, active, &releases)),
            media,
            maintenance: app.maintenance,
            stream_requests: active.is_some_and(|release| release.project.web.stream_requests),
            hold_ms: self.holds.hold_ms(&app.name),
            body_limit: BODY_LIMIT,
            response_timeout_ms: RESPONSE_TIMEOUT_MS,
        })
    }

    /// The active set first, then those of the kept releases that were once live, newest first.
    fn static_route(
        &self,
        app: &App,
        active: &Release,
        releases: &[Release],
    ) -> Option<StaticRoute> {
        let url = active.settings.static_url.clone()?;
        let mut sets: Vec<String> = Vec::new();
        let once_live = releases
            .iter()
            .filter(|release| release.state != ReleaseState::Candidate);
        for set in std::iter::once(active)
            .chain(once_live)
            .filter_map(|release| release.static_set.clone())
        {
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        (!sets.is_empty()).then(|| StaticRoute {
            url,
            root: self.static_store(&app.name).root().to_owned(),
            sets,
        })
    }
}
