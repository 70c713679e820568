//! Which `ssh` is started: the one that git would start for a push, without the shell that git
//! would let read it.

use super::repository::git;

/// A command that only a shell understands.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{said}` of {place} needs a shell, which zarpar does not start\nhint: put its options into `~/.ssh/config`"
)]
pub(super) struct NeedsShell {
    said: String,
    place: &'static str,
}

/// The program and its first arguments: `GIT_SSH_COMMAND`, `core.sshCommand`, `GIT_SSH` or `ssh`,
/// in git's order (gitconfig(5)). No shell reads them.
pub(super) fn program() -> Result<Vec<String>, NeedsShell> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let configured = || git(&["config", "--get", "core.sshCommand"]);
    let commands = [
        (variable("GIT_SSH_COMMAND"), "`GIT_SSH_COMMAND`"),
        (
            configured().map(|text| text.trim_end_matches('\n').to_owned()),
            "`core.sshCommand`",
        ),
    ];
    for (said, place) in commands {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            return split(&said).ok_or(NeedsShell { said, place });
        }
    }
    Ok(vec![
        variable("GIT_SSH").unwrap_or_else(|| "ssh".to_owned()),
    ])
}

/// The words of a command; none when a shell would make something else of them.
fn split(said: &str) -> Option<Vec<String>> {
    if said.contains(['$', '`', ';', '&', '|', '<', '>', '(', ')', '*', '?', '\n']) {
        return None;
    }
    let home = || std::env::var("HOME").ok();
    let words = shell_words::split(said).ok()?.into_iter();
    let words: Option<Vec<String>> = words
        .map(|word| match word.strip_prefix("~/") {
            Some(rest) => Some(format!("{}/{rest}", home()?)),
            None => Some(word),
        })
        .collect();
    words.filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_git_is_split_without_a_shell() {
        let split = |said: &str| split(said).map(|words| words.join("|"));
        assert_eq!(split("ssh -i '/a b/key' -v").unwrap(), "ssh|-i|/a b/key|-v");
        assert!(split("ssh -i ~/.ssh/x").unwrap().ends_with("/.ssh/x"));
        for said in ["ssh -i $KEY", "ssh; id", "ssh `id`", "ssh 'x", "", "a && b"] {
            assert_eq!(split(said), None, "{said}");
        }
    }
}
