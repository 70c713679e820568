//! Back to the forge: the commit on its page says what became of it here, with a link to the
//! site and to the log. GitHub also keeps a record of the deployment.
//!
//! Nothing is kept. What can never happen: a connection to an address that a fetch would not go
//! to, a redirect that is followed (it would carry the token elsewhere), a token in a log or an
//! error. Nobody waits for it: a forge that is down loses the news, never a deployment.

mod client;
mod provider;

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use zarpar_control::Secret;
use zarpar_model::{CommitId, Provider, RepositoryUrl};

use crate::fetch::{FetchError, FetchRules};
use client::Api;

/// The waits before the second, third and fourth try.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

/// Where news go.
#[derive(Debug, Clone)]
pub struct Forge<'a> {
    /// Whose interface it is.
    pub provider: Provider,
    /// The repository.
    pub repository: &'a RepositoryUrl,
    /// What opens the interface.
    pub token: &'a Secret,
}

/// News about a commit.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The commit.
    pub commit: &'a CommitId,
    /// Who says it: `zarpar/APP`. One commit may have news of several apps.
    pub context: String,
    /// What became of it.
    pub state: ReportState,
    /// In one line; cut to what the forge takes.
    pub description: String,
    /// Where the log is.
    pub log_url: Option<String>,
    /// The site.
    pub environment_url: Option<String>,
    /// GitHub's number of the record that an earlier report of this deployment began.
    pub record: Option<u64>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState {
    /// It is being deployed.
    Pending,
    /// It is live.
    Success,
    /// It was tried and failed.
    Failure,
    /// It was not tried to the end.
    Error,
}

/// Why news did not arrive. The token is in none of them.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The address must not be connected to, or is none.
    #[error(transparent)]
    Address(#[from] FetchError),
    /// No connection, no TLS, no answer.
    #[error("`{host}` cannot be told: {reason}")]
    Unreachable {
        /// The host of the interface.
        host: String,
        /// What happened.
        reason: String,
    },
    /// An answer that says no.
    #[error("`{host}` answered {status} to `POST {path}`{}{message}\nhint: {}", if message.is_empty() { "" } else { ": " }, advice(*.status))]
    Refused {
        /// The host of the interface.
        host: String,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// What the forge said.
        message: String,
    },
}

impl ForgeError {
    /// Whether a later try may fare better.
    fn may_pass(&self) -> bool {
        match self {
            ForgeError::Address(_) => false,
            ForgeError::Unreachable { .. } => true,
            ForgeError::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "is the repository's address its own? It may have moved",
        401 => "is the token still valid?",
        403 | 404 => "may the token write commit statuses (GitHub: also deployments) here?",
        422 => "is the commit pushed to the forge?",
        _ => "the next deployment is told again",
    }
}

/// Tells the forge, with a few tries. Answers GitHub's number of the deployment's record, which
/// the next report of the same deployment names.
///
/// # Errors
/// [`ForgeError`] of the first thing that could not be told; the others are told all the same.
pub async fn report(
    forge: &Forge<'_>,
    report: &Report<'_>,
    rules: &FetchRules,
) -> Result<Option<u64>, ForgeError> {
    let api = Api::new(forge, rules).await?;
    let status = provider::status(forge, report);
    let told = api.post(&status.path, &status.body).await;
    let record = match provider::record(forge, report) {
        Some(record) => tell_record(&api, report, &record).await,
        None => Ok(None),
    };
    told?;
    record
}

/// GitHub's record is begun once, and each state is one more entry of it.
async fn tell_record(
    api: &Api<'_>,
    report: &Report<'_>,
    record: &provider::Record,
) -> Result<Option<u64>, ForgeError> {
    let id = match report.record {
        Some(id) => id,
        // Nothing was deployed: there is no record to begin.
        None if report.state == ReportState::Error => return Ok(None),
        None => {
            let made = api.post(&record.begin.path, &record.begin.body).await?;
            match made.get("id").and_then(Value::as_u64) {
                Some(id) => id,
                // 202: merged or checked there first. We ask for neither.
                None => return Ok(None),
            }
        }
    };
    let path = format!("{}/{id}/statuses", record.begin.path);
    api.post(&path, &record.state).await?;
    Ok(Some(id))
}
