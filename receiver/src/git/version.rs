//! Which version of git is installed, and whether it is one to rely on.

use std::fmt;
use std::str::FromStr;

use super::{Git, GitError, finish};

/// What zarpar uses of git came with this one: `--http-backend-info-refs` with 2.35, cruft packs
/// with 2.37.
const NEEDED: Version = Version(2, 37, 0);
/// The first versions without CVE-2025-48384 and its companions, one a series (git's release
/// notes of July 2025). Older series get their corrections from distributions alone.
const CORRECTED: [Version; 8] = [
    Version(2, 43, 7),
    Version(2, 44, 4),
    Version(2, 45, 4),
    Version(2, 46, 4),
    Version(2, 47, 3),
    Version(2, 48, 2),
    Version(2, 49, 1),
    Version(2, 50, 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    /// From what `git version` prints: `git version 2.47.3`, `git version 2.50.1 (Apple Git-155)`.
    fn from_str(text: &str) -> Result<Version, Self::Err> {
        let number = text.split_whitespace().nth(2).unwrap_or_default();
        let mut parts = number.split('.').map(str::parse);
        let mut part = || parts.next().unwrap_or("".parse());
        let (major, minor) = (part()?, part()?);
        // `2.51.0.rc1` and `2.51.GIT` are what somebody built.
        Ok(Version(major, minor, part().unwrap_or(0)))
    }
}

impl Git {
    /// Says in the log when the installed git is missing, too old, or one with known holes that
    /// the distribution may or may not have closed.
    pub(crate) async fn advise(&self) {
        let home = self.config.home.clone();
        let mut command = self.command(&home);
        command.arg("version");
        match finish("version", command).await {
            Ok(said) => {
                if let Some(text) = advice(&said) {
                    tracing::warn!("{text}");
                }
            }
            Err(error @ GitError::Start(_)) => tracing::error!("{error}: nothing can be pushed"),
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

fn advice(said: &str) -> Option<String> {
    let Ok(version) = said.parse::<Version>() else {
        return Some(format!(
            "expected a version from `git version`, found `{}`",
            said.trim().escape_debug()
        ));
    };
    if version < NEEDED {
        return Some(format!(
            "git {version} is too old, {NEEDED} is needed: pushes may fail\nhint: `apt-get install git` of a newer release of the system"
        ));
    }
    let first = CORRECTED
        .iter()
        .rfind(|corrected| (corrected.0, corrected.1) <= (version.0, version.1));
    let corrected = first.is_some_and(|first| version >= *first);
    (!corrected).then(|| {
        format!(
            "git {version} has known holes (CVE-2025-48384, CVE-2025-48385), unless the system's packages have closed them; none is in the way that zarpar uses it\nhint: `apt-get install --only-upgrade git`"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn old_versions_are_named() {
        for good in [
            "git version 2.47.3\n",
            "git version 2.43.7",
            "git version 2.50.1 (Apple Git-155)",
            "git version 2.51.GIT",
            "git version 3.0.0",
        ] {
            assert_eq!(advice(good), None, "{good}");
        }
        for (said, expected) in [
            ("git version 2.39.5", "known holes"),
            ("git version 2.43.6", "known holes"),
            ("git version 2.48.1", "known holes"),
            ("git version 2.50.0", "known holes"),
            ("git version 2.34.1", "2.37.0 is needed"),
            ("hello", "expected a version"),
            ("", "expected a version"),
        ] {
            let text = advice(said).unwrap();
            assert!(text.contains(expected), "{said}: {text}");
        }
    }
}
