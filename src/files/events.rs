//! What happens in directories during a period: names that are made, removed and renamed, and files that are written.
//!
//! Two looks at a directory, one before a period and one after it, don't tell what stood in it between them. The kernel
//! does, for whatever is done through this machine's file systems. What it does not tell of (another host's doings, writes
//! through a mapping or another hard link) is for stamps to notice; neither replaces the other.
//!
//! Invariants: a period that may have missed an event knows so. The kernel queues an event before the call that caused it
//! returns, so a review sees all that was done before it. Equal events that follow each other are queued as one.
//!
//! **Source:** inotify(7); `proc_pid_mountinfo(5)` and mount(8) on `poll` for mounts.

use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many directories are watched. With more, those that no running period asked for are let go, or else the new one is
/// not watched.
const MAX_WATCHES: usize = 8192;

/// How many events are remembered for the periods that run. With more, all of these have missed some.
const MAX_EVENTS: usize = 200_000;

/// What is read of the kernel's queue at a time, in bytes.
const BUFFER_SIZE_BYTES: usize = 64 * 1024;

/// The changes of a directory's names.
const NAMES: ReadFlags =
    ReadFlags::CREATE.union(ReadFlags::DELETE).union(ReadFlags::MOVED_FROM).union(ReadFlags::MOVED_TO);

/// What is done to the files in a directory.
const FILES: ReadFlags =
    ReadFlags::OPEN.union(ReadFlags::MODIFY).union(ReadFlags::CLOSE_WRITE).union(ReadFlags::CLOSE_NOWRITE);

/// The account of all directories that somebody watches. Shared by all threads; no call holds the lock
/// while it waits for a file system.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// None until the first period, and where the kernel gives none.
    queue: Option<Queue>,
    /// The watched directories, by the kernel's number, with the names by which they were asked for: a bind mount gives a
    /// second one.
    watched: HashMap<i32, Vec<Arc<Path>>>,
    log: VecDeque<Event>,
    /// The number of the log's first event.
    first: u64,
    /// The number before which events may be missing.
    missing_before: u64,
    /// How many periods began at each number.
    running: BTreeMap<u64, usize>,
    /// The names of files whose use is told of, with how many periods want to know.
    files: HashMap<Box<[u8]>, usize>,
}

/// What the kernel tells of watched files and directories, and of mounts.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) inotify: Arc<OwnedFd>,
    /// Ready whenever a mount of this namespace has changed. None where there is no `/proc`.
    pub(super) mounts: Option<File>,
}

impl Queue {
    pub(super) fn open() -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify: Arc::new(inotify), mounts: File::open("/proc/self/mountinfo").ok() })
    }

    /// Whether a mount was made, moved or removed since this was asked last.
    pub(super) fn mounts_have_changed(&self) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        are_ready(&mut [PollFd::new(mounts, PollFlags::PRI)])
    }

    /// Whether there is anything to read, or [a mount has changed](Self::mounts_have_changed).
    pub(super) fn is_ready(&self) -> bool {
        let told = PollFd::new(&self.inotify, PollFlags::IN);
        match &self.mounts {
            Some(mounts) => are_ready(&mut [told, PollFd::new(mounts, PollFlags::PRI)]),
            None => are_ready(&mut [told]),
        }
    }
}

/// Whether one of them is ready now, or can't be asked.
fn are_ready(polled: &mut [PollFd<'_>]) -> bool {
    loop {
        match poll(polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    watch: i32,
    /// What it was.
    pub(crate) what: ReadFlags,
    /// The name in the directory; empty for what happened to the directory itself.
    pub(crate) name: Box<[u8]>,
}

/// A stretch of time of which everything that happens in some directories is known. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Period {
    events: Arc<Events>,
    start: u64,
    /// The files whose use is told of, with the watches of their directories.
    files: Vec<(i32, Box<[u8]>)>,
    /// Directories that can't be watched, and why.
    unwatched: Vec<(PathBuf, Errno)>,
}

/// What happened in a period.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// For each of the period's files, in their order, what was done to it.
    pub(crate) files: Vec<Vec<ReadFlags>>,
    /// Each path at which a name was made, removed or renamed, in any directory that somebody watches.
    pub(crate) changed: Vec<PathBuf>,
}

impl Events {
    /// Begins a period: all changes of names in `directories`, which are sorted so that a directory comes before what is in
    /// it, and all uses of `files`, which need not be there. None where the kernel does not tell of a file's directory, or
    /// something was missed before it began. Costs a system call for each directory.
    pub(crate) fn period(self: &Arc<Self>, directories: &[&Path], files: &[&Path]) -> Option<Period> {
        let (inotify, room, missing_before) = {
            let mut state = self.lock();
            if state.watched.len() >= MAX_WATCHES && state.running.is_empty() {
                // Before the first of this period's own directories is watched: none of them is let go of.
                *state = State { first: state.first, missing_before: state.missing_before, ..State::default() };
            }
            state.open().ok()?;
            state.drain();
            (Arc::clone(&state.queue.as_ref()?.inotify), MAX_WATCHES - state.watched.len(), state.missing_before)
        };
        // A file system that does not answer holds this compile alone: the lock is everybody's.
        let mut room = room;
        let mut watch = |directory: &Path, what: ReadFlags| {
            room = room.checked_sub(1).ok_or(Errno::NOSPC)?;
            let flags = WatchFlags::from_bits_retain(what.bits()) | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
            inotify::add_watch(&inotify, directory, flags)
        };
        let (mut watched, mut unwatched) = (Vec::with_capacity(directories.len()), Vec::new());
        for directory in directories {
            match watch(directory, NAMES) {
                Ok(number) => watched.push((number, *directory)),
                // It can only appear as a name in a directory that is watched.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => unwatched.push(((*directory).to_owned(), error)),
            }
        }
        let mut used: Vec<(i32, Box<[u8]>)> = Vec::with_capacity(files.len());
        for file in files {
            let directory = file.parent()?;
            let number = watch(directory, NAMES | FILES).ok()?;
            watched.push((number, directory));
            used.push((number, Box::from(file.file_name()?.as_bytes())));
        }
        let mut state = self.lock();
        let is_same_queue = state.queue.as_ref().is_some_and(|queue| Arc::ptr_eq(&queue.inotify, &inotify));
        if !is_same_queue || state.missing_before != missing_before {
            // What is watched may have been let go of, or have gone, since it was watched.
            return None;
        }
        for (number, directory) in watched {
            state.note(number, directory);
        }
        for (_, name) in &used {
            *state.files.entry(name.clone()).or_default() += 1;
        }
        let start = state.first + state.log.len() as u64;
        *state.running.entry(start).or_default() += 1;
        Some(Period { events: Arc::clone(self), start, files: used, unwatched })
    }

    /// Lets go of all directories, where no period runs.
    pub(crate) fn rest(&self) {
        let mut state = self.lock();
        if state.running.is_empty() {
            *state = State { first: state.first, missing_before: state.missing_before, ..State::default() };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Period {
    /// What has happened since it began; none where some of that may be missing.
    pub(crate) fn review(&self) -> Option<Account> {
        let mut state = self.events.lock();
        state.drain();
        if state.missing_before > self.start {
            return None;
        }
        let mut account = Account { files: vec![Vec::new(); self.files.len()], changed: Vec::new() };
        for event in state.log.range((self.start - state.first) as usize..) {
            let file = self.files.iter().position(|(watch, name)| *watch == event.watch && *name == event.name);
            if let Some(file) = file {
                account.files[file].push(event.what);
            }
            if event.what.intersects(NAMES) {
                let name = std::ffi::OsStr::from_bytes(&event.name);
                let directories = state.watched.get(&event.watch).into_iter().flatten();
                account.changed.extend(directories.map(|directory| directory.join(name)));
            }
        }
        account.changed.sort_unstable();
        account.changed.dedup();
        Some(account)
    }

    /// The directories of which nothing is told, and why.
    pub(crate) fn unwatched(&self) -> &[(PathBuf, Errno)] {
        &self.unwatched
    }
}

impl Drop for Period {
    fn drop(&mut self) {
        let mut state = self.events.lock();
        if let Some(count) = state.running.get_mut(&self.start) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(&self.start);
            }
        }
        for (_, name) in &self.files {
            if let Some(count) = state.files.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    state.files.remove(name);
                }
            }
        }
        let needed = state.running.keys().next().copied().unwrap_or(u64::MAX);
        state.forget_before(needed);
    }
}

impl State {
    fn open(&mut self) -> Result<(), Errno> {
        if self.queue.is_none() {
            self.queue = Some(Queue::open()?);
        }
        Ok(())
    }

    /// Notes that `number` is the watch of `directory`.
    fn note(&mut self, number: i32, directory: &Path) {
        let names = self.watched.entry(number).or_default();
        if !names.iter().any(|name| **name == *directory) {
            names.push(Arc::from(directory));
        }
    }

    /// Takes in what the kernel has queued.
    fn drain(&mut self) {
        let Some(queue) = &self.queue else { return };
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_SIZE_BYTES];
        let mut reader = Reader::new(&queue.inotify, &mut buffer);
        let mut is_missing = queue.mounts_have_changed();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    is_missing = true;
                    break;
                }
            };
            let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
            if event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::UNMOUNT | ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
                is_missing = true;
            } else if !self.running.is_empty() && (event.events().intersects(NAMES) || self.files.contains_key(name)) {
                self.log.push_back(Event { watch: event.wd(), what: event.events(), name: Box::from(name) });
            }
        }
        if is_missing || self.log.len() > MAX_EVENTS {
            let end = self.first + self.log.len() as u64 + 1;
            self.log.clear();
            self.first = end;
            self.missing_before = end;
        }
    }

    fn forget_before(&mut self, number: u64) {
        let count = number.saturating_sub(self.first).min(self.log.len() as u64);
        self.log.drain(..count as usize);
        self.first += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch() -> (tempfile::TempDir, PathBuf, Arc<Events>) {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        (scratch, base, Arc::default())
    }

    #[test]
    fn what_comes_and_goes_is_told() {
        let (_scratch, base, events) = scratch();
        fs::write(base.join("old"), "").expect("written");
        let period = events.period(&[&base], &[]).expect("told");
        assert_eq!(period.review(), Some(Account::default()));
        fs::write(base.join("new"), "").expect("written");
        fs::remove_file(base.join("new")).expect("removed");
        fs::write(base.join("old"), "x").expect("written");
        let later = events.period(&[&base], &[]).expect("told");
        fs::create_dir(base.join("directory")).expect("made");
        fs::rename(base.join("directory"), base.join("other")).expect("renamed");
        let changed = |period: &Period| period.review().expect("nothing is missing").changed;
        assert_eq!(changed(&period), ["directory", "new", "other"].map(|name| base.join(name)));
        assert_eq!(changed(&later), ["directory", "other"].map(|name| base.join(name)));
        drop(period);
        assert_eq!(changed(&later).len(), 2);
        drop(later);
        assert!(changed(&events.period(&[&base], &[]).expect("told")).is_empty());
    }

    #[test]
    fn a_file_that_is_written_is_told_of_in_order() {
        let (_scratch, base, events) = scratch();
        let file = base.join("a.o");
        let period = events.period(&[], &[&file]).expect("told");
        fs::write(&file, "x").expect("written");
        fs::write(base.join("b.o"), "x").expect("written");
        let written = [ReadFlags::CREATE, ReadFlags::OPEN, ReadFlags::MODIFY, ReadFlags::CLOSE_WRITE];
        assert_eq!(period.review().expect("nothing is missing").files, [written.to_vec()]);
        fs::write(&file, "y").expect("written");
        // Both openings are told, since each empties the file first.
        let openings = |account: &Account| account.files[0].iter().filter(|what| **what == ReadFlags::OPEN).count();
        assert_eq!(openings(&period.review().expect("nothing is missing")), 2);
    }

    #[test]
    fn a_period_knows_what_it_missed() {
        let (_scratch, base, events) = scratch();
        let inner = base.join("inner");
        fs::create_dir(&inner).expect("made");
        let period = events.period(&[&base, &inner], &[]).expect("told");
        fs::remove_dir(&inner).expect("removed");
        assert_eq!(period.review(), None);
        let later = events.period(&[&base, &inner], &[]).expect("told");
        assert_eq!(later.review(), Some(Account::default()));
        events.lock().missing_before = u64::MAX;
        assert_eq!(later.review(), None);
    }

    #[test]
    fn an_absent_directory_is_seen_to_appear() {
        let (_scratch, base, events) = scratch();
        let absent = base.join("absent");
        let period = events.period(&[&base, &absent], &[]).expect("told");
        assert!(period.unwatched().is_empty());
        fs::create_dir(&absent).expect("made");
        fs::write(absent.join("a.h"), "").expect("written");
        fs::remove_dir_all(&absent).expect("removed");
        assert_eq!(period.review().expect("nothing is missing").changed, std::slice::from_ref(&absent));
        assert!(events.period(&[], &[&absent.join("a.o")]).is_none());
    }
}
