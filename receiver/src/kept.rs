//! What keeps commits in a repository besides its branches: `refs/zarpar/releases/vN` for every
//! kept release and `refs/zarpar/deployments/N` for every deployment that is not done. A force
//! push takes a commit from its branch, and a repack would drop it; by these references a release
//! can be built again for as long as it is kept. They are made to agree with the store's records
//! as a whole, so doing it again changes nothing, and whatever a crash left is put right by the
//! next time: after every deployment, at the start, and before every repack, which is the only
//! thing that drops objects. Clients do not see them (`transfer.hideRefs`).

use std::collections::BTreeMap;

use zarpar_model::{AppName, CommitId, DeploymentId, ReleaseNumber};

use crate::git::{GitError, converse, finish};
use crate::repository::Repositories;

/// References that are ours to make and remove; `refs/zarpar/` has others, too.
const OURS: [&str; 2] = ["refs/zarpar/releases/", "refs/zarpar/deployments/"];

/// The commits that must stay.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    references: BTreeMap<String, CommitId>,
}

impl Kept {
    /// A kept release.
    pub fn release(&mut self, number: ReleaseNumber, commit: &CommitId) {
        let name = format!("{}{number}", OURS[0]);
        self.references.insert(name, commit.clone());
    }

    /// A deployment that waits or is at work.
    pub fn deployment(&mut self, id: DeploymentId, commit: &CommitId) {
        let name = format!("{}{id}", OURS[1]);
        self.references.insert(name, commit.clone());
    }
}

impl Repositories {
    /// Makes the references that keep commits exactly these. A commit that the repository does not
    /// have is left out: nothing can bring it back, and the others must stay.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn keep(&self, app: &AppName, kept: &Kept) -> Result<(), GitError> {
        let repository = self.path(app);
        if !repository.exists() {
            // Nothing was ever pushed, or the app is being destroyed.
            return Ok(());
        }
        let git = |words: &[&str]| {
            let mut command = self.git().command(&repository);
            command.arg("--git-dir").arg(&repository).args(words);
            command
        };
        let format = "--format=%(objectname) %(refname)";
        let listed = finish(
            "for-each-ref",
            git(&["for-each-ref", format, OURS[0], OURS[1]]),
        );
        let listed = listed.await?;
        let mut there: BTreeMap<&str, &str> = listed
            .lines()
            .filter_map(|line| line.split_once(' ').map(|(id, name)| (name, id)))
            .collect();
        let mut wanted = Vec::new();
        for (name, commit) in &kept.references {
            if there.remove(name.as_str()) != Some(commit.as_str()) {
                wanted.push((name, commit));
            }
        }
        if wanted.is_empty() && there.is_empty() {
            return Ok(());
        }
        let ids: String = wanted
            .iter()
            .map(|(_, commit)| format!("{commit}\n"))
            .collect();
        let found = git(&["cat-file", "--batch-check=%(objecttype)"]);
        let found = converse("cat-file", found, ids.as_bytes()).await?;
        let mut changes = String::new();
        for ((name, commit), kind) in wanted.into_iter().zip(found.lines()) {
            if kind == "commit" {
                changes += &format!("update {name} {commit}\n");
            } else {
                tracing::warn!(%app, reference = name, %commit, "the repository does not have this commit");
            }
        }
        for name in there.into_keys() {
            changes += &format!("delete {name}\n");
        }
        let update = git(&["update-ref", "--no-deref", "--stdin"]);
        converse("update-ref", update, changes.as_bytes())
            .await
            .map(drop)
    }
}
