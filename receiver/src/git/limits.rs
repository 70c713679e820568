//! What a push may ask of this machine.

use std::time::Duration;

/// Bounds for pushes and for the git processes that serve them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitLimits {
    /// The largest pack that a push may send, in bytes on the wire; git's `receive.maxInputSize`.
    pub max_pack: u64,
    /// The largest file that a deployed commit may have, unpacked, in bytes.
    pub max_file: u64,
    /// What all files of a deployed commit may have together, unpacked, in bytes.
    pub max_expanded: u64,
    /// The longest time from the start of a push until all of it is here and checked by git. The
    /// deployment that follows is not counted.
    pub receive: Duration,
    /// The longest time in which a client neither sends nor takes a byte.
    pub idle: Duration,
}

/// Memory that any git process may need for its tables, whatever the other limits, in bytes: the
/// list of a pack's objects takes 64 bytes each, so this is for four million.
const TABLES: u64 = 256 << 20;

impl Default for GitLimits {
    /// For repositories of 500 MB and build contexts of 1 GB. Times: reliability research, G14.
    fn default() -> GitLimits {
        GitLimits {
            max_pack: 1 << 30,
            max_file: 256 << 20,
            max_expanded: 2 << 30,
            receive: Duration::from_secs(600),
            idle: Duration::from_secs(120),
        }
    }
}

impl GitLimits {
    /// The largest piece of memory that git may ask for. Files are streamed from 8 MiB on, unless
    /// they come as a difference from another one; a commit or a tree is held whole, so this is
    /// what refuses one of 300 MB that came as 300 kB.
    pub(crate) fn allocation(&self) -> u64 {
        self.max_file.max(TABLES)
    }

    /// What one git process may have in all (`RLIMIT_DATA`, so without mapped packs): a file and
    /// the one that it differs from, and the tables.
    pub(crate) fn memory(&self) -> u64 {
        self.allocation().saturating_mul(2).saturating_add(64 << 20)
    }
}
