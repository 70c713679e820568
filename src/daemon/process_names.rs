//! Which processes an app has. A name that it does not have is a slip of the pen: it is refused with
//! the names that are there, before anything restarts for it.

use std::collections::BTreeSet;

use zarpar_model::{App, ProcessName, Release};

/// As many letters may be wrong, left out or swapped for a name to be taken for the one meant.
const NEAR: usize = 2;

/// The processes of the live release: `web`, those of its `zarpar.toml`, and those that run or were
/// scaled.
pub(super) fn known(app: &App, release: &Release) -> BTreeSet<String> {
    let project = release.project.processes.keys();
    let running = release.targets.iter().map(|target| &target.process);
    let scaled = app.scale.iter().map(|(process, _)| process);
    let names = project.chain(running).chain(scaled);
    let names = names.map(|name| name.as_str().to_owned());
    names.chain(["web".to_owned()]).collect()
}

/// Refuses a name that is not among the known ones.
///
/// # Errors
/// The names that are there, and the nearest one.
pub(super) fn check(name: &ProcessName, known: &BTreeSet<String>) -> anyhow::Result<()> {
    let name = name.as_str();
    if known.contains(name) {
        return Ok(());
    }
    let there: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let distances = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known));
    let nearest = distances.min().filter(|(distance, _)| *distance <= NEAR);
    let hint = nearest.map_or_else(
        || "`[processes]` of `zarpar.toml` names further ones".to_owned(),
        |(_, known)| format!("did you mean `{known}`?"),
    );
    anyhow::bail!(
        "there is no process `{name}`; there is {}\nhint: {hint}",
        there.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(name: &str) -> Option<String> {
        let known = ["web", "worker"].map(str::to_owned).into();
        let checked = check(&name.parse().unwrap(), &known);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_slip_of_the_pen_is_refused_with_what_is_there() {
        assert_eq!(refusal("web"), None);
        assert_eq!(refusal("worker"), None);
        assert_eq!(
            refusal("wbe").as_deref(),
            Some("there is no process `wbe`; there is `web`, `worker`\nhint: did you mean `web`?")
        );
        let far = refusal("nope-at-all").unwrap();
        assert!(
            far.contains("`web`, `worker`\nhint: `[processes]`"),
            "{far}"
        );
    }
}
