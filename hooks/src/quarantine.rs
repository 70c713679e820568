//! Two pushes of the same objects at once, such as one that is tried again after the connection
//! was lost. Git keeps a pushed pack from being repacked by a `.keep` file beside it, with its
//! process id inside; the second push finds the first one's file, sees another text (git 2.47)
//! and ends with "unable to migrate objects to permanent storage". With the same text in both
//! there is nothing to differ. The objects are still in quarantine when `pre-receive` runs.

use std::fs;
use std::io;
use std::path::Path;

/// What every `.keep` file of a push says.
const TEXT: &str = "a push is at work\n";

/// Gives the `.keep` files of a push that is in `quarantine` the one text.
pub(crate) fn level_keep_files(quarantine: &Path) -> io::Result<()> {
    let packs = match fs::read_dir(quarantine.join("pack")) {
        Ok(packs) => packs,
        // Few objects, or none, come without a pack.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in packs {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "keep")
        {
            // Git makes it without the right to write; a new file takes its place.
            let new = path.with_extension("keep-new");
            fs::write(&new, TEXT)?;
            fs::rename(&new, &path)?;
        }
    }
    Ok(())
}
