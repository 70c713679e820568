//! Where git keeps the objects of a push until its `pre-receive` hook has allowed it
//! (git-receive-pack(1), "Quarantine Environment").

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of a folder below `objects`, in the only forms that git gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine(String);

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a quarantine of git's, found `{found}`\nhint: which version is `git --version`?"
)]
pub struct QuarantineError {
    found: String,
}

impl FromStr for Quarantine {
    type Err = QuarantineError;

    fn from_str(text: &str) -> Result<Quarantine, QuarantineError> {
        let rest = ["tmp_objdir-incoming-", "incoming-"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        let good = rest.is_some_and(|rest| {
            (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        if good {
            return Ok(Quarantine(text.to_owned()));
        }
        Err(QuarantineError {
            found: text.chars().take(80).flat_map(char::escape_debug).collect(),
        })
    }
}

impl Quarantine {
    /// Where it is.
    pub(crate) fn path(&self, repository: &Path) -> PathBuf {
        repository.join("objects").join(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_gits_form_become_a_path() {
        for good in ["tmp_objdir-incoming-aB3xYz", "incoming-aB3xYz"] {
            assert!(good.parse::<Quarantine>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "pack",
            "incoming-",
            "incoming-../../x",
            "tmp_objdir-incoming-a/b",
            "../incoming-aB3xYz",
            "incoming-a\u{1b}[2J",
        ] {
            let error = bad.parse::<Quarantine>();
            assert!(error.is_err(), "{bad}");
            assert!(!format!("{error:?}").contains('\u{1b}'));
        }
    }
}
