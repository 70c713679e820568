//! `deploy`, `deployments`, `releases`, `rollback`.

use std::process::ExitCode;

use zarpar_control::{DeploymentView, ReleaseView, Request};
use zarpar_model::{AppName, ReleaseNumber};

use super::client::{ask, follow};
use super::{DeploymentsCommand, Listing, Remote, output, table};

pub(crate) fn deploy(remote: &Remote, app: AppName, revision: Option<String>) -> ExitCode {
    follow(
        remote,
        &Request::Deploy {
            app,
            revision,
            by: caller(),
        },
    )
}

pub(crate) fn rollback(remote: &Remote, app: AppName, to: Option<ReleaseNumber>) -> ExitCode {
    follow(
        remote,
        &Request::Rollback {
            app,
            to,
            by: caller(),
        },
    )
}

pub(crate) fn deployments(
    remote: &Remote,
    app: AppName,
    listing: Listing,
    command: Option<DeploymentsCommand>,
) -> ExitCode {
    if let Some(DeploymentsCommand::Follow { id }) = command {
        return follow(remote, &Request::DeploymentFollow { app, id });
    }
    let empty =
        format!("no deployments of `{app}` yet\nhint: `git push production main` makes the first");
    ask(
        remote,
        &Request::DeploymentList { app },
        |deployments: Vec<DeploymentView>| {
            if listing.json {
                return output::json(&deployments);
            }
            let row = |deployment: DeploymentView| {
                vec![
                    deployment.id.to_string(),
                    deployment.kind,
                    deployment
                        .failed_in
                        .map_or(deployment.state, |phase| format!("failed while {phase}")),
                    deployment.release.unwrap_or_default(),
                    short(deployment.commit.as_deref().unwrap_or_default()),
                    deployment
                        .seconds
                        .map(|seconds| format!("{seconds:.1} s"))
                        .unwrap_or_default(),
                    deployment.by,
                    deployment.created_at,
                ]
            };
            let rows: Vec<Vec<String>> = deployments.into_iter().map(row).collect();
            table::print(
                &[
                    "ID", "KIND", "STATE", "RELEASE", "COMMIT", "TOOK", "BY", "CREATED",
                ],
                &rows,
                &empty,
            );
        },
    )
}

pub(crate) fn releases(remote: &Remote, app: AppName, listing: Listing) -> ExitCode {
    let empty =
        format!("no releases of `{app}` yet\nhint: `git push production main` makes the first");
    ask(
        remote,
        &Request::ReleaseList { app },
        |releases: Vec<ReleaseView>| {
            if listing.json {
                return output::json(&releases);
            }
            let row = |release: ReleaseView| {
                let origin = release
                    .origin
                    .map(|origin| format!("repeats {origin}"))
                    .unwrap_or_default();
                vec![
                    release.release,
                    release.state,
                    short(&release.commit),
                    origin,
                    release.by,
                    release.created_at,
                ]
            };
            let rows: Vec<Vec<String>> = releases.into_iter().map(row).collect();
            table::print(
                &["RELEASE", "STATE", "COMMIT", "ORIGIN", "BY", "CREATED"],
                &rows,
                &empty,
            );
        },
    )
}

fn short(commit: &str) -> String {
    commit.chars().take(7).collect()
}

/// Who asks, for the records: the user of the terminal, or whom sudo names.
fn caller() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| {
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic())
        });
    format!(
        "cli:{}",
        name.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
    )
}
