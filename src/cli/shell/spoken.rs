//! What a client said over SSH, parsed whole. No shell ever sees it, and what is not understood
//! to the last letter is refused.

use zarpar_control::{Denied, GitService};
use zarpar_model::AppName;

/// The longest command that is looked at, in bytes.
const LONGEST: usize = 32 * 1024;

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// A shell was asked for.
    Nothing,
    /// One of git's two commands.
    Git { service: GitService, app: AppName },
    /// Words for the command line.
    Words(Vec<String>),
}

/// Why it is not done; one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("expected a command of one line of text")]
    Letters,
    #[error("expected a command of at most {LONGEST} bytes")]
    Long,
    #[error("expected a command whose quotes are closed")]
    Quotes,
    #[error("expected `git-receive-pack 'APP'` or `git-upload-pack 'APP'`, as git says them")]
    Git,
    #[error("{}", first_line(&Denied::App))]
    App,
    #[error("expected git or one of zarpar's words, found `{0}`; `ssh … help` lists them")]
    Unknown(String),
    #[error("`--data` names a folder of the server, and is not for SSH")]
    Data,
    #[error("a file would be the server's own: give `-` for it and send it on standard input")]
    File,
}

impl Refusal {
    pub(super) fn unknown(word: Option<&String>) -> Refusal {
        let word = word.map(String::as_str).unwrap_or_default();
        Refusal::Unknown(word.chars().take(80).flat_map(char::escape_debug).collect())
    }
}

fn first_line(error: &Denied) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Reads `SSH_ORIGINAL_COMMAND`.
pub(super) fn parse(text: &str) -> Result<Spoken, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::Long);
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::Letters);
    }
    if text.trim().is_empty() {
        return Ok(Spoken::Nothing);
    }
    let rest = text.strip_prefix("git");
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '-'])) {
        let (service, app) = git(text).ok_or(Refusal::Git)?;
        let app = app.parse().map_err(|_| Refusal::App)?;
        return Ok(Spoken::Git { service, app });
    }
    let words = shell_words::split(text).map_err(|_| Refusal::Quotes)?;
    let options = words.iter().take_while(|word| *word != "--");
    for word in options {
        if word == "--data" || word.starts_with("--data=") {
            return Err(Refusal::Data);
        }
    }
    Ok(Spoken::Words(words))
}

/// `git-receive-pack 'NAME'`, with a space for the hyphen as old clients say it, with or without
/// the slash of an `ssh://` address and `.git`: the whole text, and nothing else.
fn git(text: &str) -> Option<(GitService, &str)> {
    let rest = text.strip_prefix("git")?.strip_prefix(['-', ' '])?;
    let (service, quoted) = if let Some(quoted) = rest.strip_prefix("receive-pack ") {
        (GitService::ReceivePack, quoted)
    } else {
        (GitService::UploadPack, rest.strip_prefix("upload-pack ")?)
    };
    let path = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let name = path.strip_prefix('/').unwrap_or(path);
    Some((service, name.strip_suffix(".git").unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn git_says_it_in_these_ways_alone() {
        for path in ["tienda", "/tienda", "tienda.git", "/tienda.git"] {
            for (command, service) in [
                ("git-receive-pack", GitService::ReceivePack),
                ("git receive-pack", GitService::ReceivePack),
                ("git-upload-pack", GitService::UploadPack),
                ("git upload-pack", GitService::UploadPack),
            ] {
                let app = "tienda".parse().unwrap();
                assert_eq!(
                    parse(&format!("{command} '{path}'")),
                    Ok(Spoken::Git { service, app })
                );
            }
        }
        for other in [
            "git",
            "git status",
            "git-shell",
            "git-upload-archive 'tienda'",
            "git-receive-pack",
            "git-receive-pack tienda",
            "git-receive-pack \"tienda\"",
            "git-receive-pack  'tienda'",
            "git-receive-pack 'tienda' ",
            "git-receive-pack 'tienda'; id",
            "git-receive-pack --timeout=1 'tienda'",
        ] {
            assert_eq!(parse(other), Err(Refusal::Git), "{other}");
        }
        for path in [
            "",
            "..",
            "../tienda",
            "//tienda",
            "/srv/tienda.git",
            "~/tienda",
            "tienda/..",
            "tienda.git.git",
            "tienda'; id; '",
            "--upload-pack=id",
            "$(id)",
            "Tienda",
        ] {
            assert_eq!(
                parse(&format!("git-upload-pack '{path}'")),
                Err(Refusal::App),
                "{path}"
            );
        }
    }

    #[test]
    fn words_are_split_and_nothing_is_run() {
        let words = |text: &str| parse(text).unwrap();
        let list =
            |words: &[&str]| Spoken::Words(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(words(" "), Spoken::Nothing);
        assert_eq!(words("logs tienda -f"), list(&["logs", "tienda", "-f"]));
        assert_eq!(
            words("run tienda -- echo 'a b' \"$(id)\" ; id"),
            list(&["run", "tienda", "--", "echo", "a b", "$(id)", ";", "id"])
        );
        assert_eq!(
            words("run tienda -- ls --data /"),
            list(&["run", "tienda", "--", "ls", "--data", "/"])
        );
        assert_eq!(words("gitea"), list(&["gitea"]));
        for (text, refusal) in [
            ("logs tienda\nid", Refusal::Letters),
            ("logs tienda\rid", Refusal::Letters),
            ("logs\u{1b}[2J", Refusal::Letters),
            ("logs 'tienda", Refusal::Quotes),
            ("apps list --data /etc", Refusal::Data),
            ("--data=/etc apps list", Refusal::Data),
        ] {
            assert_eq!(parse(text), Err(refusal), "{text}");
        }
        assert_eq!(parse(&"x".repeat(LONGEST + 1)), Err(Refusal::Long));
    }

    #[test]
    fn a_refusal_is_one_line() {
        for refusal in [Refusal::App, Refusal::unknown(Some(&"a\nb".repeat(100)))] {
            let text = refusal.to_string();
            assert!(!text.contains('\n') && text.len() < 400, "{text}");
        }
    }
}
