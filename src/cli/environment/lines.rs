//! Variables as text: the words of `env set` and the lines of a `.env` file. What `export`
//! writes, `import` reads back as it was. A value may be a secret, and so may any text with its
//! `=` in the wrong place, so an error names the place and never the text.

use std::collections::BTreeMap;
use std::fmt;

use zarpar_model::EnvKey;

/// Where something is wrong, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Argument(usize),
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Argument(number) => write!(f, "argument {number}"),
            Place::Line(number) => write!(f, "line {number}"),
        }
    }
}

/// A text that is no variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    #[error(
        "expected NAME=VALUE, found no `=` in {0}; nothing was changed\nhint: a value with spaces or line ends stands in quotes"
    )]
    NoSign(Place),
    #[error(
        "expected a variable name of letters, digits and `_` that does not start with a digit, before the `=` in {0}; nothing was changed\nhint: for example `EMAIL_HOST=smtp.example`"
    )]
    Name(Place),
    #[error("the value in {0} has a NUL byte, which no variable can hold; nothing was changed")]
    Nul(Place),
    #[error(
        "the quote that opens in {0} has no end; nothing was changed\nhint: inside double quotes, a quote is written `\\\"`"
    )]
    Open(Place),
    #[error(
        "expected the end of the line after the closing quote of the value in {0}; nothing was changed\nhint: put the whole value into one pair of quotes"
    )]
    Trailing(Place),
    #[error("expected lines such as `NAME=VALUE`, found none; nothing was changed")]
    Empty,
}

/// The words of `env set`; the value is taken as it is.
pub(super) fn assignments(words: &[String]) -> Result<BTreeMap<EnvKey, Option<String>>, LineError> {
    let numbered = (1..).map(Place::Argument).zip(words);
    numbered
        .map(|(place, word)| {
            let (name, value) = split(word, place)?;
            Ok((name, Some(value.to_owned())))
        })
        .collect()
}

/// A `.env` file as people write it: comments, `export`, quotes; no `$NAME` is replaced. Double
/// quotes know `\n`, `\"` and `\\`, single quotes nothing; both may span lines. Of a name that
/// comes twice the last counts, as in a shell.
pub(super) fn parse(text: &str) -> Result<BTreeMap<EnvKey, Option<String>>, LineError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = BTreeMap::new();
    let mut lines = (1..).map(Place::Line).zip(text.lines());
    while let Some((place, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = split(line, place)?;
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut quoted = value[1..].to_owned();
                loop {
                    match unquote(&quoted, quote) {
                        Some((value, rest)) if is_blank(rest) => break value,
                        Some(_) => return Err(LineError::Trailing(place)),
                        None => {}
                    }
                    let (_, next) = lines.next().ok_or(LineError::Open(place))?;
                    quoted.push('\n');
                    quoted.push_str(next);
                }
            }
            _ => bare(value).to_owned(),
        };
        values.insert(name, Some(value));
    }
    if values.is_empty() {
        return Err(LineError::Empty);
    }
    Ok(values)
}

/// A line that [`parse`] reads back as this value.
pub(super) fn export(name: &EnvKey, value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}

fn split(text: &str, place: Place) -> Result<(EnvKey, &str), LineError> {
    let (name, value) = text.split_once('=').ok_or(LineError::NoSign(place))?;
    if value.contains('\0') {
        return Err(LineError::Nul(place));
    }
    let name = name.trim().parse().map_err(|_| LineError::Name(place))?;
    Ok((name, value))
}

/// A value without quotes: up to a comment, which needs white space before it.
fn bare(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|(at, c)| *c == '#' && text[..*at].ends_with([' ', '\t']));
    comment.map_or(text, |(at, _)| &text[..at]).trim_end()
}

/// The text up to the closing quote, and what comes after it; `None` when there is none yet.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character == quote => return Some((value, characters.as_str())),
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

fn is_blank(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests;
