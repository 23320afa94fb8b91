//! What stands where compilers are installed, kept an eye on by the kernel.
//!
//! A compile depends on dozens of files and directories that change once in months: the compiler's programs, their
//! libraries, the places where more of them would be found. Where the kernel tells of every change, none of them has to be
//! looked at for each compile: one system call asks whether anything was told.
//!
//! It does not know what the paths are good for, nor what stands there: whoever asks looks once, after the watch began.
//!
//! Invariants: the kernel queues an event before the call that caused it returns, so [`Vigil::changes`] counts all that was
//! done before it. A number is worth something only for paths that were watched all the while since it was counted:
//! [`Vigil::keep`] sees to that. After any event all paths are watched anew, for one may lead elsewhere. A write through a
//! mapping is told of when the file is closed.
//!
//! **Source:** inotify(7); `proc_pid_mountinfo(5)` and mount(8) on `poll` for mounts.

use crate::files::events::Queue;
use crate::files::since::Since;
use crate::files::stamp::FileSystem;
use parking_lot::Mutex;
use rustix::fs::FileType;
use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Below which directories software is installed: things change seldom there, and all at once.
const INSTALLED: [&str; 11] =
    ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/etc", "/opt", "/nix", "/gnu"];

/// How long nothing must have changed before paths are watched again: while packages are installed, looking is cheaper.
const CALM: Duration = Duration::from_secs(2);

/// How many paths are watched. With more, those that come later are looked at instead.
const MAX_WATCHES: usize = 8192;

/// What may happen to a directory and to the names in it.
const DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What may happen to a file.
const FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// The watch over all paths that somebody asked for. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Vigil {
    roots: Vec<PathBuf>,
    state: Mutex<State>,
    /// How often something was told of, from 1 on.
    changes: AtomicU64,
    /// Until when the changes are counted: a [`Since`].
    counted_at: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// None until the first path, and where the kernel gives none.
    queue: Option<Queue>,
    watched: HashSet<PathBuf>,
    changed_at: Option<Instant>,
}

impl Vigil {
    /// That over installed software, of this process.
    pub(crate) fn over_installed() -> &'static Self {
        static VIGIL: LazyLock<Vigil> = LazyLock::new(|| Vigil::over(INSTALLED.map(PathBuf::from).to_vec()));
        &VIGIL
    }

    fn over(roots: Vec<PathBuf>) -> Self {
        let state = State { queue: None, watched: HashSet::new(), changed_at: None };
        Self { roots, state: Mutex::new(state), changes: AtomicU64::new(1), counted_at: AtomicU64::new(0) }
    }

    /// Whether `path`, which is absolute and leads through no links, is where this watches.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// The number of changes that were told of until `asked` at the least. Costs a system call, for the first who asks.
    pub(crate) fn changes(&self, asked: Since) -> u64 {
        let is_counted = || self.counted_at.load(Ordering::Acquire) >= asked.nanoseconds();
        if !is_counted() {
            let mut state = self.state.lock();
            // Another thread may have counted meanwhile.
            if !is_counted() {
                let now = Since::now();
                if state.has_changed() {
                    self.changes.fetch_add(1, Ordering::AcqRel);
                }
                self.counted_at.store(now.nanoseconds(), Ordering::Release);
            }
        }
        self.changes.load(Ordering::Acquire)
    }

    /// Whether nothing was told of for a while.
    pub(crate) fn is_calm(&self) -> bool {
        self.state.lock().changed_at.is_none_or(|changed| changed.elapsed() >= CALM)
    }

    /// Has all `paths` watched, and the directories above them: the number from which on nothing of theirs happens without
    /// being counted. None where the kernel doesn't tell of everything. Costs a system call for each path that is new.
    pub(crate) fn keep<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Option<u64> {
        let before = self.changes(Since::now());
        {
            let mut state = self.state.lock();
            paths.into_iter().try_for_each(|path| state.watch(path))?;
        }
        // What was replaced while the watch began is no longer what is watched.
        Some(self.changes(Since::now())).filter(|after| *after == before)
    }
}

impl State {
    /// Watches `path`, or what there is above it; none where the kernel doesn't tell of all that happens there.
    fn watch(&mut self, path: &Path) -> Option<()> {
        if self.watched.contains(path) {
            return Some(());
        }
        if let Some(parent) = path.parent() {
            self.watch(parent)?;
        }
        if self.watched.len() >= MAX_WATCHES {
            return None;
        }
        if self.queue.is_none() {
            self.queue = Some(Queue::open().ok()?);
        }
        let queue = self.queue.as_ref()?;
        // Without that, mounts come and go unseen.
        queue.mounts.as_ref()?;
        let add =
            |flags| inotify::add_watch(&queue.inotify, path, flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD);
        match add(DIRECTORY) {
            Ok(_) if FileSystem::tells_of_all(path) => {}
            Ok(_) => return None,
            // It can only appear as a name in a directory that is watched.
            Err(Errno::NOENT) => return Some(()),
            Err(Errno::NOTDIR) => match add(FILE) {
                // A file may be a mount by itself; a link can't.
                Ok(_) if is_link(path) || FileSystem::tells_of_all(path) => {}
                Ok(_) => return None,
                Err(Errno::NOENT | Errno::NOTDIR) => return Some(()),
                Err(_) => return None,
            },
            Err(_) => return None,
        }
        self.watched.insert(path.to_owned());
        Some(())
    }

    /// Whether the kernel has told of anything since this was asked last.
    fn has_changed(&mut self) -> bool {
        if !self.queue.as_ref().is_some_and(Queue::is_ready) {
            return false;
        }
        // What is told doesn't matter: the old watches go with the old queue.
        (self.queue, self.changed_at) = (None, Some(Instant::now()));
        self.watched.clear();
        true
    }
}

fn is_link(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct Tree {
        _scratch: tempfile::TempDir,
        base: PathBuf,
        vigil: Vigil,
    }

    impl Tree {
        fn new() -> Self {
            // Wherever the tests run, this is one layer.
            let scratch = tempfile::tempdir_in("/dev/shm").expect("scratch");
            let base = scratch.path().canonicalize().expect("resolved");
            fs::create_dir_all(base.join("gcc/12")).expect("made");
            fs::write(base.join("gcc/12/cc1"), "one").expect("written");
            symlink("cc1", base.join("gcc/12/link")).expect("linked");
            fs::create_dir(base.join("busy")).expect("made");
            let vigil = Vigil::over(vec![base.clone()]);
            Self { _scratch: scratch, base, vigil }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.base.join(name)
        }

        fn keep(&self) -> Option<u64> {
            let paths = ["gcc/12/cc1", "gcc/12/link", "gcc/13/cc1", "gcc/12/cc1/x", "gcc/12"].map(|name| self.at(name));
            self.vigil.keep(paths.iter().map(PathBuf::as_path))
        }

        /// The number from which on nothing is counted, though somebody writes beside. Other processes of the machine may
        /// mount something, or write beside the tree: then it tries again.
        fn quiet(&self) -> u64 {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let kept = self.keep();
                fs::write(self.at("busy/output"), "output").expect("written");
                match kept {
                    Some(kept) if self.vigil.changes(Since::now()) == kept => return kept,
                    _ => assert!(Instant::now() < deadline, "never told of everything"),
                }
            }
        }
    }

    #[test]
    fn every_change_of_what_is_kept_is_counted() {
        let tree = Tree::new();
        let changes: [(&str, &dyn Fn()); 9] = [
            ("a file is written", &|| fs::write(tree.at("gcc/12/cc1"), "two").expect("written")),
            ("its time is set", &|| {
                let file = fs::File::options().write(true).open(tree.at("gcc/12/cc1")).expect("open");
                file.set_modified(std::time::UNIX_EPOCH).expect("set");
            }),
            ("its mode is set", &|| {
                fs::set_permissions(tree.at("gcc/12/cc1"), fs::Permissions::from_mode(0o700)).expect("set");
            }),
            ("it is replaced", &|| {
                fs::write(tree.at("busy/new"), "new").expect("written");
                fs::rename(tree.at("busy/new"), tree.at("gcc/12/cc1")).expect("renamed");
            }),
            ("it is written by another name", &|| {
                fs::hard_link(tree.at("gcc/12/cc1"), tree.at("busy/name")).expect("linked");
                fs::write(tree.at("busy/name"), "other").expect("written");
            }),
            ("a link is replaced", &|| {
                fs::remove_file(tree.at("gcc/12/link")).expect("removed");
                symlink("busy", tree.at("gcc/12/link")).expect("linked");
            }),
            ("what was absent appears", &|| {
                fs::create_dir(tree.at("gcc/13")).expect("made");
                fs::write(tree.at("gcc/13/cc1"), "").expect("written");
            }),
            ("a directory above is renamed and back", &|| {
                fs::rename(tree.at("gcc"), tree.at("away")).expect("renamed");
                fs::rename(tree.at("away"), tree.at("gcc")).expect("renamed");
            }),
            ("all is removed", &|| fs::remove_dir_all(tree.at("gcc")).expect("removed")),
        ];
        for (what, change) in changes {
            let kept = tree.quiet();
            change();
            assert_ne!(tree.vigil.changes(Since::now()), kept, "{what}");
        }
    }

    #[test]
    fn what_was_counted_since_it_was_asked_for_is_not_counted_again() {
        let tree = Tree::new();
        let kept = tree.quiet();
        let asked = Since::now();
        assert_eq!(tree.vigil.changes(asked), kept);
        fs::write(tree.at("gcc/12/cc1"), "two").expect("written");
        assert_eq!(tree.vigil.changes(asked), kept);
        assert_ne!(tree.vigil.changes(Since::now()), kept);
        assert!(!tree.vigil.is_calm());
    }

    #[test]
    fn nothing_is_kept_where_the_kernel_does_not_tell_of_everything() {
        let vigil = Vigil::over(vec!["/proc".into()]);
        assert!(vigil.covers(Path::new("/proc/version")) && !vigil.covers(Path::new("/process")));
        assert_eq!(vigil.keep([Path::new("/proc/version")]), None);
    }
}
