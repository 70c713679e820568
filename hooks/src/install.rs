//! The hooks folder: one for all repositories, so that there is one place to keep right.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Links `pre-receive`, `proc-receive` and `git-ssh` (what a fetch starts for ssh) in `folder` to
/// `binary`. Each link is made under another
/// name and renamed, so a push that arrives in between finds the old one or the new one.
///
/// # Errors
/// When the folder or a link cannot be made.
pub fn install(folder: &Path, binary: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["pre-receive", "proc-receive", "git-ssh"] {
        let tmp = folder.join(format!(".{name}.new"));
        match fs::remove_file(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(binary, &tmp)?,
        }
        fs::rename(&tmp, folder.join(name))?;
    }
    // What versions before had in its place.
    match fs::remove_file(folder.join("update")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
