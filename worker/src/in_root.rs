//! Opening directories below a root: links are followed and `..` obeyed, but never out of the root.
//!
//! **Source:** openat2(2), `RESOLVE_IN_ROOT`.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// How often a look-up is repeated because something was renamed or mounted on this machine meanwhile, which makes the
/// kernel unsure about `..`.
const ATTEMPTS: u32 = 10_000;

/// Opens the directory `path` below `root` as a place, not for reading. Other mounts are not entered.
///
/// # Errors
/// What openat2(2) says: there is no such directory, or (`EXDEV`) it is on another mount.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV)
}

/// Opens what is named `name` in the directory `at`, without following it if it is a link.
///
/// # Errors
/// What openat2(2) says: it is a link (`ELOOP`), or (`EXDEV`) on another mount.
pub(crate) fn open_entry(at: BorrowedFd<'_>, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(at, name, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV)
}

fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    for _ in 1..ATTEMPTS {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            outcome => return outcome,
        }
    }
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{check, sample, vec};
    use std::collections::BTreeSet;
    use std::os::fd::AsFd as _;

    /// What paths are made of.
    const NAMES: [&str; 13] = ["a", "b", "c", "..", ".", "", "up", "far", "top", "over", "twice", "absent", "\u{1}"];

    /// Whatever the path and whatever links it leads over.
    #[test]
    fn no_path_leads_out_of_the_root() {
        let outside = tempfile::tempdir().expect("a directory");
        let top = outside.path().join("root");
        for directory in ["a/b", "c"] {
            std::fs::create_dir_all(top.join(directory)).expect("made");
        }
        for (target, link) in
            [("..", "up"), ("../../..", "a/far"), ("/", "a/b/top"), ("../a", "c/over"), ("up/up", "c/twice")]
        {
            std::os::unix::fs::symlink(target, top.join(link)).expect("made");
        }
        let inode = |file: BorrowedFd<'_>| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
        let root = std::fs::File::open(&top).expect("opened");
        let inside: BTreeSet<_> = ["", "a", "a/b", "c"]
            .iter()
            .map(|name| inode(std::fs::File::open(top.join(name)).expect("opened").as_fd()).expect("there"))
            .collect();
        check(&vec(sample::select(&NAMES[..]), 0..8), |parts| {
            let path = parts.join("/");
            if let Ok(found) = open_directory(root.as_fd(), Path::new(&path)) {
                assert!(inside.contains(&inode(found.as_fd()).expect("there")), "{path:?} leads out");
            }
            if let Ok(found) = open_entry(root.as_fd(), Path::new(&path), OFlags::RDONLY) {
                assert!(inside.contains(&inode(found.as_fd()).expect("there")), "{path:?} leads out");
            }
        });
    }
}
