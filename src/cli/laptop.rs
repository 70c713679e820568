//! The same words from the laptop. Inside a work tree whose git remote leads to a zarpar server the
//! words are said there, over the user's own ssh, about the remote's app; on the server they go to
//! the socket. Which of the two it is follows from one rule, [`road`]; git remotes are never looked
//! at on a machine that has a server, so that a work tree there cannot lead words astray.

mod address;
mod input;
mod program;
mod repository;
mod ssh;
mod words;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use zarpar_model::{AppName, HostName};

use self::address::Address;
use self::input::Input;
use self::repository::{RemoteError, Repository};
use self::words::Spoken;
use super::{AppsCommand, Cli, output};
use crate::config::{Layout, default_data};
use crate::report::fail;

/// Where the words go.
#[derive(Debug, PartialEq, Eq)]
enum Road {
    /// To the socket of this machine.
    Here,
    /// To the server of a git remote.
    Ssh(Address),
    /// To the socket, for want of anything else; when that fails the user hears of both, and of a
    /// remote that may lead to a server.
    Nowhere(Option<String>),
}

/// Why there is no road.
#[derive(Debug, thiserror::Error)]
enum RoadError {
    #[error(
        "expected `--data` or `--remote`, found both\nhint: `--data` is a server of this machine, `--remote` one that a git remote leads to"
    )]
    Both,
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A word that the server would refuse: what comes by ssh is one line there.
#[derive(Debug, thiserror::Error)]
#[error(
    "the word {0} has the end of a line or another control character, which cannot be said over ssh\nhint: send it through standard input, as with `zarpar env import FILE` or `zarpar run -- python3 - < FILE`"
)]
struct Control(usize);

/// What is known before git is asked.
struct Known<'a> {
    spoken: &'a Spoken,
    /// Whether `ZARPAR_DATA` is set.
    data_in_environment: bool,
    /// Whether a control plane has its socket in the default data folder.
    server_here: bool,
}

/// Says the words of the command line.
pub(crate) fn say(said: Vec<OsString>) -> ExitCode {
    // The daemons' memory counts from their start.
    if said.first().is_some_and(|word| words::is_here(word)) {
        return here(Cli::command(), said, "", "");
    }
    let mut command = words::with_client_options(Cli::command());
    let texts: Option<Vec<String>> = said
        .iter()
        .map(|word| word.to_str().map(str::to_owned))
        .collect();
    // Words that are no text are paths of this machine.
    let Some(texts) = texts else {
        return here(command, said, "", "");
    };
    let spoken = Spoken::read(&command, &texts);
    if spoken.stays_here() {
        return here(command, said, "", "");
    }
    let known = Known {
        spoken: &spoken,
        data_in_environment: std::env::var_os("ZARPAR_DATA").is_some(),
        server_here: server_here(&Layout::new(default_data()).control_socket()),
    };
    let words = || {
        spoken
            .words_here()
            .into_iter()
            .map(OsString::from)
            .collect()
    };
    match road(&known, Repository::here) {
        Ok(Road::Here) if spoken.is_about_an_app() => here(command, words(), SAID_HERE, ""),
        Ok(Road::Here) => here(command, words(), "", ""),
        Ok(Road::Ssh(address)) => over_ssh(&mut command, &spoken, &address),
        Ok(Road::Nowhere(None)) => here(command, words(), NOWHERE, NOWHERE),
        Ok(Road::Nowhere(Some(remote))) => {
            let hint = possible(&remote);
            here(command, words(), &hint, &hint)
        }
        Err(error) => fail(&error, 2),
    }
}

/// The one rule. What is said counts more than the environment, a server of this machine more than
/// a work tree.
fn road(known: &Known<'_>, look: impl FnOnce() -> Option<Repository>) -> Result<Road, RoadError> {
    match &known.spoken.remote {
        Some(_) if known.spoken.data => Err(RoadError::Both),
        Some(name) => {
            let repository = look().ok_or_else(|| RemoteError::NoWorkTree(name.clone()))?;
            Ok(Road::Ssh(repository.named(name)?))
        }
        None if known.spoken.data || known.data_in_environment || known.server_here => {
            Ok(Road::Here)
        }
        None => Ok(match look() {
            Some(repository) => match repository.usual()? {
                Some(address) => Road::Ssh(address),
                None => Road::Nowhere(repository.possible()),
            },
            None => Road::Nowhere(None),
        }),
    }
}

/// Whether there is a server. One that this user may not look at is there.
fn server_here(socket: &Path) -> bool {
    !matches!(socket.try_exists(), Ok(false))
}

const NOWHERE: &str = "hint: on the server name its data folder (`--data DIR`, `ZARPAR_DATA`) if it is not the usual one; on a laptop stand in a work tree with a git remote `production` or `zarpar@HOST:APP`, or name it with `--remote NAME`";

fn possible(remote: &str) -> String {
    format!(
        "hint: if the git remote `{remote}` leads to a zarpar server, say `--remote {remote}`, or rename it: `git remote rename {remote} production`"
    )
}

/// What is added where the words were meant for this machine, and APP was left out.
const SAID_HERE: &str = "hint: on a machine with a server, or with `--data`, APP is said; `--remote NAME` says the words on the server of a git remote";

/// Says the words on this machine. `missing` is added when words are missing, such as APP, and
/// `failed` when nothing came of them.
fn here(command: Command, words: Vec<OsString>, missing: &str, failed: &str) -> ExitCode {
    let (code, hint) = match parse(command, words) {
        Ok((cli, _)) => (super::dispatch(cli), failed),
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            (refuse(&error), missing)
        }
        Err(error) => (refuse(&error), ""),
    };
    if !hint.is_empty() && code != ExitCode::SUCCESS {
        output::note(hint);
    }
    code
}

fn parse(mut command: Command, words: Vec<OsString>) -> Result<(Cli, ArgMatches), clap::Error> {
    let words = std::iter::once(OsString::from("zarpar")).chain(words);
    let matches = command.try_get_matches_from_mut(words)?;
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

fn refuse(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Says the words on the server of a git remote.
fn over_ssh(command: &mut Command, spoken: &Spoken, address: &Address) -> ExitCode {
    let app = spoken.app.as_deref().unwrap_or(address.app.as_str());
    // Some words take the host of the console in the place of an app.
    if let (Err(error), Err(_)) = (app.parse::<AppName>(), app.parse::<HostName>()) {
        return fail(&error, 2);
    }
    let mut words = spoken.words_for(&address.app);
    // What is wrong is said before a connection is made.
    let said = words.iter().map(OsString::from).collect();
    let (cli, matches) = match parse(command.clone(), said) {
        Ok(parsed) => parsed,
        Err(error) => {
            let code = refuse(&error);
            if spoken.is_about_an_app() && error.use_stderr() {
                output::note(&format!(
                    "hint: the words go to `{app}` on `{address}`, so APP is left out; `--app NAME` names another"
                ));
            }
            return code;
        }
    };
    if let Some(place) = words
        .iter()
        .position(|word| word.chars().any(char::is_control))
    {
        return fail(&Control(place + 1), 2);
    }
    let mut input = match Input::of(command, &matches, &mut words) {
        Ok(input) => input,
        Err(error) => return fail(&error, 1),
    };
    let mut interactive = false;
    match cli.command {
        super::Command::Run { .. } => {
            input = Input::Ours;
            interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            if interactive {
                with_terminal(&mut words);
            }
        }
        super::Command::Apps {
            command: AppsCommand::Destroy { name, force: false },
            ..
        } => {
            output::note(&format!("on `{address}`:"));
            if !super::apps::confirmed(&name) {
                return ExitCode::from(2);
            }
            words.push("--force".to_owned());
        }
        _ => {}
    }
    let program = match program::program() {
        Ok(program) => program,
        Err(error) => return fail(&error, 2),
    };
    let saying = ssh::say(&program, address, &words, input, interactive);
    match super::client::on_this_thread(saying) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => fail(&error, 1),
        Err(error) => fail(&error, 1),
    }
}

/// Asks for a terminal in the container, of the size that ours has.
fn with_terminal(words: &mut Vec<String>) {
    let mut options = vec!["--tty".to_owned()];
    if let Some((rows, columns)) = super::run::terminal::rows_and_columns() {
        for (option, count) in [("--rows", rows), ("--columns", columns)] {
            options.extend([option.to_owned(), count.to_string()]);
        }
    }
    let place = words
        .iter()
        .position(|word| word == "--")
        .unwrap_or(words.len());
    words.splice(place..place, options);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spoken(said: &[&str]) -> Spoken {
        let said: Vec<String> = said.iter().map(|word| (*word).to_owned()).collect();
        Spoken::read(&words::with_client_options(Cli::command()), &said)
    }

    #[track_caller]
    fn goes(said: &[&str], data_in_environment: bool, server_here: bool, expected: &str) {
        let spoken = spoken(said);
        let known = Known {
            spoken: &spoken,
            data_in_environment,
            server_here,
        };
        let found = match road(&known, || None) {
            Ok(road) => format!("{road:?}"),
            Err(error) => error.to_string().lines().next().unwrap().to_owned(),
        };
        assert_eq!(found, expected, "{said:?}");
    }

    #[test]
    fn what_is_said_counts_more_than_what_is_there() {
        goes(&["logs"], false, true, "Here");
        goes(&["logs"], true, false, "Here");
        goes(&["logs", "--data", "x"], false, false, "Here");
        goes(&["logs"], false, false, "Nowhere(None)");
        let no_tree = "expected to be inside a git work tree, for `--remote x`";
        goes(&["logs", "--remote", "x"], true, true, no_tree);
        let both = "expected `--data` or `--remote`, found both";
        goes(
            &["logs", "--remote", "x", "--data", "y"],
            false,
            false,
            both,
        );
    }

    #[test]
    fn a_terminal_is_asked_for_before_the_command() {
        let mut words: Vec<String> = ["run", "tienda", "--", "a", "--"]
            .map(str::to_owned)
            .to_vec();
        with_terminal(&mut words);
        assert_eq!(words[2], "--tty");
        assert_eq!(words[words.len() - 3..], ["--", "a", "--"]);
    }
}
