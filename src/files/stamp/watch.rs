//! Paths with what was seen there, absence included: what a memory depends on.
//!
//! A [`Watch`] is taken when something is learned, and [holds](Watch::holds) as long as what was seen stands unchanged.
//! A [`WatchList`] holds many; its absences cost a `stat` for each directory in which a name is missing, not for each
//! name.
//!
//! What it does not know: what is learned from what is seen.
//!
//! Invariants: a watch whose stamp had not settled never holds, so that what is learned from it is learned again; an absence
//! is believed under a directory's stamp only where such a stamp proves something, and the server was asked for it.

use super::{FileSystem, Links, Moment, Settled, Sight, Stamp, file_system};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::OsString;
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
    /// Nothing, on this file system; and in which directory which name is missing, where that is all there is to it.
    Nothing(FileSystem, Option<Missing>),
}

/// A name that a directory lacked when it had this stamp.
#[derive(Debug, Clone)]
struct Missing {
    directory: PathBuf,
    name: OsString,
    sight: Sight,
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
                let missing = Missing::of(path);
                // It may have appeared since.
                match file_system::stamp(path, links, file_system) {
                    None => Seen::Nothing(file_system, missing),
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
            Seen::Nothing(..) => None,
        }
    }

    /// Whether what was seen is sure to have stood like that since before `began`: false for what changed since or shortly
    /// before. An absence says nothing of the past, and stands.
    pub(crate) fn stood_at(&self, began: Moment) -> bool {
        match &self.seen {
            Seen::Something(sight) => sight.stamp.settled(sight.file_system, began) != Settled::No,
            Seen::Nothing(..) => true,
        }
    }

    /// Whether it can be kept on disk: its stamp tells of each change for good, whatever becomes of the clock.
    pub(crate) fn is_lasting(&self) -> bool {
        match &self.seen {
            Seen::Something(sight) => sight.settled == Settled::Yes,
            Seen::Nothing(..) => true,
        }
    }

    /// Whether nothing has changed. Costs one `stat`, and a question to the server where there is one.
    pub(crate) fn holds(&self) -> bool {
        match &self.seen {
            Seen::Something(sight) => {
                sight.settled.holds()
                    && file_system::stamp(&self.path, self.links, sight.file_system) == Some(sight.stamp)
            }
            Seen::Nothing(file_system, _) => file_system::stamp(&self.path, self.links, *file_system).is_none(),
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

impl Missing {
    /// The first name on the way to `path` that is missing, unless something else than a missing name is in the way.
    fn of(path: &Path) -> Option<Self> {
        let mut path = path;
        loop {
            let (directory, name) = (path.parent()?, path.file_name()?);
            let Some(sight) = Sight::at(directory, Links::Followed) else {
                path = directory;
                continue;
            };
            let stands = sight.file_system != FileSystem::Unproven
                && sight.stamp.is_directory()
                && is_missing(directory, name.as_ref());
            return stands.then(|| Self { directory: directory.to_owned(), name: name.to_owned(), sight });
        }
    }
}

/// Whether `directory` has no entry `name`, not even a link that leads nowhere.
fn is_missing(directory: &Path, name: &Path) -> bool {
    rustix::fs::lstat(directory.join(name)).is_err_and(|error| error == rustix::io::Errno::NOENT)
}

/// All that a memory depends on.
#[derive(Debug, Default)]
pub(crate) struct WatchList {
    watches: Vec<Watch>,
    absences: Vec<Absences>,
}

/// Names that a directory lacks, and the stamp under which it lacked them last.
#[derive(Debug)]
struct Absences {
    directory: PathBuf,
    names: Vec<OsString>,
    seen: Mutex<Sight>,
}

impl WatchList {
    /// Whether nothing has changed. Costs a `stat` for each thing that was there and for each directory that lacked
    /// something; where such a directory has changed, one for each name.
    pub(crate) fn holds(&self) -> bool {
        self.watches.iter().all(Watch::holds) && self.absences.iter().all(Absences::hold)
    }
}

impl FromIterator<Watch> for WatchList {
    fn from_iter<I: IntoIterator<Item = Watch>>(all: I) -> Self {
        let mut watches: Vec<Watch> = Vec::new();
        let mut absences: BTreeMap<PathBuf, Absences> = BTreeMap::new();
        for watch in all {
            match watch.seen {
                Seen::Nothing(_, Some(missing)) => match absences.get_mut(&missing.directory) {
                    Some(known) => known.add(missing),
                    None => {
                        absences.insert(missing.directory.clone(), Absences::new(missing));
                    }
                },
                _ => watches.push(watch),
            }
        }
        let mut absences: Vec<_> = absences.into_values().collect();
        for group in &mut absences {
            group.names.sort_unstable();
            group.names.dedup();
        }
        Self { watches, absences }
    }
}

impl Absences {
    fn new(missing: Missing) -> Self {
        let Missing { directory, name, sight } = missing;
        Self { directory, names: vec![name], seen: Mutex::new(sight) }
    }

    fn add(&mut self, missing: Missing) {
        self.names.push(missing.name);
        let seen = self.seen.get_mut();
        // The directory changed between the looks: the first name may be there by now.
        if seen.stamp != missing.sight.stamp {
            seen.settled = Settled::No;
        }
    }

    fn hold(&self) -> bool {
        let moment = Moment::now();
        let mut seen = self.seen.lock();
        // Without the directory none of the names is there; should it come back, it has another stamp.
        let Some(stamp) = file_system::stamp(&self.directory, Links::Followed, seen.file_system) else { return true };
        if stamp == seen.stamp && seen.settled.holds() {
            return true;
        }
        let known = seen.file_system;
        let stands = stamp.is_directory()
            && FileSystem::of(&self.directory) == known
            && self.names.iter().all(|name| is_missing(&self.directory, name.as_ref()));
        if stands {
            *seen = Sight { stamp, settled: stamp.settled(known, moment), file_system: known };
        }
        stands
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

    #[test]
    fn absences_of_a_directory_are_one_look() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("near")).expect("create");
        symlink("gone", at("near/dangling")).expect("link");
        fs::write(at("near/file"), "").expect("write");
        let names = ["near/a", "near/b", "near/c/deep/d", "near/c/e", "far/x", "near/dangling", "near/file/y"];
        let list: WatchList = names.iter().map(|name| Watch::of(&at(name))).collect();
        assert_eq!((list.watches.len(), list.absences.len()), (2, 2));
        assert_eq!(list.absences.iter().map(|group| group.names.len()).sum::<usize>(), 4);
        assert!(list.holds());
        fs::write(at("near/another"), "").expect("write");
        assert!(list.holds() && list.holds());
        // What appears where a link pointed is not in the directory that was looked into.
        fs::write(at("near/gone"), "").expect("write");
        assert!(!list.holds());
        fs::remove_file(at("near/gone")).expect("remove");
        assert!(list.holds());
        fs::create_dir(at("near/c")).expect("create");
        assert!(!list.holds(), "the name is there, and what lies in it has to be asked for");
        fs::remove_dir(at("near/c")).expect("remove");
        fs::rename(at("near"), at("away")).expect("rename");
        assert!(list.holds());
        fs::write(at("away/b"), "").expect("write");
        fs::rename(at("away"), at("near")).expect("rename");
        assert!(!list.holds());
    }

    #[test]
    fn a_name_that_appears_at_once_is_seen() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let names: Vec<PathBuf> = (0..40).map(|number| scratch.path().join(number.to_string())).collect();
        for appearing in &names {
            let list: WatchList = names.iter().map(|name| Watch::of(name)).collect();
            assert!(list.holds());
            fs::write(appearing, "").expect("write");
            assert!(!list.holds());
            fs::remove_file(appearing).expect("remove");
        }
    }
}
