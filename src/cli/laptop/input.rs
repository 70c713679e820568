//! Files that words name are files of the machine they are said on. The server gets `-` in their
//! place, and what is in them through its standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::{ArgMatches, Command};
use zarpar_control::Secret;

/// More than a chain and a key have together, in bytes.
const LIMIT: u64 = 512 * 1024;

/// What the words' standard input is on the server.
#[derive(Debug)]
pub(super) enum Input {
    /// Nothing, so that a loop of a script that calls `zarpar` keeps its own input.
    Nothing,
    /// What is ours.
    Ours,
    /// A file.
    File(File),
    /// What several files hold, in their order.
    Text(Secret),
}

/// A file that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("cannot read `{path}`")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("expected `{path}` to be a file, it is a folder")]
    Folder { path: String },
    #[error("expected files of at most {LIMIT} bytes together, up to `{path}` there are more")]
    TooLong { path: String },
}

impl Input {
    /// Puts `-` in the place of every file among the words and opens what goes in its stead.
    /// `matches` is what clap makes of the words by `command`.
    pub(super) fn of(
        command: &Command,
        matches: &ArgMatches,
        words: &mut [String],
    ) -> Result<Input, InputError> {
        let (word, matches) = innermost(command, matches);
        // The default of a file is `-`.
        let mut files = Vec::new();
        for arg in word.get_positionals() {
            let id = arg.get_id().as_str();
            if let Ok(Some(path)) = matches.try_get_one::<PathBuf>(id) {
                files.push(path.clone());
            }
        }
        let dash = PathBuf::from("-");
        let Some(first) = files.first() else {
            let mut options = words.iter().take_while(|word| *word != "--");
            let reads = |word: &String| word == "-" || word.ends_with("-stdin");
            return Ok(match options.any(reads) {
                true => Input::Ours,
                false => Input::Nothing,
            });
        };
        // From the end, because files come last; an earlier word may have the same text.
        for file in files.iter().rev() {
            let mut places = words.iter_mut().rev();
            if let Some(word) = places.find(|word| Path::new(word.as_str()) == file) {
                "-".clone_into(word);
            }
        }
        if files.len() > 1 {
            return joined(&files).map(Input::Text);
        }
        if *first == dash {
            return Ok(Input::Ours);
        }
        open(first).map(Input::File)
    }

    pub(super) fn stdio(&self) -> std::io::Result<Stdio> {
        Ok(match self {
            Input::Nothing => Stdio::null(),
            Input::Ours => Stdio::inherit(),
            Input::File(file) => file.try_clone()?.into(),
            Input::Text(_) => Stdio::piped(),
        })
    }
}

/// The word itself, below its groups.
fn innermost<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    match matches.subcommand() {
        Some((name, inner)) => match command.find_subcommand(name) {
            Some(word) => innermost(word, inner),
            None => (command, matches),
        },
        None => (command, matches),
    }
}

fn open(path: &PathBuf) -> Result<File, InputError> {
    let shown = || path.display().to_string();
    let read = |source| InputError::Read {
        path: shown(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(InputError::Folder { path: shown() });
    }
    Ok(file)
}

fn joined(files: &[PathBuf]) -> Result<Secret, InputError> {
    let mut text = String::new();
    for path in files {
        let shown = || path.display().to_string();
        let read = |source| InputError::Read {
            path: shown(),
            source,
        };
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdin()),
            false => Box::new(open(path)?),
        };
        source
            .take(LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(read)?;
        if text.len() as u64 > LIMIT {
            return Err(InputError::TooLong { path: shown() });
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(Secret::new(text))
}
