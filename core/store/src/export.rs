//! The export: apps, sealed env, releases, sources, tokens and counters as JSON lines in one file beside
//! the database, because sled may not come back from a power cut or a failing disk. It is
//! written after each commit that touches one of them, so its generation is never ahead of the
//! database's: if it is, the database lost something. It is replaced by rename, so there is
//! always one whole export. Deployments and deliveries are not in it; they are history, and one that was at
//! work is undone when nothing names it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::counters::FORMAT;
use crate::folder::{parent_of, sync_folder, with_suffix};
use crate::rows::{Changes, Rows, Table};

const TABLES: [Table; 7] = [
    Table::Apps,
    Table::Env,
    Table::Releases,
    Table::Sources,
    Table::Tokens,
    Table::Keys,
    Table::Meta,
];

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    zarpar_export: u64,
    generation: u64,
}

/// The last line; without it the file was cut short.
#[derive(Serialize, Deserialize)]
struct Footer {
    rows: u64,
}

/// A line in between.
#[derive(Serialize, Deserialize)]
struct Line {
    table: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    /// Sealed bytes in base64, sealed as they are in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// Replaces the export at `path` by what `rows` hold.
pub(crate) fn write(path: &Path, rows: &Rows, generation: u64) -> Result<(), StoreError> {
    let unfinished = with_suffix(path, ".tmp");
    let failed = || StoreError::file("write", &unfinished);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed())?;
    let mut out = BufWriter::new(file);
    let header = Header {
        zarpar_export: FORMAT,
        generation,
    };
    put(&mut out, &header).map_err(failed())?;
    let mut count = 0;
    for table in TABLES {
        rows.each(table, "", |key, bytes| {
            let sealed = table == Table::Env;
            count += 1;
            let line = Line {
                table: table.name().to_owned(),
                key: key.to_owned(),
                value: if sealed {
                    None
                } else {
                    Some(crate::rows::parse(table, key, bytes)?)
                },
                sealed: sealed.then(|| STANDARD.encode(bytes)),
            };
            put(&mut out, &line).map_err(failed())
        })?;
    }
    put(&mut out, &Footer { rows: count }).map_err(failed())?;
    let file = out
        .into_inner()
        .map_err(|error| failed()(error.into_error()))?;
    file.sync_all().map_err(failed())?;
    fs::rename(&unfinished, path).map_err(StoreError::file("replace", path))?;
    sync_folder(parent_of(path))
}

fn put(out: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// The generation of the export at `path`; `None` when there is no export.
pub(crate) fn generation(path: &Path) -> Result<Option<u64>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file("read", path)(error)),
    };
    let mut first = String::new();
    BufReader::new(file)
        .read_line(&mut first)
        .map_err(StoreError::file("read", path))?;
    read_header(path, &first).map(|header| Some(header.generation))
}

/// Puts the rows of the export at `path` into `rows`, and returns its generation. The caller
/// throws `rows` away after an error.
pub(crate) fn restore(path: &Path, rows: &Rows) -> Result<u64, StoreError> {
    read(path, |table, key, content| {
        let mut changes = Changes::default();
        match content {
            Content::Value(value) => changes.put(table, key, &value)?,
            Content::Sealed(bytes) => changes.put_bytes(table, key, bytes),
        }
        rows.write(&changes)
    })
}

/// The first row that is not the same in `rows` and in the export at `path`, which are of the
/// same generation. Sled gives up what follows a damaged spot without a word.
pub(crate) fn difference(path: &Path, rows: &Rows) -> Result<Option<String>, StoreError> {
    let mut different = None;
    let mut surplus: i64 = 0;
    read(path, |table, key, content| {
        // Counters move between two exports.
        if table == Table::Meta {
            return Ok(());
        }
        surplus -= 1;
        let same = match content {
            Content::Value(value) => rows.get(table, &key)? == Some(value),
            Content::Sealed(bytes) => rows.get_bytes(table, &key)? == Some(bytes),
        };
        if !same {
            different.get_or_insert(format!("the row `{key}` of `{}` is lost", table.name()));
        }
        Ok(())
    })?;
    for table in TABLES.into_iter().filter(|table| *table != Table::Meta) {
        rows.each(table, "", |_, _| {
            surplus += 1;
            Ok(())
        })?;
    }
    if surplus != 0 {
        different.get_or_insert(format!("{surplus} rows are not in the export"));
    }
    Ok(different)
}

/// What a line holds.
enum Content {
    Value(serde_json::Value),
    Sealed(Vec<u8>),
}

fn read(
    path: &Path,
    mut visit: impl FnMut(Table, String, Content) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let file = File::open(path).map_err(StoreError::file("read", path))?;
    let mut lines = BufReader::new(file).lines();
    let mut next = || {
        lines
            .next()
            .unwrap_or_else(|| Err(ErrorKind::UnexpectedEof.into()))
            .map_err(|error| damaged(path, error))
    };
    let header = read_header(path, &next()?)?;
    let mut count = 0;
    loop {
        let line = next()?;
        if let Ok(footer) = serde_json::from_str::<Footer>(&line) {
            if footer.rows != count {
                let reason = format!("found {count} rows of {}", footer.rows);
                return Err(damaged(path, reason));
            }
            return Ok(header.generation);
        }
        let line: Line = serde_json::from_str(&line).map_err(|error| damaged(path, error))?;
        let table = TABLES
            .into_iter()
            .find(|table| table.name() == line.table)
            .ok_or_else(|| damaged(path, format!("unknown table `{}`", line.table)))?;
        let content = match (line.value, line.sealed) {
            (Some(value), None) => Content::Value(value),
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text);
                Content::Sealed(bytes.map_err(|error| damaged(path, error))?)
            }
            _ => return Err(damaged(path, format!("no value in `{}`", line.key))),
        };
        visit(table, line.key, content)?;
        count += 1;
    }
}

fn read_header(path: &Path, line: &str) -> Result<Header, StoreError> {
    let header: Header = serde_json::from_str(line).map_err(|error| damaged(path, error))?;
    if header.zarpar_export > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: header.zarpar_export,
            known: FORMAT,
        });
    }
    Ok(header)
}

fn damaged(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::ExportDamaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
