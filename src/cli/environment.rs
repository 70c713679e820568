//! `env`: variables in, out, and as a file that reads back as it was written.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use zarpar_control::Request;
use zarpar_model::{AppName, EnvKey, NameError};

use super::client::{ask, follow};
use super::{EnvCommand, Remote, output, table};
use crate::report::fail;

/// Why variables cannot be read.
#[derive(Debug, thiserror::Error)]
enum EnvError {
    #[error("expected NAME=VALUE, found `{0}`")]
    NoValue(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("expected NAME=VALUE in line {0}, nothing was changed")]
    Line(usize),
    #[error("the quote that opens in line {0} has no end, nothing was changed")]
    Quote(usize),
    #[error("line {line}, nothing was changed")]
    LineName { line: usize, source: NameError },
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
            values.iter().map(|value| assignment(value)).collect(),
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
            let parsed = read(&file).and_then(|text| parse(&text));
            change(
                remote,
                app,
                parsed.map(|values| {
                    values
                        .into_iter()
                        .map(|(name, value)| (name, Some(value)))
                        .collect()
                }),
                no_restart,
            )
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
                        .map(|(name, value)| {
                            vec![name.to_string(), value.escape_debug().to_string()]
                        })
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
                    .for_each(|(name, value)| output::line(&export_line(name, value)));
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
        Err(error) => fail(&error, 2),
    }
}

fn assignment(text: &str) -> Result<(EnvKey, Option<String>), EnvError> {
    // The value may be a secret, so only what stands before the sign is shown.
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| EnvError::NoValue(text.chars().take(40).collect()))?;
    Ok((name.parse()?, Some(value.to_owned())))
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

/// `.env` files as they are written in the field: comments, `export`, quotes. Double quotes
/// know `\n`, `\"` and `\\`, single quotes nothing; both may span lines.
fn parse(text: &str) -> Result<BTreeMap<EnvKey, String>, EnvError> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let number = number + 1;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(EnvError::Line(number))?;
        let name = name.trim().parse().map_err(|source| EnvError::LineName {
            line: number,
            source,
        })?;
        let value = value.trim();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut quoted = value[1..].to_owned();
                loop {
                    if let Some(value) = unquote(&quoted, quote) {
                        break value;
                    }
                    let (_, next) = lines.next().ok_or(EnvError::Quote(number))?;
                    quoted.push('\n');
                    quoted.push_str(next);
                }
            }
            _ => value
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim_end()
                .to_owned(),
        };
        values.insert(name, value);
    }
    Ok(values)
}

/// The text up to the closing quote; `None` when there is none yet.
fn unquote(text: &str, quote: char) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character == quote => return Some(value),
            '\\' if quote == '"' => match characters.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(character),
        }
    }
    None
}

fn export_line(name: &EnvKey, value: &str) -> String {
    format!(
        "{name}=\"{}\"",
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_exported_reads_back_the_same() {
        let name: EnvKey = "X".parse().unwrap();
        for value in [
            "",
            "plain",
            "two words",
            "#hash",
            "a\"b",
            r"c:\n\dir\",
            "line\nline",
            "'",
            " padded ",
            "a=b",
            "ñ",
        ] {
            let line = export_line(&name, value);
            assert_eq!(parse(&line).unwrap()[&name], value, "{line}");
        }
    }

    #[test]
    fn env_files_as_people_write_them() {
        let text =
            "# comment\n\nexport A=1\nB = two words # comment\nC='it''s'\nD=\"two\nlines\"\n";
        let values = parse(text).unwrap();
        let get = |name: &str| values[&name.parse::<EnvKey>().unwrap()].clone();
        assert_eq!(
            (get("A"), get("B"), get("C"), get("D")),
            (
                "1".into(),
                "two words".into(),
                "it".into(),
                "two\nlines".into()
            )
        );
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_is_kept() {
        assert!(
            parse("A=1\nnonsense\n")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert!(
            parse("A=1\n1B=2\n")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert!(parse("A='x\n").unwrap_err().to_string().contains("line 1"));
        assert!(assignment("A").is_err() && assignment("-A=1").is_err());
    }
}
