//! `shell`: what sshd starts for a key of `authorized_keys`. It is no shell. What the client said
//! is matched whole against git's two commands, or split into words and parsed by the very
//! command line that the server has; everything then goes to the control plane in the key's
//! name, which decides. No program is started, no file is opened, and of the environment two
//! variables are read: what was said, and the protocol version of git.

mod git;
mod spoken;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use rustix::event::{PollFd, PollFlags, poll};
use zarpar_control::{GitProtocol, KeyView, Request};
use zarpar_model::AppName;

use self::spoken::{Refusal, Spoken};
use super::client::ask;
use super::keys::KeysCommand;
use super::{CertificatesCommand, Cli, Command, EnvCommand, Remote, output};

/// How a client that came by a key asks: through this socket, in this name.
#[derive(Debug, Clone)]
pub(crate) struct KeyRoad {
    pub(crate) key: AppName,
    pub(crate) socket: PathBuf,
}

pub(crate) fn shell(key: AppName, socket: PathBuf) -> ExitCode {
    // Nobody else ends us when the client goes away: without a terminal there is no hangup.
    std::thread::spawn(end_without_a_reader);
    let remote = Remote {
        data: None,
        as_key: Some(KeyRoad { key, socket }),
    };
    let said = std::env::var_os("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    let spoken = match said
        .to_str()
        .ok_or(Refusal::Letters)
        .and_then(spoken::parse)
    {
        Ok(spoken) => spoken,
        Err(refusal) => return refuse(&refusal),
    };
    match spoken {
        Spoken::Nothing => introduce(&remote),
        Spoken::Git { service, app } => {
            let protocol = std::env::var("GIT_PROTOCOL")
                .ok()
                .and_then(|text| GitProtocol::from_variable(&text));
            git::serve(
                &remote,
                &Request::Git {
                    app,
                    service,
                    protocol,
                },
            )
        }
        Spoken::Words(words) => say(words, remote),
    }
}

/// One line that says who came and what they may, as people expect it who try for a shell.
fn introduce(remote: &Remote) -> ExitCode {
    let _ = ask(remote, &Request::WhoAmI, |key: KeyView| {
        output::note(&format!(
            "zarpar: hello, key `{}` (role {}, {}); there is no shell here, only git and zarpar's words: `ssh … help` lists them",
            key.name,
            key.role,
            super::keys::apps_of(key.apps.as_deref())
        ));
    });
    ExitCode::FAILURE
}

fn say(words: Vec<String>, remote: Remote) -> ExitCode {
    let known = words.first().is_some_and(|word| is_known(word));
    let said = std::iter::once(OsString::from("zarpar")).chain(words.iter().map(OsString::from));
    let parsed = command_line()
        .try_get_matches_from(said)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = match parsed {
        Ok(cli) => cli,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            output::bytes(error.render().to_string().as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) if known => {
            output::error_bytes(error.render().to_string().as_bytes());
            return ExitCode::from(2);
        }
        Err(_) => return refuse(&Refusal::unknown(words.first())),
    };
    if !files(&cli.command).iter().all(|file| **file == *"-") {
        return refuse(&Refusal::File);
    }
    match road(&mut cli.command) {
        Some(place) => *place = remote,
        None => return refuse(&Refusal::unknown(words.first())),
    }
    super::dispatch(cli)
}

/// Words about the server itself; [`road`] refuses them.
const OF_THE_SERVER: [&str; 3] = ["serve", "router", "build"];

/// The command line whose help shows what may be said here: not the server's own words, and not
/// `--data`, which is refused before it is parsed.
fn command_line() -> clap::Command {
    let mut command = Cli::command();
    for name in OF_THE_SERVER {
        command = command.mut_subcommand(name, |word| word.hide(true));
    }
    let names: Vec<String> = command
        .get_subcommands()
        .map(|word| word.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |word| {
            word.mut_args(|arg| {
                let data = arg.get_id() == "data";
                if data { arg.hide(true) } else { arg }
            })
        });
    }
    command
}

fn is_known(word: &str) -> bool {
    word == "help" || word.starts_with('-') || Cli::command().find_subcommand(word).is_some()
}

/// Where a word finds the control plane; `None` for those that are the server's own.
fn road(command: &mut Command) -> Option<&mut Remote> {
    match command {
        Command::Serve(_)
        | Command::Router { .. }
        | Command::Build { .. }
        | Command::CompressStatic { .. }
        | Command::Shell { .. } => None,
        Command::Apps { remote, .. }
        | Command::Tokens { remote, .. }
        | Command::Keys { remote, .. }
        | Command::Domains { remote, .. }
        | Command::Certificates { remote, .. }
        | Command::Env { remote, .. }
        | Command::Webhooks { remote, .. }
        | Command::Deploy { remote, .. }
        | Command::Deployments { remote, .. }
        | Command::Releases { remote, .. }
        | Command::Rollback { remote, .. }
        | Command::Logs { remote, .. }
        | Command::Run { remote, .. }
        | Command::Ps { remote, .. }
        | Command::Maintenance { remote, .. } => Some(remote),
    }
}

/// The files that a word would read; they would be the server's.
fn files(command: &Command) -> Vec<&Path> {
    match command {
        Command::Env {
            command: EnvCommand::Import { file, .. },
            ..
        }
        | Command::Keys {
            command: KeysCommand::Add { file, .. },
            ..
        } => vec![file],
        Command::Certificates {
            command: CertificatesCommand::Add { cert, key, .. },
            ..
        } => vec![cert, key],
        _ => Vec::new(),
    }
}

fn refuse(refusal: &Refusal) -> ExitCode {
    output::note(&format!("zarpar: {refusal}"));
    ExitCode::from(2)
}

/// Ends the program when nobody reads its output any more. What was asked for goes on as it
/// does without a reader; a followed log or a command that waits would else stay for ever.
#[expect(
    clippy::exit,
    reason = "nobody reads any more, and nothing is half done"
)]
fn end_without_a_reader() {
    let out = std::io::stdout();
    loop {
        let mut outputs = [PollFd::new(&out, PollFlags::empty())];
        match poll(&mut outputs, None) {
            Ok(_)
                if outputs[0]
                    .revents()
                    .intersects(PollFlags::ERR | PollFlags::HUP) =>
            {
                std::process::exit(1)
            }
            Err(rustix::io::Errno::INTR) => {}
            // An output that cannot be watched: writing to it will tell.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn help(words: &[&str]) -> String {
        let said = std::iter::once("zarpar").chain(words.iter().copied());
        let error = command_line().try_get_matches_from(said).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{words:?}");
        error.render().to_string()
    }

    #[test]
    fn help_shows_what_may_be_said() {
        let all = help(&["help"]);
        assert!(all.contains("\n  rollback "), "{all}");
        for name in OF_THE_SERVER {
            assert!(!all.contains(&format!("\n  {name} ")), "{name}: {all}");
        }
        for words in [
            &["help", "env", "set"][..],
            &["env", "set", "--help"],
            &["help", "logs"],
            &["logs", "-h"],
        ] {
            let text = help(words);
            assert!(
                text.contains("Usage:") && !text.contains("--data"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_help_hides_is_refused() {
        for words in [
            &["serve"][..],
            &["router"],
            &["build", "--print-dockerfile", "."],
        ] {
            let said = std::iter::once("zarpar").chain(words.iter().copied());
            let matches = command_line().try_get_matches_from(said).unwrap();
            let mut cli = Cli::from_arg_matches(&matches).unwrap();
            assert!(road(&mut cli.command).is_none(), "{words:?}");
        }
    }
}
