//! Paths with what was seen there, absence included: what a memory depends on.
//!
//! A [`Watch`] is taken when something is learned, and [holds](Watch::holds) as long as what was seen stands unchanged.
//!
//! What it does not know: what is learned from what is seen.
//!
//! Invariants: a watch whose stamp had not settled never holds, so that what is learned from it is learned again.

use super::{FileSystem, Links, Moment, Settled, Sight, Stamp, file_system};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// A path, and what was seen there.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    path: PathBuf,
    links: Links,
    seen: Seen,
}

#[derive(Debug, Clone)]
enum Seen {
    Something(Sight),
    /// Nothing, on this file system.
    Nothing(FileSystem),
}

impl Watch {
    /// Watches what `path` leads to: a file, the entries of a directory, or nothing. Costs a few system calls.
    pub(crate) fn of(path: &Path) -> Self {
        Self::new(path, Links::Followed)
    }

    /// Watches what `path` itself is, be it a symbolic link or nothing.
    pub(crate) fn link(path: &Path) -> Self {
        Self::new(path, Links::Seen)
    }

    fn new(path: &Path, links: Links) -> Self {
        let seen = match Sight::at(path, links) {
            Some(sight) => Seen::Something(sight),
            None => {
                let file_system = FileSystem::around(path);
                // It may have appeared since.
                match file_system::stamp(path, links, file_system) {
                    None => Seen::Nothing(file_system),
                    Some(_) => return Self::new(path, links),
                }
            }
        };
        Self { path: path.to_owned(), links, seen }
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The stamp of what was seen; `None` for an absence.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match &self.seen {
            Seen::Something(sight) => Some(sight.stamp),
            Seen::Nothing(_) => None,
        }
    }

    /// Whether what was seen is sure to have stood like that since before `began`: false for what changed since or shortly
    /// before. An absence says nothing of the past, and stands.
    pub(crate) fn stood_at(&self, began: Moment) -> bool {
        match &self.seen {
            Seen::Something(sight) => sight.stamp.settled(sight.file_system, began) != Settled::No,
            Seen::Nothing(_) => true,
        }
    }

    /// Whether it can be kept on disk: its stamp tells of each change for good, whatever becomes of the clock.
    pub(crate) fn is_lasting(&self) -> bool {
        match &self.seen {
            Seen::Something(sight) => sight.settled == Settled::Yes,
            Seen::Nothing(_) => true,
        }
    }

    /// Whether nothing has changed. Costs one `stat`, and a question to the server where there is one.
    pub(crate) fn holds(&self) -> bool {
        match &self.seen {
            Seen::Something(sight) => {
                sight.settled.holds()
                    && file_system::stamp(&self.path, self.links, sight.file_system) == Some(sight.stamp)
            }
            Seen::Nothing(file_system) => file_system::stamp(&self.path, self.links, *file_system).is_none(),
        }
    }
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.links == other.links && self.stamp() == other.stamp()
    }
}

impl Eq for Watch {}

impl Hash for Watch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.path, self.links, self.stamp()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::thread::sleep;
    use std::time::Duration;

    /// Takes `watch`es until all have settled.
    fn settled<T>(watch: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
        for _ in 0..5_000 {
            let watch = watch();
            if holds(&watch) {
                return watch;
            }
            sleep(Duration::from_millis(1));
        }
        panic!("never settles");
    }

    #[test]
    fn a_watch_holds_until_something_changes() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("file"), "one").expect("write");
        symlink("file", at("link")).expect("link");
        let file = settled(|| Watch::of(&at("link")), Watch::holds);
        let link = settled(|| Watch::link(&at("link")), Watch::holds);
        let directory = settled(|| Watch::of(scratch.path()), Watch::holds);
        let absent = Watch::of(&at("absent/file"));
        assert!(file.holds() && link.holds() && directory.holds() && absent.holds());
        fs::write(at("file"), "two").expect("write");
        assert!(!file.holds() && link.holds() && directory.holds() && absent.holds());
        fs::create_dir(at("absent")).expect("create");
        assert!(absent.holds() && !directory.holds());
        fs::write(at("absent/file"), "").expect("write");
        assert!(!absent.holds());
        fs::remove_file(at("link")).expect("remove");
        symlink("file", at("link")).expect("link");
        assert!(!link.holds());
    }

    #[test]
    fn what_changed_just_now_is_not_believed() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let path = scratch.path().join("file");
        for text in ["one", "two", "six"] {
            fs::write(&path, text).expect("write");
            let before = Moment::now();
            let watch = Watch::of(&path);
            let seen = fs::metadata(&path).expect("there");
            let age_ns = before.wall_ns() - Stamp::of_metadata(&seen).changed_ns;
            assert!(age_ns > super::super::SETTLING_TIME.as_nanos() as i128 || !watch.holds());
            assert!(age_ns > super::super::SETTLING_TIME.as_nanos() as i128 || !watch.stood_at(before));
        }
        let old = settled(|| Watch::of(&path), Watch::holds);
        assert!(old.stood_at(Moment::now()));
    }
}
