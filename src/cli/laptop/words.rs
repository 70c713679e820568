//! Which word is about an app, and where APP stands in it: one table. By it the app of a work tree
//! takes its place among the words, so that they are the words that are said on the server.

use std::any::TypeId;
use std::ffi::OsStr;

use clap::{Arg, Command};
use zarpar_model::AppName;

/// A word about an app that is there.
struct Row {
    path: &'static [&'static str],
    /// How many other words stand before APP.
    before: usize,
}

const fn row(path: &'static [&'static str]) -> Row {
    Row { path, before: 0 }
}

/// Every word with an APP. A test compares it with the command line, so a new word cannot be
/// forgotten. Where one path begins with another, the longer one counts.
const ROWS: &[Row] = &[
    row(&["apps", "destroy"]),
    row(&["apps", "info"]),
    row(&["certificates", "add"]),
    row(&["certificates", "renew"]),
    row(&["deploy"]),
    row(&["deployments"]),
    row(&["domains", "add"]),
    row(&["domains", "list"]),
    row(&["domains", "remove"]),
    row(&["env", "export"]),
    row(&["env", "import"]),
    row(&["env", "list"]),
    row(&["env", "set"]),
    row(&["env", "unset"]),
    row(&["logs"]),
    Row {
        path: &["maintenance"],
        before: 1,
    },
    row(&["ps"]),
    row(&["ps", "scale"]),
    row(&["releases"]),
    row(&["rollback"]),
    row(&["run"]),
    row(&["webhooks", "disable"]),
    row(&["webhooks", "enable"]),
    row(&["webhooks", "show"]),
];

/// Words about the machine they are said on. They never travel.
const HERE: [&str; 6] = [
    "build",
    "compress-static",
    "help",
    "router",
    "serve",
    "shell",
];

/// Whether a first word is one of those.
pub(super) fn is_here(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| HERE.contains(&word))
}

const APP: &str = "app-of-the-work-tree";
const REMOTE: &str = "git-remote";

/// The command line with the two options that only the client has.
pub(super) fn with_client_options(mut command: Command) -> Command {
    command = command.after_help(
        "Inside a work tree with a git remote `production`, or one `zarpar@HOST:APP`, the words are said on\nthat server, over your ssh, and APP is left out; `--remote NAME` and `--app NAME` name others.",
    );
    for name in top_level(&command) {
        let remote = Arg::new(REMOTE)
            .long("remote")
            .value_name("NAME")
            .global(true)
            .help("Ask the server of this git remote, over ssh");
        command = command.mut_subcommand(name, |word| word.arg(remote));
    }
    for Row { path, .. } in ROWS {
        command = change(command, path, &|word| {
            if word.get_arguments().any(|arg| arg.get_id() == APP) {
                return word;
            }
            let app = Arg::new(APP).long("app").value_name("NAME");
            let word = word.arg(app.help("An app of the server, in the place of APP"));
            // In its place: `mut_arg` would move it to the end.
            word.mut_args(|arg| {
                if !is_app(&arg) {
                    return arg;
                }
                arg.help("The app; left out inside a work tree whose git remote leads to it")
            })
        });
    }
    command.build();
    command
}

fn top_level(command: &Command) -> Vec<String> {
    let names = command.get_subcommands().map(|word| word.get_name());
    names
        .filter(|name| !HERE.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Changes the word that `path` leads to; its last part may be a word that clap takes as a value.
fn change(command: Command, path: &[&str], with: &dyn Fn(Command) -> Command) -> Command {
    match path {
        [first, rest @ ..] if command.find_subcommand(first).is_some() => {
            command.mut_subcommand(*first, |word| change(word, rest, with))
        }
        [_, ..] if command.has_subcommands() => command,
        _ => with(command),
    }
}

/// Whether an argument is a positional that holds an app's name.
fn is_app(arg: &Arg) -> bool {
    arg.is_positional() && arg.get_value_parser().type_id() == TypeId::of::<AppName>()
}

/// What was said, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    /// The words without `--remote` and `--app`.
    words: Vec<String>,
    /// Places in `words` of those that are neither options nor their values, before a `--`.
    plain: Vec<usize>,
    pub(super) remote: Option<String>,
    pub(super) app: Option<String>,
    /// Whether `--data` was said.
    pub(super) data: bool,
    /// Whether help or the version is wanted.
    help: bool,
}

impl Spoken {
    /// Takes the words after the program's name apart. `command` says which options have values;
    /// what it does not know stays as it is, for clap to refuse.
    pub(super) fn read(command: &Command, said: &[String]) -> Spoken {
        let mut spoken = Spoken::default();
        let mut at = command;
        let mut said = said.iter();
        while let Some(word) = said.next() {
            if word == "--" {
                spoken.words.push(word.clone());
                spoken.words.extend(said.cloned());
                break;
            }
            let Some((option, inline)) = option(at, word) else {
                spoken.help |= ["-h", "--help", "-V", "--version"].contains(&word.as_str());
                if !word.starts_with('-') || word == "-" {
                    spoken.plain.push(spoken.words.len());
                    at = at.find_subcommand(word).unwrap_or(at);
                }
                spoken.words.push(word.clone());
                continue;
            };
            let apart = inline.is_none().then(|| said.next()).flatten();
            match option.get_id().as_str() {
                // Without a value it stays, so that clap says what is missing.
                REMOTE if inline.is_some() || apart.is_some() => {
                    spoken.remote = inline.or(apart.cloned());
                }
                APP if inline.is_some() || apart.is_some() => {
                    spoken.app = inline.or(apart.cloned())
                }
                id => {
                    spoken.data |= id == "data";
                    spoken.words.push(word.clone());
                    spoken.words.extend(apart.cloned());
                }
            }
        }
        spoken
    }

    /// Whether the words are about this machine and nothing else, or ask for help.
    pub(super) fn stays_here(&self) -> bool {
        let first = self.plain.first().map(|place| self.words[*place].as_str());
        self.help || first.is_none_or(|first| HERE.contains(&first))
    }

    /// Whether the words are about an app.
    pub(super) fn is_about_an_app(&self) -> bool {
        self.row().is_some()
    }

    /// The words with `--app` in the place of APP, as they are said where no work tree counts.
    pub(super) fn words_here(&self) -> Vec<String> {
        match &self.app {
            Some(app) => self.insert(app),
            None => self.words.clone(),
        }
    }

    /// The words with an app in its place: the one of `--app`, or else `app`, the one of the work
    /// tree; it may stand there already.
    pub(super) fn words_for(&self, app: &AppName) -> Vec<String> {
        if let Some(other) = &self.app {
            return self.insert(other);
        }
        let named = self.place().and_then(|place| self.plain.get(place));
        match named {
            Some(place) if self.words[*place] == app.as_str() => self.words.clone(),
            _ => self.insert(app.as_str()),
        }
    }

    fn row(&self) -> Option<&'static Row> {
        let plain = || self.plain.iter().map(|place| self.words[*place].as_str());
        let rows = ROWS.iter();
        rows.filter(|row| plain().take(row.path.len()).eq(row.path.iter().copied()))
            .max_by_key(|row| row.path.len())
    }

    /// Where APP stands, counted in `plain`.
    fn place(&self) -> Option<usize> {
        self.row().map(|row| row.path.len() + row.before)
    }

    fn insert(&self, app: &str) -> Vec<String> {
        let mut words = self.words.clone();
        let before = self.place().and_then(|place| place.checked_sub(1));
        // A word before it may be missing; clap says which.
        if let Some(before) = before.and_then(|before| self.plain.get(before)) {
            words.insert(before + 1, app.to_owned());
        }
        words
    }
}

/// The option with a value that `word` is, and the value when it is in the same word.
fn option<'a>(command: &'a Command, word: &str) -> Option<(&'a Arg, Option<String>)> {
    let takes_value = |arg: &&Arg| arg.get_action().takes_values() && !arg.is_positional();
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))
            .filter(takes_value)?;
        return Some((arg, value));
    }
    // `-fn 5`: the first one with a value has what follows.
    let cluster = word.strip_prefix('-')?;
    cluster.char_indices().find_map(|(place, letter)| {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_short() == Some(letter))
            .filter(takes_value)?;
        let rest = &cluster[place + letter.len_utf8()..];
        Some((arg, (!rest.is_empty()).then(|| rest.to_owned())))
    })
}

#[cfg(test)]
mod tests;
