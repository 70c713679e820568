//! `deploy`, `deployments`, `releases`, `rollback`.

use std::process::ExitCode;

use zarpar_control::{DeploymentView, ReleaseView, Request};
use zarpar_model::{AppName, DeploymentId, ImageReference, NameError, ReleaseNumber};

use super::client::{ask, follow};
use super::{Listing, Remote, output, table};
use crate::report::fail;

pub(crate) fn deploy(
    remote: &Remote,
    app: AppName,
    revision: Option<String>,
    image: Option<ImageReference>,
) -> ExitCode {
    follow(
        remote,
        &Request::Deploy {
            app,
            revision,
            image,
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

/// `APP`, `follow ID`, `cancel ID`, and the two with the app before them.
pub(crate) fn deployments(remote: &Remote, listing: Listing, words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = match words[..] {
        [app] => app.parse().map(|app| Said::List { app }),
        [word @ ("follow" | "cancel"), id] => one(None, word, id),
        [app, word @ ("follow" | "cancel"), id] => one(Some(app), word, id),
        [app, word @ ("follow" | "cancel")] => {
            output::note(&format!(
                "zarpar: expected the id of a deployment after `{word}`\nhint: `zarpar deployments {word} ID`; `zarpar deployments {}` lists them",
                app.escape_debug()
            ));
            return ExitCode::from(2);
        }
        _ => {
            output::note(
                "zarpar: expected `zarpar deployments APP`, `… follow ID` or `… cancel ID`",
            );
            return ExitCode::from(2);
        }
    };
    match said {
        Ok(Said::List { app }) => list(remote, app, listing),
        Ok(Said::One(request)) => follow(remote, &request),
        Err(error) => fail(&error, 2),
    }
}

enum Said {
    List { app: AppName },
    One(Request),
}

fn one(app: Option<&str>, word: &str, id: &str) -> Result<Said, NameError> {
    let app = app.map(str::parse).transpose()?;
    let id = id.parse::<DeploymentId>()?;
    Ok(Said::One(if word == "follow" {
        Request::DeploymentFollow { app, id }
    } else {
        Request::DeploymentCancel {
            app,
            id,
            by: caller(),
        }
    }))
}

fn list(remote: &Remote, app: AppName, listing: Listing) -> ExitCode {
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
                    built_from(deployment.commit, deployment.reference),
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
                    built_from(release.commit, release.reference),
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

/// Seven digits of the commit, or the image as it was named.
fn built_from(commit: Option<String>, image: Option<String>) -> String {
    match (commit, image) {
        (Some(commit), _) => commit.chars().take(7).collect(),
        (None, image) => image.unwrap_or_default(),
    }
}

/// Who asks, for the records: the user of the terminal, or whom sudo names; where neither is said,
/// as in a unit or a container, the name of our user, or else its number.
fn caller() -> String {
    let said = ["SUDO_USER", "USER", "LOGNAME"].map(|name| std::env::var(name).ok());
    let uid = rustix::process::getuid().as_raw();
    format!("cli:{}", called(said, uid))
}

fn called(said: [Option<String>; 3], uid: u32) -> String {
    let plain = |name: &String| {
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic())
    };
    let said = said.into_iter().flatten().find(plain);
    said.or_else(|| crate::daemon::ssh::user_name(uid).filter(plain))
        .unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_name_where_one_is_known() {
        let said = |name: &str| Some(name.to_owned());
        assert_eq!(called([said("ana"), said("root"), None], 0), "ana");
        assert_eq!(called([said(""), said("a b"), said("eva")], 0), "eva");
        assert_eq!(called([None, None, None], 0), "root");
        assert_eq!(called([None, None, None], u32::MAX), "4294967295");
    }
}
