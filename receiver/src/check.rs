//! Which pushes are refused before anything happens, as a pure function. What a client sent is
//! compared with the one reference that may move, and never used otherwise.

use zarpar_control::RefUpdate;
use zarpar_model::{AppName, BranchName, CommitId};

/// References that the hook counts at most.
const SHOWN: usize = 50;

/// Why a push is refused, for the pusher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than one reference.
    #[error(
        "expected one branch in a push to `{app}`, found {} references\nhint: `git push REMOTE {branch}`", if *count < SHOWN { count.to_string() } else { format!("{SHOWN} or more") }
    )]
    Several {
        /// The app.
        app: AppName,
        /// How many came.
        count: usize,
        /// The deploy branch.
        branch: BranchName,
    },
    /// Another reference than the deploy branch.
    #[error(
        "`{app}` is deployed from the branch `{branch}`, and the push is to `{found}`\nhint: `git push REMOTE {hint}`"
    )]
    Other {
        /// The app.
        app: AppName,
        /// The deploy branch.
        branch: BranchName,
        /// The literal, escaped.
        found: String,
        /// What to push instead.
        hint: String,
    },
    /// The deploy branch would be removed.
    #[error(
        "the branch `{branch}` of `{app}` cannot be removed by a push, because the app is deployed from it\nhint: `git push REMOTE {branch}` deploys it; other branches are not kept here"
    )]
    Delete {
        /// The app.
        app: AppName,
        /// The deploy branch.
        branch: BranchName,
    },
}

/// Whether a push may go on: with this commit.
///
/// # Errors
/// [`Refusal`].
pub fn check_push<'a>(
    app: &AppName,
    branch: &BranchName,
    updates: &'a [RefUpdate],
) -> Result<&'a CommitId, Refusal> {
    let [update] = updates else {
        return Err(Refusal::Several {
            app: app.clone(),
            count: updates.len(),
            branch: branch.clone(),
        });
    };
    if update.reference != branch.reference() {
        let name = update
            .reference
            .strip_prefix("refs/heads/")
            .unwrap_or(&update.reference);
        // Only a name that is harmless is put into a command to copy.
        let hint = match name.parse::<BranchName>() {
            Ok(other) if !update.new.is_null() && update.reference.starts_with("refs/heads/") => {
                format!("{other}:{branch}")
            }
            _ => branch.to_string(),
        };
        let found = name
            .chars()
            .take(100)
            .flat_map(char::escape_debug)
            .collect();
        return Err(Refusal::Other {
            app: app.clone(),
            branch: branch.clone(),
            found,
            hint,
        });
    }
    if update.new.is_null() {
        return Err(Refusal::Delete {
            app: app.clone(),
            branch: branch.clone(),
        });
    }
    Ok(&update.new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(updates: &[(&str, &str)]) -> String {
        let updates: Vec<RefUpdate> = updates
            .iter()
            .map(|(reference, new)| RefUpdate {
                old: "0".repeat(40).parse().unwrap(),
                new: new.repeat(40).parse().unwrap(),
                reference: (*reference).to_owned(),
            })
            .collect();
        check_push(
            &"tienda".parse().unwrap(),
            &"main".parse().unwrap(),
            &updates,
        )
        .map_or_else(|refusal| refusal.to_string(), |_| "ok".to_owned())
    }

    #[test]
    fn only_the_deploy_branch_moves() {
        assert_eq!(check(&[("refs/heads/main", "a")]), "ok");
        assert!(check(&[("refs/heads/dev", "a")]).contains("git push REMOTE dev:main"));
        for reference in [
            "refs/heads/--upload-pack=x",
            "refs/tags/v1",
            "refs/heads/main/x",
            "main",
            "refs/heads/a b",
            "refs/heads/\u{1b}[2J",
        ] {
            let text = check(&[(reference, "a")]);
            assert!(
                text.ends_with("hint: `git push REMOTE main`") || text.contains(":main`"),
                "{text}"
            );
            assert!(!text.contains('\u{1b}'));
        }
        assert!(check(&[("refs/heads/main", "0")]).contains("cannot be removed"));
        assert!(
            check(&[("refs/heads/main", "a"), ("refs/heads/dev", "a")])
                .contains("found 2 references")
        );
        assert!(check(&[]).contains("found 0 references"));
    }
}
