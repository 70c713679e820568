//! Whether a delivery is about what an app follows: that repository, that branch, and there still.

use zarpar_model::{CommitId, Source};

use super::Event;

/// What is to be done about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the forge tries whether it reaches us.
    Pong,
    /// Nothing, for this reason.
    Ignore(String),
    /// The branch moved to this commit: look at the repository.
    Look(CommitId),
}

/// What is to be done about `event` for an app that follows `source`.
pub(crate) fn judge(event: &Event, source: &Source) -> Verdict {
    let push = match event {
        Event::Ping => return Verdict::Pong,
        Event::Other(word) => {
            return Verdict::Ignore(format!("`{}` is no push", shown(word)));
        }
        Event::Push(push) => push,
    };
    if !source.url.is_named(&push.repository) {
        return Verdict::Ignore(format!(
            "it is about the repository `{}`, and `{}` follows `{}`",
            shown(&push.repository),
            source.app,
            source.url.slug()
        ));
    }
    let branch = source.branch.reference();
    let Some(change) = push
        .changes
        .iter()
        .find(|change| change.reference == branch)
    else {
        let moved: Vec<String> = push
            .changes
            .iter()
            .take(3)
            .map(|change| format!("`{}`", shown(&change.reference)))
            .collect();
        return Verdict::Ignore(format!(
            "it is about {}, and `{}` follows `{}`",
            if moved.is_empty() {
                "nothing".to_owned()
            } else {
                moved.join(", ")
            },
            source.app,
            source.branch
        ));
    };
    match &change.after {
        Some(commit) => Verdict::Look(commit.clone()),
        None => Verdict::Ignore(format!("`{}` was deleted", source.branch)),
    }
}

/// A text of a payload for a message: cut, without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}
