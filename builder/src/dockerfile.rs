//! The Dockerfile for a Django project that has none. The dependency layer depends on the
//! requirements files alone, so a code-only push takes it from the cache; the program runs as a
//! user without rights.

use std::collections::BTreeSet;
use std::fmt::Write;

use zarpar_model::ProjectConfig;

use crate::checkout::{Checkout, FileKind};
use crate::plan::PlanError;

/// Python when `[build] python` does not say.
const PYTHON: &str = "3.13";

/// Writes the Dockerfile.
///
/// # Errors
/// [`PlanError::Nothing`] when this is no Django project, [`PlanError::Wsgi`] when its server
/// module cannot be told.
pub(crate) fn generate(checkout: &Checkout, project: &ProjectConfig) -> Result<String, PlanError> {
    let nothing = |found, hint| Err(PlanError::Nothing { found, hint });
    match (
        checkout.find("manage.py"),
        checkout.find("requirements.txt"),
    ) {
        (Some(_), Some(_)) => {}
        (Some(_), None) => {
            return nothing(
                "`manage.py` without `requirements.txt`",
                "write one with `pip freeze > requirements.txt`, commit it and push again",
            );
        }
        (None, Some(_)) => {
            return nothing(
                "`requirements.txt` without `manage.py`",
                "if the project is in a folder, name it in `zarpar.toml`: [build] context = \"backend\"",
            );
        }
        (None, None) => {
            return nothing(
                "neither",
                "add a `Dockerfile`, or name the project's folder in `zarpar.toml`: [build] context = \"backend\"",
            );
        }
    }
    let python = project.build.python.as_deref().unwrap_or(PYTHON);
    let requirements = Requirements::read(checkout);
    let gunicorn = if requirements.has_gunicorn {
        ""
    } else {
        " gunicorn"
    };
    let command = match &project.web.command {
        Some(_) => String::new(),
        None => format!(
            "CMD [\"gunicorn\", \"--worker-tmp-dir\", \"/dev/shm\", \"{}\"]\n",
            wsgi(checkout)?
        ),
    };
    let mut text = format!(
        "FROM python:{python}-slim\n\
         ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore\n\
         RUN mkdir /app && chown 10001:10001 /app\n\
         WORKDIR /app\n"
    );
    let install = format!(
        "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt{gunicorn}\n"
    );
    let copy = "COPY --chown=10001:10001 . .\n";
    // Writing to a String cannot fail.
    let _ = match &requirements.files {
        Some(files) => {
            for file in files {
                let _ = writeln!(text, "COPY {}", serde_json::json!([file, file]));
            }
            write!(text, "{install}{copy}")
        }
        // Requirements that point at files of the project need the project first.
        None => write!(text, "{copy}{install}"),
    };
    let _ = write!(
        text,
        "USER 10001:10001\nENV HOME=/tmp PORT=8000\nEXPOSE 8000\n{command}"
    );
    Ok(text)
}

/// What the requirements files say about themselves.
struct Requirements {
    /// `requirements.txt` and the files it includes; `None` when a line needs the project's own
    /// files.
    files: Option<BTreeSet<String>>,
    has_gunicorn: bool,
}

impl Requirements {
    fn read(checkout: &Checkout) -> Requirements {
        let mut found = Requirements {
            files: Some(BTreeSet::new()),
            has_gunicorn: false,
        };
        let mut waiting = vec!["requirements.txt".to_owned()];
        while let Some(path) = waiting.pop() {
            let Some(text) = checkout.text(&path) else {
                continue;
            };
            if !found
                .files
                .as_mut()
                .is_none_or(|files| files.insert(path.clone()))
            {
                continue;
            }
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for line in text.lines().map(str::trim) {
                if let Some(included) = included(line) {
                    let path = if folder.is_empty() {
                        included.to_owned()
                    } else {
                        format!("{folder}/{included}")
                    };
                    if path.split('/').any(|part| part == "..") {
                        found.files = None;
                    } else if found.files.is_some() {
                        waiting.push(path.trim_start_matches("./").to_owned());
                    }
                } else if line.starts_with(['.', '/'])
                    || line.starts_with("-e")
                    || line.starts_with("--editable")
                    || line.contains("file:")
                {
                    found.files = None;
                } else {
                    found.has_gunicorn |= requirement_name(line) == "gunicorn";
                }
            }
        }
        found
    }
}

/// The file of `-r FILE`, `--requirement FILE`, `-c FILE`, `--constraint FILE`.
fn included(line: &str) -> Option<&str> {
    ["--requirement", "--constraint", "-r", "-c"]
        .iter()
        .find_map(|option| line.strip_prefix(option))
        .map(|rest| rest.trim_start_matches(['=', ' ', '\t']))
        .map(|rest| rest.split(" #").next().unwrap_or(rest).trim())
        .filter(|file| !file.is_empty() && !file.contains("://"))
}

/// The name of a requirement line in lower case, without extras, version and marker.
fn requirement_name(line: &str) -> String {
    line.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect::<String>()
        .to_ascii_lowercase()
}

/// The module of the project's one `wsgi.py`.
fn wsgi(checkout: &Checkout) -> Result<String, PlanError> {
    let modules: Vec<String> = checkout
        .files
        .iter()
        .filter(|file| file.kind != FileKind::Link)
        .filter_map(|file| std::str::from_utf8(&file.path).ok())
        .filter_map(|path| path.strip_suffix("wsgi.py")?.strip_suffix('/'))
        .filter(|folder| folder.split('/').all(is_module))
        .map(|folder| format!("{}.wsgi", folder.replace('/', ".")))
        .collect();
    match &modules[..] {
        [module] => Ok(module.clone()),
        [] => Err(PlanError::Wsgi {
            found: "none".to_owned(),
        }),
        several => Err(PlanError::Wsgi {
            found: format!("`{}`", several.join("`, `")),
        }),
    }
}

fn is_module(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(|c: char| c.is_ascii_digit())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
