//! Postgres 17 for one app, by the contract of the official image.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zarpar_engine::{ContainerSpec, Engine, EngineError, ExecSpec, RestartPolicy};
use zarpar_model::{AppName, EnvKey, Instance, LABEL_PROCESS, show_span};

/// The image; major versions are not changed under a database.
const IMAGE: &str = "postgres:17";
/// A first start makes the database files: 6 s on a fast machine, a minute on a slow disk.
const READY: Duration = Duration::from_secs(120);
/// Pulling the image over a slow line.
const PULL: Duration = Duration::from_secs(600);
/// Postgres' "fast" shutdown waits for a checkpoint.
const STOP: Duration = Duration::from_secs(60);

/// The Postgres of an app.
#[derive(Debug, Clone)]
pub struct Postgres {
    engine: Engine,
    instance: Instance,
    app: AppName,
}

/// Why a service is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Docker.
    #[error("the database of `{app}` cannot be started")]
    Engine {
        /// The app.
        app: AppName,
        /// What failed.
        source: EngineError,
    },
    /// It started and does not answer.
    #[error(
        "expected the database of `{app}` to answer `SELECT 1` within {limit}, last it said: {found}\nhint: `docker logs {container}` shows why"
    )]
    NotReady {
        /// The app.
        app: AppName,
        /// The limit.
        limit: String,
        /// What it said.
        found: String,
        /// Its container.
        container: String,
    },
    /// No random bytes from the system.
    #[error("the system gives no random bytes for a password")]
    Random(#[source] getrandom::Error),
}

impl Postgres {
    /// The Postgres of `app`.
    pub fn new(engine: Engine, instance: Instance, app: AppName) -> Postgres {
        Postgres {
            engine,
            instance,
            app,
        }
    }

    /// Connection variables with a fresh password, made once with the app. The user and the
    /// database are named like the app, with `_` for `-`, so that no quoting is needed.
    ///
    /// # Errors
    /// [`ServiceError::Random`].
    pub fn secrets(app: &AppName) -> Result<BTreeMap<EnvKey, String>, ServiceError> {
        let name = app.as_str().replace('-', "_");
        let password = random_text()?;
        let values = [
            ("DB_NAME", name.clone()),
            ("DB_USER", name.clone()),
            ("DB_PASSWORD", password.clone()),
            ("DB_HOST", "db".to_owned()),
            ("DB_PORT", "5432".to_owned()),
            (
                "DATABASE_URL",
                format!("postgres://{name}:{password}@db:5432/{name}"),
            ),
        ];
        Ok(values
            .into_iter()
            .filter_map(|(key, value)| Some((key.parse().ok()?, value)))
            .collect())
    }

    /// Makes what is missing, starts what is stopped, and waits until a query is answered.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn ensure(&self, secrets: &BTreeMap<EnvKey, String>) -> Result<(), ServiceError> {
        let id = self
            .ensure_running(secrets)
            .await
            .map_err(|source| self.failed(source))?;
        self.wait_ready(&id, secrets).await
    }

    async fn ensure_running(
        &self,
        secrets: &BTreeMap<EnvKey, String>,
    ) -> Result<String, EngineError> {
        let name = self.container_name();
        if let Some(container) = self.engine.container(&name).await? {
            if !container.running {
                self.engine.start(&container.id).await?;
            }
            return Ok(container.id);
        }
        if self.engine.image(IMAGE).await?.is_none() {
            self.engine.pull(IMAGE, PULL, |_| ()).await?;
        }
        let mut labels = self.instance.app_labels(&self.app);
        labels.insert(LABEL_PROCESS.to_owned(), "postgres".to_owned());
        let network = self.instance.network(&self.app);
        self.engine
            .ensure_network(&network, &self.instance.app_labels(&self.app))
            .await?;
        let volume = self
            .engine
            .ensure_volume(&self.instance.volume(&self.app, "db"), &labels)
            .await?;
        let value = |key: &str| {
            secrets
                .iter()
                .find(|(name, _)| name.as_str() == key)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let spec = ContainerSpec {
            image: IMAGE.to_owned(),
            env: vec![
                ("POSTGRES_USER".to_owned(), value("DB_USER")),
                ("POSTGRES_PASSWORD".to_owned(), value("DB_PASSWORD")),
                ("POSTGRES_DB".to_owned(), value("DB_NAME")),
                (
                    "PGDATA".to_owned(),
                    "/var/lib/postgresql/data/pgdata".to_owned(),
                ),
            ],
            labels,
            network: Some(network),
            aliases: vec!["db".to_owned()],
            volumes: vec![(volume.name, "/var/lib/postgresql/data".to_owned())],
            restart: RestartPolicy::UnlessStopped,
            log_max_bytes: Some(10 << 20),
            ..ContainerSpec::default()
        };
        let id = self.engine.create_container(Some(&name), spec).await?;
        self.engine.start(&id).await?;
        Ok(id)
    }

    /// Ready means that a query over TCP is answered: while the image makes its files, a server
    /// on the local socket alone already runs, and `pg_isready` would call that ready.
    async fn wait_ready(
        &self,
        id: &str,
        secrets: &BTreeMap<EnvKey, String>,
    ) -> Result<(), ServiceError> {
        let value = |key: &str| {
            secrets
                .iter()
                .find(|(name, _)| name.as_str() == key)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let began = Instant::now();
        loop {
            let found = match self
                .query(id, value("DB_USER"), value("DB_NAME"), value("DB_PASSWORD"))
                .await
            {
                Ok((0, _)) => return Ok(()),
                Ok((_, output)) => output,
                // An exec into a container that is just restarting is refused.
                Err(error) if began.elapsed() > READY => return Err(self.failed(error)),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > READY {
                return Err(ServiceError::NotReady {
                    app: self.app.clone(),
                    limit: show_span(READY),
                    found: format!("`{}`", found.trim().lines().last().unwrap_or("nothing")),
                    container: self.container_name(),
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn query(
        &self,
        id: &str,
        user: String,
        database: String,
        password: String,
    ) -> Result<(i64, String), EngineError> {
        use futures_util::StreamExt;
        let words = ["psql", "-h", "127.0.0.1", "-w", "-qAt", "-c", "SELECT 1"];
        let spec = ExecSpec {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            // By environment: an argument list is readable for every user of the machine.
            env: vec![
                ("PGUSER".to_owned(), user),
                ("PGDATABASE".to_owned(), database),
                ("PGPASSWORD".to_owned(), password),
                ("PGCONNECT_TIMEOUT".to_owned(), "5".to_owned()),
            ],
            ..ExecSpec::default()
        };
        let exec = self.engine.exec(id, spec).await?;
        let mut output = exec.output;
        let mut text = Vec::new();
        while let Some(chunk) = output.next().await {
            let chunk = chunk?;
            if text.len() < 4096 {
                text.extend_from_slice(&chunk.bytes);
            }
        }
        let code = self.engine.exec_exit_code(&exec.id).await?;
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Removes the container and, with the data in it, the volume.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn destroy(&self) -> Result<(), ServiceError> {
        let remove = async {
            let name = self.container_name();
            if self.engine.container(&name).await?.is_some() {
                self.engine.stop(&name, STOP).await?;
                self.engine.remove_container(&name).await?;
            }
            self.engine
                .remove_volume(&self.instance.volume(&self.app, "db"))
                .await
        };
        remove.await.map(drop).map_err(|source| self.failed(source))
    }

    fn container_name(&self) -> String {
        self.instance.service(&self.app, "db")
    }

    fn failed(&self, source: EngineError) -> ServiceError {
        ServiceError::Engine {
            app: self.app.clone(),
            source,
        }
    }
}

/// 32 random bytes as hexadecimal text: safe in a URL and in every shell.
fn random_text() -> Result<String, ServiceError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(ServiceError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
