//! `env`: variables in, out, and as a file that reads back as it was written. Nothing is asked of
//! the control plane before every variable is understood.

mod lines;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use zarpar_control::Request;
use zarpar_model::{AppName, EnvKey};

use super::client::{ask, follow};
use super::{EnvCommand, Remote, output, table};
use crate::report::fail;

/// Why nothing was asked of the control plane.
#[derive(Debug, thiserror::Error)]
enum EnvError {
    #[error(transparent)]
    Line(#[from] lines::LineError),
    #[error("cannot read `{path}`")]
    Read {
        path: String,
        source: std::io::Error,
    },
}

pub(crate) fn env(remote: &Remote, command: EnvCommand) -> ExitCode {
    match command {
        EnvCommand::Set {
            app,
            values,
            no_restart,
        } => change(
            remote,
            app,
            lines::assignments(&values).map_err(EnvError::from),
            no_restart,
        ),
        EnvCommand::Unset {
            app,
            names,
            no_restart,
        } => change(
            remote,
            app,
            Ok(names.into_iter().map(|name| (name, None)).collect()),
            no_restart,
        ),
        EnvCommand::Import {
            app,
            file,
            no_restart,
        } => {
            let changes = read(&file).and_then(|text| Ok(lines::parse(&text)?));
            change(remote, app, changes, no_restart)
        }
        EnvCommand::List { app, listing } => {
            let empty = format!(
                "no variables of its own\nhint: `zarpar env set {app} NAME=VALUE` sets one"
            );
            ask(
                remote,
                &Request::EnvList { app },
                |values: BTreeMap<EnvKey, String>| {
                    if listing.json {
                        return output::json(&values);
                    }
                    let rows: Vec<Vec<String>> = values
                        .into_iter()
                        .map(|(name, value)| vec![name.to_string(), value])
                        .collect();
                    table::print(&["NAME", "VALUE"], &rows, &empty);
                },
            )
        }
        EnvCommand::Export { app } => ask(
            remote,
            &Request::EnvList { app },
            |values: BTreeMap<EnvKey, String>| {
                values
                    .iter()
                    .for_each(|(name, value)| output::line(&lines::export(name, value)));
            },
        ),
    }
}

fn change(
    remote: &Remote,
    app: AppName,
    changes: Result<BTreeMap<EnvKey, Option<String>>, EnvError>,
    no_restart: bool,
) -> ExitCode {
    match changes {
        Ok(changes) => follow(
            remote,
            &Request::EnvChange {
                app,
                changes,
                restart: !no_restart,
            },
        ),
        Err(error @ EnvError::Read { .. }) => fail(&error, 1),
        Err(error) => fail(&error, 2),
    }
}

fn read(path: &Path) -> Result<String, EnvError> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|found| text = found)
    };
    result.map(|()| text).map_err(|source| EnvError::Read {
        path: path.display().to_string(),
        source,
    })
}
