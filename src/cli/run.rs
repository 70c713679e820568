//! `run`, `logs`, `ps`.

mod conversation;
pub(super) mod terminal;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use zarpar_control::{ClientFrame, ProcessView, Request};
use zarpar_model::{AppName, ProcessName};

use self::conversation::converse;
use self::terminal::Terminal;
use super::client::{ask, block_on, follow, send};
use super::{Listing, Remote, output, table};
use crate::report::fail;

/// A terminal for a command that runs in a container.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Window {
    /// Give the command a terminal, also when there is none here, as over SSH
    #[arg(long)]
    tty: bool,
    /// Lines of that terminal
    #[arg(long, value_name = "N", requires = "columns")]
    rows: Option<u16>,
    /// Columns of that terminal
    #[arg(long, value_name = "N", requires = "rows")]
    columns: Option<u16>,
}

pub(crate) fn logs(
    remote: &Remote,
    app: AppName,
    follow_on: bool,
    lines: u32,
    process: Option<ProcessName>,
) -> ExitCode {
    follow(
        remote,
        &Request::Logs {
            app,
            follow: follow_on,
            lines,
            process,
        },
    )
}

pub(crate) fn run(remote: &Remote, app: AppName, window: Window, command: Vec<String>) -> ExitCode {
    let here = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let tty = here || window.tty;
    block_on(async {
        let mut client = send(remote, &Request::Run { app, command, tty }).await?;
        if let (Some(height), Some(width)) = (window.rows, window.columns) {
            client.input(&ClientFrame::Resize { width, height }).await?;
        }
        let terminal = here.then(Terminal::enter).and_then(Result::ok);
        converse(client, tokio::io::stdin(), terminal).await
    })
}

pub(crate) fn ps(remote: &Remote, listing: Listing, words: &[String]) -> ExitCode {
    match words {
        [app] => match app.parse() {
            Ok(app) => list(remote, app, listing),
            Err(error) => fail(&error, 2),
        },
        [scale, app, counts @ ..] if scale == "scale" && !counts.is_empty() => {
            match parse_scale(app, counts) {
                Ok((app, counts)) => follow(remote, &Request::ProcessScale { app, counts }),
                Err(error) => fail(error.as_ref(), 2),
            }
        }
        _ => {
            output::note("zarpar: expected `zarpar ps APP` or `zarpar ps scale APP web=2`");
            ExitCode::from(2)
        }
    }
}

fn parse_scale(
    app: &str,
    counts: &[String],
) -> Result<(AppName, BTreeMap<ProcessName, u32>), Box<dyn std::error::Error>> {
    let mut parsed = BTreeMap::new();
    for text in counts {
        let wrong = || {
            format!(
                "expected NAME=COUNT such as `web=2`, found `{}`",
                text.escape_debug()
            )
        };
        let (name, count) = text.split_once('=').ok_or_else(wrong)?;
        parsed.insert(name.parse()?, count.parse().map_err(|_| wrong())?);
    }
    Ok((app.parse()?, parsed))
}

fn list(remote: &Remote, app: AppName, listing: Listing) -> ExitCode {
    let empty =
        format!("nothing of `{app}` runs\nhint: `zarpar deployments {app}` shows what was tried");
    ask(
        remote,
        &Request::ProcessList { app },
        |processes: Vec<ProcessView>| {
            if listing.json {
                return output::json(&processes);
            }
            let row = |process: ProcessView| {
                vec![
                    process.process,
                    process.release.unwrap_or_default(),
                    process.state,
                    process.container,
                    process.address.unwrap_or_default(),
                    process.started_at.unwrap_or_default(),
                ]
            };
            let rows: Vec<Vec<String>> = processes.into_iter().map(row).collect();
            table::print(
                &[
                    "PROCESS",
                    "RELEASE",
                    "STATE",
                    "CONTAINER",
                    "ADDRESS",
                    "STARTED",
                ],
                &rows,
                &empty,
            );
        },
    )
}
