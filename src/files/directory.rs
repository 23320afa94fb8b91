//! What a directory's names stand for, remembered under the directory's stamp.
//!
//! A directory's modification and change times move whenever a name in it is made, removed or renamed, so one `stat`
//! of the directory revalidates every look-up in it, those that found nothing included.
//!
//! Invariants: `generation` moves only when the answer to a question that was *asked* changes; an object file that
//! appears in a source directory costs one reading of the directory and invalidates nothing.

use crate::fallback::{Fallback, Reason};
use crate::files::file::SourceFile;
use crate::files::generation::{Generation, GenerationCounter};
use crate::files::stamp::{FileSystem, Links, Moment, Settled, Sight, Stamp};
use crate::files::{Checked, FileStore, View, as_path, join};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// After so many different names were asked for, the directory is read as a whole.
const NAMES_BEFORE_LISTING: usize = 24;
/// A directory whose own size exceeds this is never read as a whole.
const MAX_LISTED_DIRECTORY_BYTES: u64 = 4 << 20;

type Names<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// What a name in a directory stands for.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Nothing of that name.
    Absent,
    /// A regular file.
    File(Arc<SourceFile>),
    /// A directory.
    Directory(Arc<Directory>),
    /// A symbolic link, and its target as it is written.
    Symlink(Arc<Path>),
    /// A device, a FIFO or a socket.
    Special,
    /// The system refuses to say.
    Unreadable,
}

impl Entry {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Symlink(one), Self::Symlink(two)) => one == two,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// The number of a directory in its store, which no other one there has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectoryId(pub(super) u32);

/// A directory at a path without symbolic links, whether or not it exists at present.
#[derive(Debug)]
pub struct Directory {
    path: Arc<Path>,
    id: DirectoryId,
    checked: Checked,
    generation: GenerationCounter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<Stamp>,
    settled: Settled,
    /// Where it is, once it was looked at.
    file_system: Option<FileSystem>,
    asked: Names<Entry>,
    listing: Option<Names<FileType>>,
}

impl Directory {
    pub(super) fn new(path: Arc<Path>, id: DirectoryId) -> Self {
        Self {
            path,
            id,
            checked: Checked::default(),
            generation: GenerationCounter::new(Generation::NONE),
            state: Mutex::default(),
        }
    }

    /// Its absolute path, free of symbolic links.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Its number in the store.
    pub const fn id(&self) -> DirectoryId {
        self.id
    }

    /// Checks the directory against the disk, unless `view` has done so, and gives its generation: while that stays,
    /// every answer given stays. Costs a `stat`; where the directory changed, a look at each name asked for.
    pub fn generation(&self, view: View, store: &FileStore) -> Generation {
        if !self.checked.suffices(view) {
            self.look_above(view, store);
            let mut state = self.lock();
            if !self.checked.suffices(view) {
                self.revalidate(&mut state, store);
                self.checked.note(view);
            }
        }
        self.generation.current()
    }

    /// Device and inode, if it exists as a directory.
    pub fn identity(&self, view: View, store: &FileStore) -> Option<(u64, u64)> {
        self.generation(view, store);
        self.lock().stamp.filter(Stamp::is_directory).map(|stamp| stamp.identity())
    }

    /// What `name` stands for. Costs nothing where that is known.
    pub fn look_up(&self, name: &[u8], view: View, store: &FileStore) -> Entry {
        self.generation(view, store);
        let mut state = self.lock();
        if let Some(entry) = state.asked.get(name) {
            return entry.clone();
        }
        if state.listing.is_none() && state.asked.len() >= NAMES_BEFORE_LISTING {
            state.listing = self.list(&state);
        }
        let entry = self.ask(&state, name, store);
        state.asked.insert(name.into(), entry.clone());
        entry
    }

    /// Every name with what it stands for, if the directory can be read: for what must enumerate, not for look-ups.
    pub fn names(&self, view: View, store: &FileStore) -> Vec<Box<[u8]>> {
        self.generation(view, store);
        let state = self.lock();
        self.list(&state).map(|names| names.into_keys().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Where others write as well, what the kernel knows of this directory's name is good only once the one above it was
    /// looked at.
    fn look_above(&self, view: View, store: &FileStore) {
        if self.lock().file_system.is_some_and(|known| known != FileSystem::Local) && self.id != store.root().id {
            self.parent(store).generation(view, store);
        }
    }

    fn revalidate(&self, state: &mut State, store: &FileStore) {
        let moment = Moment::now();
        let mut stamp = Sight::again(&self.path, state.file_system.unwrap_or(FileSystem::Local));
        if stamp == state.stamp && (state.settled.holds() || stamp.is_none() && state.file_system.is_some()) {
            return;
        }
        let file_system = if stamp.is_some() { FileSystem::of(&self.path) } else { FileSystem::around(&self.path) };
        if state.file_system.replace(file_system) != Some(file_system) && file_system != FileSystem::Local {
            stamp = Sight::at(&self.path, Links::Followed).map(|sight| sight.stamp);
        }
        let existed = state.stamp.is_some_and(|stamp| stamp.is_directory());
        state.stamp = stamp;
        state.settled = stamp.map_or(Settled::No, |stamp| stamp.proof(file_system, moment));
        let exists = stamp.is_some_and(|stamp| stamp.is_directory());
        state.listing = if state.asked.len() >= NAMES_BEFORE_LISTING { self.list(state) } else { None };
        let mut changed = existed != exists;
        let mut asked = std::mem::take(&mut state.asked);
        for (name, entry) in &mut asked {
            let fresh = self.ask(state, name, store);
            if !fresh.is_same(entry) {
                *entry = fresh;
                changed = true;
            }
        }
        state.asked = asked;
        if changed {
            self.generation.advance();
        }
    }

    fn list(&self, state: &State) -> Option<Names<FileType>> {
        if state.stamp.is_none_or(|stamp| !stamp.is_directory() || stamp.size_bytes() > MAX_LISTED_DIRECTORY_BYTES) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let descriptor = rustix::fs::open(self.path.as_ref(), flags, Mode::empty()).ok()?;
        let mut names = Names::default();
        for entry in rustix::fs::Dir::new(descriptor).ok()? {
            let entry = entry.ok()?;
            names.insert(entry.file_name().to_bytes().into(), entry.file_type());
        }
        Some(names)
    }

    fn ask(&self, state: &State, name: &[u8], store: &FileStore) -> Entry {
        if state.stamp.is_none_or(|stamp| !stamp.is_directory()) {
            return Entry::Absent;
        }
        let kind = state.listing.as_ref().map(|listing| listing.get(name).copied());
        match kind {
            Some(None) => return Entry::Absent,
            Some(Some(kind)) if kind != FileType::Unknown => return self.entry_of(kind, name, store),
            _ => {}
        }
        let Ok(path) = CString::new(join(&self.path, name)) else { return Entry::Absent };
        match rustix::fs::statat(CWD, path.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.entry_of(FileType::from_raw_mode(stat.st_mode), name, store),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Entry::Absent,
            Err(_) => Entry::Unreadable,
        }
    }

    fn entry_of(&self, kind: FileType, name: &[u8], store: &FileStore) -> Entry {
        let path = join(&self.path, name);
        match kind {
            FileType::RegularFile => Entry::File(store.file(as_path(&path))),
            FileType::Directory => Entry::Directory(store.directory(as_path(&path))),
            FileType::Symlink => match rustix::fs::readlinkat(CWD, as_path(&path), Vec::new()) {
                Ok(target) => Entry::Symlink(Arc::from(as_path(target.as_bytes()))),
                Err(Errno::NOENT) => Entry::Absent,
                Err(_) => Entry::Unreadable,
            },
            _ => Entry::Special,
        }
    }

    /// The refusal of what can't be looked at.
    pub(crate) fn unreadable(&self, name: &[u8]) -> Fallback {
        let path = join(&self.path, name);
        Fallback::at(Reason::Unreadable, "can't be looked at", as_path(&path), 0)
    }

    /// The directory above; the root is its own.
    pub fn parent(&self, store: &FileStore) -> Arc<Directory> {
        store.directory(self.path.parent().unwrap_or(Path::new("/")))
    }

    /// The path of `name` in it.
    pub fn path_of(&self, name: &[u8]) -> Arc<Path> {
        Arc::from(as_path(&join(&self.path, name)))
    }

    /// The bytes of its path.
    pub fn bytes(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}
