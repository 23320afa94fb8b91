//! Sights that many answers have in common, each looked at once for whoever asks at the same time.
//!
//! The toolchain and the macros of one compiler depend on nearly the same files and directories, and so do those of other
//! flags. What was seen to stand after a compile was asked for isn't looked at again for that compile.
//!
//! It does not know what the sights are good for.
//!
//! Invariants: only what stands is noted; a directory's generation moves when a name appears that was missing.

use crate::files::since::Since;
use crate::files::stamp::watch::Watch;
use crate::files::stamp::{FileSystem, Links, Moment, Sight};
use dashmap::DashMap;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// How many sights of each kind are shared. With more, those that come later are shared among themselves.
const MAX_SHARED: usize = 20_000;
/// How many missing names a directory is looked at for, in common.
const MAX_NAMES: usize = 4096;

/// When something was last seen to stand.
#[derive(Debug, Default)]
struct Checked(AtomicU64);

impl Checked {
    /// Whether something stands: as `check` says, unless it was seen to since `asked`.
    fn holds(&self, asked: Since, check: impl FnOnce() -> bool) -> bool {
        if self.0.load(Ordering::Acquire) >= asked.nanoseconds() {
            return true;
        }
        let now = Since::now();
        let holds = check();
        if holds {
            self.0.fetch_max(now.nanoseconds(), Ordering::AcqRel);
        }
        holds
    }
}

/// Something that was seen, and is looked at again.
#[derive(Debug)]
pub(super) struct Shared<T> {
    seen: T,
    checked: Checked,
}

/// The sights that are shared.
pub(super) type Known<K, T> = DashMap<K, Arc<Shared<T>>>;

impl<T: PartialEq> Shared<T> {
    /// `seen` as others know it, if they do and it stands.
    fn of<K: Eq + Hash>(known: &Known<K, T>, key: K, seen: T, holds: impl Fn(&T) -> bool) -> Arc<Self> {
        // Looked at outside the table's lock, for a look may take long.
        let old = known.get(&key).map(|old| Arc::clone(&old));
        if let Some(old) = old.filter(|old| old.seen == seen && holds(&old.seen)) {
            return old;
        }
        if known.len() >= MAX_SHARED {
            known.clear();
        }
        let new = Arc::new(Self { seen, checked: Checked::default() });
        known.insert(key, Arc::clone(&new));
        new
    }

    /// What was seen.
    pub(super) const fn seen(&self) -> &T {
        &self.seen
    }

    /// Whether it stands, as `holds` says where it wasn't seen to since `asked`.
    pub(super) fn stands(&self, asked: Since, holds: impl FnOnce(&T) -> bool) -> bool {
        self.checked.holds(asked, || holds(&self.seen))
    }
}

impl Shared<Watch> {
    /// A file or a link, or an absence that is looked for by itself.
    pub(super) fn watch(key: (PathBuf, u32), watch: Watch) -> Arc<Self> {
        static KNOWN: LazyLock<Known<(PathBuf, u32), Watch>> = LazyLock::new(DashMap::new);
        Self::of(&KNOWN, key, watch, Watch::holds)
    }
}

impl<T: PartialEq + Send + Sync + 'static> Shared<(PathBuf, T)> {
    /// What stands at a path, as one of the `known` places.
    pub(super) fn place(
        known: &Known<PathBuf, (PathBuf, T)>,
        path: PathBuf,
        place: T,
        look: impl Fn(&Path) -> T,
    ) -> Arc<Self> {
        Self::of(known, path.clone(), (path, place), |(path, known)| look(path) == *known)
    }
}

/// A directory whose stamp proves what it holds, with names that it lacks.
#[derive(Debug)]
pub(super) struct Lacking {
    directory: PathBuf,
    state: Mutex<State>,
    generation: AtomicU32,
    checked: Checked,
}

/// The names, and how the directory looked when they were missing last; nothing where it was gone.
#[derive(Debug)]
struct State {
    file_system: FileSystem,
    sight: Option<Sight>,
    names: BTreeSet<OsString>,
}

impl Lacking {
    /// The directory in which the first name on the way to `path` is missing, and its generation; `None` where its stamp
    /// proves nothing, or something else than a missing name is in the way.
    pub(super) fn of(path: &Path) -> Option<(Arc<Self>, u32)> {
        static KNOWN: LazyLock<DashMap<PathBuf, Arc<Lacking>>> = LazyLock::new(DashMap::new);
        let mut path = path;
        let (directory, name, sight) = loop {
            let (directory, name) = (path.parent()?, path.file_name()?);
            if let Some(sight) = Sight::at(directory, Links::Followed) {
                break (directory, name, sight);
            }
            path = directory;
        };
        if sight.file_system == FileSystem::Unproven || !sight.stamp.is_directory() {
            return None;
        }
        if KNOWN.len() >= MAX_SHARED {
            KNOWN.clear();
        }
        let new = || Arc::new(Self::new(directory, sight));
        let mut lacking = Arc::clone(&KNOWN.entry(directory.to_owned()).or_insert_with(new));
        if !lacking.has_room(sight.file_system) {
            lacking = new();
            KNOWN.insert(directory.to_owned(), Arc::clone(&lacking));
        }
        let generation = lacking.add(name)?;
        Some((lacking, generation))
    }

    fn new(directory: &Path, sight: Sight) -> Self {
        let state = State { file_system: sight.file_system, sight: Some(sight), names: BTreeSet::new() };
        Self {
            directory: directory.to_owned(),
            state: Mutex::new(state),
            generation: AtomicU32::new(0),
            checked: Checked::default(),
        }
    }

    /// Its path.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether names can be added, while the directory is on `file_system`.
    fn has_room(&self, file_system: FileSystem) -> bool {
        let state = self.state.lock();
        state.names.len() < MAX_NAMES && state.file_system == file_system
    }

    /// Adds a name that is missing; `None` where it isn't. What comes after the look is told by the directory's stamp, which
    /// is an older one.
    fn add(&self, name: &OsStr) -> Option<u32> {
        let mut state = self.state.lock();
        if !self.is_missing(name) {
            return None;
        }
        state.names.insert(name.to_owned());
        Some(self.generation.load(Ordering::Acquire))
    }

    /// Whether all names are missing still that were when the directory had this `generation`. Costs a `stat`; where the
    /// directory has changed, one for each name.
    pub(super) fn still_lacks(&self, generation: u32, since: Since) -> bool {
        self.checked.holds(since, || {
            self.look();
            true
        });
        self.generation.load(Ordering::Acquire) == generation
    }

    fn look(&self) {
        let mut state = self.state.lock();
        let moment = Moment::now();
        let known = state.file_system;
        let stamp = Sight::again(&self.directory, known);
        let is_same = |seen: &Sight| Some(seen.stamp) == stamp && seen.settled.holds();
        if state.sight.as_ref().is_some_and(is_same) {
            return;
        }
        let before = state.names.len();
        state.names.retain(|name| self.is_missing(name));
        let is_elsewhere = stamp.is_some() && FileSystem::of(&self.directory) != known;
        if state.names.len() < before || is_elsewhere {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        state.sight = stamp.map(|stamp| Sight { stamp, settled: stamp.settled(known, moment), file_system: known });
    }

    /// Whether there is no entry of this name, not even a link that leads nowhere.
    fn is_missing(&self, name: &OsStr) -> bool {
        rustix::fs::lstat(self.directory.join(name)).is_err_and(|error| matches!(error, Errno::NOENT | Errno::NOTDIR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn absences_of_a_directory_are_one_look() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("near")).expect("create");
        std::os::unix::fs::symlink("gone", at("near/dangling")).expect("link");
        fs::write(at("near/file"), "").expect("write");
        for refused in ["near/dangling", "near/file/y"] {
            assert!(Lacking::of(&at(refused)).is_none(), "{refused}");
        }
        let (near, generation) = Lacking::of(&at("near/a")).expect("a name");
        for name in ["near/b", "near/c/deep/d", "near/c/e"] {
            let (lacking, other) = Lacking::of(&at(name)).expect("a name");
            assert!(Arc::ptr_eq(&lacking, &near) && other == generation, "{name}");
        }
        assert_eq!(near.state.lock().names.len(), 3);
        let lacks = || near.still_lacks(generation, Since::now());
        fs::write(at("near/another"), "").expect("write");
        assert!(lacks() && lacks());
        fs::rename(at("near"), at("away")).expect("rename");
        assert!(lacks());
        fs::write(at("away/b"), "").expect("write");
        assert!(lacks());
        fs::rename(at("away"), at("near")).expect("rename");
        assert!(!lacks() && !lacks());
        // Who asks now finds what is there now.
        let (again, generation) = Lacking::of(&at("near/a")).expect("a name");
        assert!(Arc::ptr_eq(&again, &near) && again.still_lacks(generation, Since::now()));
        fs::create_dir(at("near/a")).expect("create");
        assert!(!again.still_lacks(generation, Since::now()));
    }

    #[test]
    fn a_name_that_appears_at_once_is_seen() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let names: Vec<PathBuf> = (0..40).map(|number| scratch.path().join(number.to_string())).collect();
        for appearing in &names {
            let all: Vec<_> = names.iter().filter_map(|name| Lacking::of(name)).collect();
            let lacks = || all.iter().all(|(lacking, generation)| lacking.still_lacks(*generation, Since::now()));
            assert!(all.len() == names.len() && lacks());
            fs::write(appearing, "").expect("write");
            assert!(!lacks());
            fs::remove_file(appearing).expect("remove");
        }
    }

    #[test]
    fn what_was_seen_since_it_was_asked_for_is_not_looked_at_again() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let before = Since::now();
        let (lacking, generation) = Lacking::of(&scratch.path().join("name")).expect("a name");
        assert!(lacking.still_lacks(generation, before));
        fs::write(scratch.path().join("name"), "").expect("write");
        assert!(lacking.still_lacks(generation, before));
        assert!(!lacking.still_lacks(generation, Since::now()));
    }
}
