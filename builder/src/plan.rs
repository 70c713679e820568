//! What is to be built: decided from the commit's files alone, before anything is made. A
//! Dockerfile in the repository is used as it is; without one, a Django project gets a generated
//! one; anything else is refused in words.

use zarpar_model::{ProjectConfig, ProjectError};

use crate::checkout::Checkout;
use crate::dockerfile;
use crate::dockerignore::DockerIgnore;

/// Where the generated Dockerfile stands in the context.
pub(crate) const GENERATED: &str = ".zarpar.Dockerfile";

/// A decided build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `zarpar.toml`.
    pub project: ProjectConfig,
    /// The files below the context folder.
    pub checkout: Checkout,
    /// What stays out of the context.
    pub ignore: DockerIgnore,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// The generated Dockerfile, when the repository has none.
    pub generated: Option<String>,
    /// Whether there is a `manage.py`, so that Django can be asked and told to migrate.
    pub django: bool,
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// `zarpar.toml` is wrong.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The folder that `[build] context` names is empty.
    #[error(
        "`[build] context` names the folder `{folder}`, which has no files in this commit\nhint: is it committed? `git ls-files {folder}`"
    )]
    Context {
        /// The folder.
        folder: String,
    },
    /// The file that `[build] dockerfile` names is not there.
    #[error(
        "`[build] dockerfile` names `{path}`, which is not in this commit\nhint: is it committed? `git ls-files {path}`"
    )]
    Dockerfile {
        /// The path.
        path: String,
    },
    /// Nothing zarpar can build.
    #[error(
        "expected a `Dockerfile`, or a Django project with `manage.py` and `requirements.txt`, and found {found}\nhint: {hint}"
    )]
    Nothing {
        /// What was there.
        found: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Which module serves the site cannot be told.
    #[error(
        "expected one `wsgi.py` in the project, found {found}\nhint: name the server in `zarpar.toml`: [web] command = \"gunicorn mysite.wsgi\""
    )]
    Wsgi {
        /// The literal list.
        found: String,
    },
}

impl Plan {
    /// Decides. Blocks on the disk.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn decide(checkout: Checkout) -> Result<Plan, PlanError> {
        let project = match checkout.find("zarpar.toml") {
            None => ProjectConfig::default(),
            Some(_) => match checkout.text("zarpar.toml") {
                Some(text) => ProjectConfig::from_toml(&text)?,
                None => {
                    return Err(ProjectError::Syntax {
                        message: "it is no plain text file of at most 1 MiB".to_owned(),
                    }
                    .into());
                }
            },
        };
        let checkout = match &project.build.context {
            Some(folder) => checkout.below(folder),
            None => checkout,
        };
        if checkout.files.is_empty()
            && let Some(folder) = &project.build.context
        {
            return Err(PlanError::Context {
                folder: folder.clone(),
            });
        }
        let django = checkout.find("manage.py").is_some();
        let named = project.build.dockerfile.clone();
        let (dockerfile, generated) = match named {
            Some(path) if checkout.find(&path).is_none() => {
                return Err(PlanError::Dockerfile { path });
            }
            Some(path) => (path, None),
            None if checkout.find("Dockerfile").is_some() => ("Dockerfile".to_owned(), None),
            None => (
                GENERATED.to_owned(),
                Some(dockerfile::generate(&checkout, &project)?),
            ),
        };
        // Docker prefers an ignore file that stands beside the Dockerfile under its name.
        let ignore = checkout
            .text(&format!("{dockerfile}.dockerignore"))
            .or_else(|| checkout.text(".dockerignore"))
            .map(|text| DockerIgnore::parse(&text))
            .unwrap_or_default();
        Ok(Plan {
            project,
            checkout,
            ignore,
            dockerfile,
            generated,
            django,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decide(files: &[(&str, &str)]) -> Result<Plan, PlanError> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Plan::decide(Checkout::folder(folder.path()).unwrap())
    }

    fn generated(files: &[(&str, &str)]) -> String {
        decide(files).unwrap().generated.unwrap()
    }

    #[test]
    fn a_django_project_gets_a_dockerfile_whose_dependencies_come_before_its_code() {
        let text = generated(&[
            ("manage.py", ""),
            ("requirements.txt", "Django>=5\n"),
            ("sitio/wsgi.py", ""),
        ]);
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("`{part}` is not in:\n{text}"))
        };
        assert!(
            at("FROM python:3.13-slim") < at("COPY [\"requirements.txt\",\"requirements.txt\"]")
        );
        assert!(
            at("pip install -r requirements.txt gunicorn") < at("COPY --chown=10001:10001 . .")
        );
        assert!(at("USER 10001:10001") < at("\"sitio.wsgi\""));
    }

    #[test]
    fn requirements_that_need_other_files_get_them() {
        let site = [("manage.py", ""), ("sitio/wsgi.py", "")];
        let with = |files: &[(&'static str, &'static str)]| generated(&[&site[..], files].concat());
        let included = with(&[
            (
                "requirements.txt",
                "-r requirements/base.txt\nGunicorn[gevent]==23\n",
            ),
            ("requirements/base.txt", "django\n"),
        ]);
        assert!(
            included.contains("COPY [\"requirements/base.txt\",\"requirements/base.txt\"]"),
            "{included}"
        );
        assert!(
            !included.contains("requirements.txt gunicorn"),
            "{included}"
        );
        let local = with(&[("requirements.txt", "-e .\n")]);
        assert!(
            local.find("COPY --chown").unwrap() < local.find("pip install").unwrap(),
            "{local}"
        );
    }

    #[test]
    fn what_cannot_be_built_is_refused_in_words() {
        let error = |files: &[(&str, &str)]| decide(files).unwrap_err().to_string();
        assert!(error(&[("README", "")]).contains("found neither"));
        assert!(error(&[("manage.py", "")]).contains("`manage.py` without `requirements.txt`"));
        assert!(error(&[("manage.py", ""), ("requirements.txt", "")]).contains("found none"));
        let two = [
            ("manage.py", ""),
            ("requirements.txt", ""),
            ("a/wsgi.py", ""),
            ("b/wsgi.py", ""),
        ];
        assert!(error(&two).contains("`a.wsgi`, `b.wsgi`"));
        assert!(
            error(&[("zarpar.toml", "[build]\ndockerfile = \"x\"")])
                .contains("`x`, which is not in this commit")
        );
        assert!(error(&[("zarpar.toml", "[build]\ncontext = \"x\"")]).contains("the folder `x`"));
    }

    #[test]
    fn a_dockerfile_of_its_own_is_used_as_it_is_and_never_ignored() {
        let plan = decide(&[
            ("Dockerfile", "FROM x"),
            ("manage.py", ""),
            (".dockerignore", "*.md"),
        ])
        .unwrap();
        assert_eq!(
            (plan.dockerfile.as_str(), plan.generated, plan.django),
            ("Dockerfile", None, true)
        );
        assert!(plan.ignore.ignores(b"README.md"));
    }
}
