//! The keys of `zarpar.toml`, as a list that can be searched for the nearest one. A test holds
//! the list against the types, so neither can grow without the other.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ProjectError;

/// Keys with their table; a table whose keys are free ends in `*`.
pub(super) const KNOWN: &[&str] = &[
    "build.dockerfile",
    "build.context",
    "build.args.*",
    "build.python",
    "build.network",
    "release.tasks",
    "web.command",
    "web.port",
    "web.scale",
    "web.drain",
    "web.stream_requests",
    "web.health.path",
    "web.health.timeout",
    "web.health.interval",
    "web.health.status",
    "processes.*",
    "static.url",
    "static.root",
    "media.url",
    "media.root",
    "deploy.branch",
    "deploy.keep",
    "deploy.during_migrations",
];

/// Keys that a later version will know. Accepting them without doing what they say would be a
/// lie.
const NOT_YET: &[&str] = &["cron.*", "cron", "deploy.strategy", "deploy.bake"];

/// Compares every key of a file with the list.
pub(super) fn check(text: &str, table: &Spanned<DeTable<'_>>) -> Result<(), ProjectError> {
    walk(text, "", table.get_ref())
}

fn walk(text: &str, prefix: &str, table: &DeTable<'_>) -> Result<(), ProjectError> {
    for (key, value) in table.iter() {
        let path = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        let line = text[..key.span().start.min(text.len())]
            .matches('\n')
            .count()
            + 1;
        let is_table = matches!(value.get_ref(), DeValue::Table(_));
        if NOT_YET.iter().any(|known| covers(known, &path)) {
            return Err(ProjectError::NotYet { key: path, line });
        }
        if KNOWN.iter().any(|known| covers(known, &path)) {
            continue;
        }
        let inner = format!("{path}.");
        match value.get_ref() {
            DeValue::Table(table) if KNOWN.iter().any(|known| known.starts_with(&inner)) => {
                walk(text, &path, table)?;
            }
            _ => {
                return Err(ProjectError::UnknownKey {
                    hint: hint(&path, is_table),
                    key: path,
                    line,
                });
            }
        }
    }
    Ok(())
}

fn covers(known: &str, path: &str) -> bool {
    match known.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix) && path.len() > prefix.len(),
        None => known == path,
    }
}

/// The nearest known key by Damerau-Levenshtein distance; all keys when none is near.
fn hint(path: &str, is_table: bool) -> String {
    let mut candidates: Vec<String> = KNOWN
        .iter()
        .map(|known| known.trim_end_matches(".*").to_owned())
        .collect();
    if is_table {
        candidates = candidates
            .iter()
            .filter_map(|known| known.split_once('.').map(|(table, _)| table.to_owned()))
            .chain(["web.health".to_owned(), "processes".to_owned()])
            .collect();
    }
    candidates
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, path), known))
        .min()
        .filter(|(distance, known)| *distance <= 3 && *distance < known.len())
        .or_else(|| {
            // `command` at the top level is near to nothing as text, yet clear in meaning.
            let last = path.rsplit('.').next().unwrap_or(path);
            candidates
                .iter()
                .find(|known| known.rsplit('.').next() == Some(last))
                .map(|known| (0, known))
        })
        .map_or_else(
            || format!("known keys are {}", KNOWN.join(", ")),
            |(_, known)| {
                if is_table {
                    format!("did you mean `[{known}]`?")
                } else {
                    format!("did you mean `{known}`?")
                }
            },
        )
}
