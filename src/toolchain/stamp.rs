//! What `stat` says about a file that can't stay the same when the file changes.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file's identity and the time of its last change. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    pub(super) modified: i128,
    pub(super) changed: i128,
}

/// How long ago a file must have changed for its stamp to be trusted: clocks of file systems tick slowly.
const SETTLED_AFTER_NANOSECONDS: i128 = 2_000_000_000;

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a further change would be bound to give another stamp.
    pub(super) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        self.changed + SETTLED_AFTER_NANOSECONDS < now
    }
}

/// A path whose state an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    path: PathBuf,
    follows_symlinks: bool,
    stamp: Option<Stamp>,
}

impl Watch {
    /// Watches what `path` itself is, be it a symbolic link or nothing. Costs one `lstat`.
    pub(super) fn link(path: &Path) -> Self {
        Self { path: path.to_owned(), follows_symlinks: false, stamp: look(path, false) }
    }

    /// Watches what `path` leads to: a file, the entries of a directory, or nothing. Costs one `stat`.
    pub(super) fn target(path: &Path) -> Self {
        Self { path: path.to_owned(), follows_symlinks: true, stamp: look(path, true) }
    }

    /// Whether nothing has changed. Costs one `stat`.
    pub(super) fn holds(&self) -> bool {
        look(&self.path, self.follows_symlinks) == self.stamp
    }
}

fn look(path: &Path, follows_symlinks: bool) -> Option<Stamp> {
    let metadata = if follows_symlinks { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    metadata.ok().as_ref().map(Stamp::of)
}
