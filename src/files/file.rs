//! A file's content by digest, remembered under the file's stamp.
//!
//! Invariants: only regular files are opened; bytes that changed while they were read are never kept; the generation
//! moves only when the content or the execute permission changes, so a touched file costs one reading and invalidates
//! nothing.

use crate::fallback::{Fallback, Reason};
use crate::files::generation::{Generation, GenerationCounter};
use crate::files::inodes::Inode;
use crate::files::stamp::{FileSystem, Moment, Settled, Sight, Stamp};
use crate::files::{Checked, MAX_INPUT_FILE_BYTES, MAX_READ_ATTEMPTS, MAX_SOURCE_FILE_BYTES, View};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::digest::Digest;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::any::Any;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const HASH_CHUNK_BYTES: usize = 1 << 20;

/// The number of a file in its store, which no other file there has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub(super) u32);

impl FileId {
    /// Its place in a list of all files.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A regular file at a path without symbolic links.
#[derive(Debug)]
pub struct SourceFile {
    path: Arc<Path>,
    id: FileId,
    checked: Checked,
    generation: GenerationCounter,
    is_linked: AtomicBool,
    inode: Inode,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    settled: Settled,
    file_system: FileSystem,
    content: Result<Arc<Content>, Fallback>,
}

/// A file as a compile takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is: absolute, with symbolic links resolved.
    pub path: Arc<Path>,
    /// Its content's digest, taken from the bytes that were read.
    pub digest: Digest,
    /// Whether any execute permission is set.
    pub is_executable: bool,
}

/// What a file holds, as of one reading.
#[derive(Debug)]
pub struct Content {
    /// Path, digest and permission.
    pub input: Arc<InputFile>,
    /// The stamp under which it was read.
    pub stamp: Stamp,
    /// The generation of the file that this content belongs to.
    pub generation: Generation,
    bytes: Mutex<Option<Vec<u8>>>,
    derived: Mutex<Vec<(u32, Derived)>>,
    /// What [`Deriver::hints`] says of the bytes.
    hints: OnceLock<u32>,
    /// What an earlier process derived.
    pub(super) kept: Arc<[Encoded]>,
}

/// A file as an earlier process knew it.
#[derive(Debug)]
pub(super) struct Recalled {
    pub(super) stamp: Stamp,
    pub(super) file_system: FileSystem,
    pub(super) digest: Digest,
    /// [`Deriver::hints`] of the bytes.
    pub(super) hints: u32,
    pub(super) derived: Vec<Encoded>,
}

/// Something that was derived from a file's bytes, as bytes again.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) key: u32,
    pub(crate) data: Bytes,
}

/// What a reader of the bytes made of them.
type Derived = Arc<dyn Any + Send + Sync>;

/// Makes something of bytes.
pub(crate) trait Deriver {
    /// What it makes.
    type Derived: Any + Send + Sync;

    /// Facts about the bytes that [`Deriver::key`] needs.
    fn hints(&self, bytes: &[u8]) -> u32;

    /// The key that tells derivers apart which make different things of bytes with these hints.
    fn key(&self, hints: u32) -> u32;

    /// Makes of what was kept what [`Deriver::derive`] makes of the bytes.
    fn recall(&self, key: u32, kept: &[Encoded]) -> Option<Arc<Self::Derived>>;

    /// What it makes of the bytes.
    fn derive(&self, key: u32, bytes: &[u8]) -> Arc<Self::Derived>;
}

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Its bytes, once, to be lexed.
    Bytes,
    /// Its digest alone.
    Digest,
}

impl SourceFile {
    /// The file at `path`, of which an earlier process knew what is `kept`.
    pub(super) fn new(path: Arc<Path>, id: FileId, inode: Inode, kept: Option<Recalled>) -> Self {
        if let Some(kept) = &kept {
            inode.note(kept.stamp.identity());
        }
        let state = kept.map(|kept| State::recall(&path, kept));
        let first = if state.is_some() { Generation::RECALLED } else { Generation::NONE };
        let generation = GenerationCounter::new(first);
        let is_linked = AtomicBool::new(false);
        Self { path, id, checked: Checked::default(), generation, is_linked, inode, state: Mutex::new(state) }
    }

    /// Its absolute path, free of symbolic links.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Its number in the store.
    pub const fn id(&self) -> FileId {
        self.id
    }

    /// Notes that a symbolic link in another directory leads to it.
    pub(crate) fn note_link(&self) {
        self.is_linked.store(true, Ordering::Relaxed);
    }

    /// Whether a symbolic link in another directory was ever seen to lead to it.
    pub(crate) fn is_linked(&self) -> bool {
        self.is_linked.load(Ordering::Relaxed)
    }

    /// Checks the file against the disk, unless `view` has done so, and gives its generation: while that stays, its
    /// content stays, and it doesn't become one with another file. Costs a `stat`; where that shows a change, a reading.
    ///
    /// # Errors
    /// A [`Fallback`] where the file can't be read.
    pub fn generation(&self, view: View) -> Result<Generation, Fallback> {
        if self.checked.suffices(view) {
            return Ok(self.generation.current());
        }
        self.content(view, Want::Digest).map(|content| content.generation)
    }

    /// The content as of `view`. Costs a `stat`, and a reading where something changed.
    ///
    /// # Errors
    /// A [`Fallback`] where the file can't be read, is not a regular file, is too large or does not hold still.
    pub fn content(&self, view: View, want: Want) -> Result<Arc<Content>, Fallback> {
        let mut state = self.lock();
        if self.checked.suffices(view)
            && let Some(state) = state.as_ref()
        {
            return state.content.clone();
        }
        let file_system = state.as_ref().map_or(FileSystem::Local, |state| state.file_system);
        let known = Sight::again(&self.path, file_system);
        if let (Some(known), Some(state)) = (known, state.as_ref())
            && state.stamp == known
            && state.settled.holds()
        {
            self.checked.note(view);
            return state.content.clone();
        }
        let previous = state.as_ref().and_then(|state| state.content.clone().ok());
        let fresh = self.read(known, want, previous.as_ref());
        let content = fresh.content.clone();
        if content.is_err() {
            self.generation.advance();
        }
        *state = Some(fresh);
        self.checked.note(view);
        content
    }

    /// The content as it was last seen, if its stamp is sure to change with it for good; and where it is.
    pub(super) fn settled(&self) -> Option<(Arc<Content>, FileSystem)> {
        let state = self.lock();
        let state = state.as_ref().filter(|state| state.settled == Settled::Yes)?;
        Some((state.content.clone().ok()?, state.file_system))
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock()
    }

    fn read(&self, known: Option<Stamp>, want: Want, previous: Option<&Arc<Content>>) -> State {
        let mut stamp = known;
        for _ in 0..MAX_READ_ATTEMPTS {
            let moment = Moment::now();
            let Some(before) = stamp else { break };
            let (file_system, content) = match self.read_once(before, want) {
                Ok(Some(((digest, bytes), file_system))) => {
                    (file_system, Ok(self.adopt(before, digest, bytes, previous)))
                }
                Ok(None) => {
                    stamp = Stamp::at(&self.path);
                    continue;
                }
                Err(fallback) => (FileSystem::of(&self.path), Err(fallback)),
            };
            return State { stamp: before, settled: before.proof(file_system, moment), file_system, content };
        }
        let fallback = Fallback::at(Reason::Changing, "changed while it was read", self.path.as_ref(), 0);
        let stamp = stamp.unwrap_or_else(Stamp::none);
        State { stamp, settled: Settled::No, file_system: FileSystem::of(&self.path), content: Err(fallback) }
    }

    fn adopt(
        &self,
        stamp: Stamp,
        digest: Digest,
        bytes: Option<Vec<u8>>,
        previous: Option<&Arc<Content>>,
    ) -> Arc<Content> {
        let has_become_another = self.inode.note(stamp.identity());
        let same = previous.filter(|old| {
            old.input.digest == digest && old.input.is_executable == stamp.is_executable() && !has_become_another
        });
        let generation = match same {
            Some(old) => old.generation,
            None => self.generation.advance(),
        };
        let alike = previous.filter(|old| old.input.digest == digest);
        let derived = alike.map(|old| old.derived.lock().clone()).unwrap_or_default();
        let kept = alike.map(|old| Arc::clone(&old.kept)).unwrap_or_default();
        let hints = alike.map(|old| old.hints.clone()).unwrap_or_default();
        let input = match same {
            Some(old) => Arc::clone(&old.input),
            None => {
                let path = Arc::clone(&self.path);
                Arc::new(InputFile { path, digest, is_executable: stamp.is_executable() })
            }
        };
        Arc::new(Content {
            input,
            stamp,
            generation,
            bytes: Mutex::new(bytes),
            derived: Mutex::new(derived),
            hints,
            kept,
        })
    }

    /// The digest, the bytes where they are wanted, and where the file is; `None` where it changed meanwhile.
    fn read_once(&self, before: Stamp, want: Want) -> Result<Option<(Read, FileSystem)>, Fallback> {
        let refuse = |reason, detail: &str| Err(Fallback::at(reason, detail, self.path.as_ref(), 0));
        if !before.is_file() {
            return refuse(Reason::Unreadable, "not a regular file");
        }
        let limit = if want == Want::Bytes { MAX_SOURCE_FILE_BYTES } else { MAX_INPUT_FILE_BYTES };
        if before.size_bytes() > limit {
            return refuse(Reason::ScanLimit, "larger than what is read");
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = match rustix::fs::open(self.path.as_ref(), flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return refuse(Reason::Unreadable, &std::io::Error::from(error).to_string()),
        };
        let matches = |file: &File| rustix::fs::fstat(file).is_ok_and(|stat| Stamp::of(&stat) == before);
        if !matches(&file) {
            return Ok(None);
        }
        let read = match want {
            Want::Bytes => read_whole(&mut file, before.size_bytes()),
            Want::Digest => hash_stream(&mut file, before.size_bytes()),
        };
        match read {
            Ok(Some(read)) if matches(&file) => Ok(Some((read, FileSystem::of_open(&file)))),
            Ok(_) => Ok(None),
            Err(error) => refuse(Reason::Unreadable, &error.to_string()),
        }
    }
}

impl State {
    /// The state in which an earlier process left the file at `path`. It counts once its stamp is found to be the same.
    fn recall(path: &Arc<Path>, kept: Recalled) -> Self {
        let Recalled { stamp, file_system, digest, hints, derived } = kept;
        let input = Arc::new(InputFile { path: Arc::clone(path), digest, is_executable: stamp.is_executable() });
        let (hints, kept) = (OnceLock::from(hints), Arc::from(derived));
        let content = Content {
            input,
            stamp,
            generation: Generation::RECALLED,
            bytes: Mutex::default(),
            derived: Mutex::default(),
            hints,
            kept,
        };
        Self { stamp, settled: Settled::Yes, file_system, content: Ok(Arc::new(content)) }
    }
}

impl Content {
    /// What `maker` makes of the bytes, once for all makers of the same key: of what an earlier process kept, if it can,
    /// or else of the bytes, those that are still at hand or those that are read anew.
    ///
    /// # Errors
    /// [`Reason::Changing`] where the file no longer holds this content.
    pub(crate) fn derive<D: Deriver>(&self, path: &Path, maker: &D) -> Result<Arc<D::Derived>, Fallback> {
        let mut derived = self.derived.lock();
        let mut bytes = None;
        let hints = match self.hints.get() {
            Some(hints) => *hints,
            None => {
                let bytes = bytes.insert(self.bytes_again(path)?);
                *self.hints.get_or_init(|| maker.hints(bytes))
            }
        };
        let key = maker.key(hints);
        if let Some((_, known)) = derived.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known).downcast().expect("a key stands for one type"));
        }
        let value = match maker.recall(key, &self.kept) {
            Some(value) => value,
            None => {
                let bytes = match bytes {
                    Some(bytes) => bytes,
                    None => self.bytes_again(path)?,
                };
                maker.derive(key, &bytes)
            }
        };
        derived.push((key, Arc::clone(&value) as Derived));
        Ok(value)
    }

    /// What [`Deriver::hints`] said, if it was asked.
    pub(super) fn known_hints(&self) -> Option<u32> {
        self.hints.get().copied()
    }

    /// The bytes: those that are still at hand, which are gone then, or those that are read anew.
    ///
    /// # Errors
    /// As [`Content::derive`].
    pub(crate) fn bytes_again(&self, path: &Path) -> Result<Vec<u8>, Fallback> {
        let at_hand = self.bytes.lock().take();
        at_hand.map_or_else(|| reread(path, &self.input.digest), Ok)
    }

    /// The keys under which something was derived.
    pub(super) fn derived_keys(&self) -> Vec<u32> {
        let derived = self.derived.lock();
        derived.iter().map(|(key, _)| *key).collect()
    }
}

fn reread(path: &Path, digest: &Digest) -> Result<Vec<u8>, Fallback> {
    if digest.size_bytes() > MAX_SOURCE_FILE_BYTES {
        return Err(Fallback::at(Reason::ScanLimit, "larger than what is read", path, 0));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let bytes = rustix::fs::stat(path)
        .ok()
        .filter(|stat| Stamp::of(stat).is_file() && Stamp::of(stat).size_bytes() == digest.size_bytes())
        .and_then(|_| rustix::fs::open(path, flags, Mode::empty()).ok())
        .and_then(|descriptor| read_whole(&mut File::from(descriptor), digest.size_bytes()).ok().flatten());
    match bytes {
        Some((fresh, Some(bytes))) if fresh == *digest => Ok(bytes),
        _ => Err(Fallback::at(Reason::Changing, "changed between two readings", path, 0)),
    }
}

/// A digest, and the bytes where they are wanted.
type Read = (Digest, Option<Vec<u8>>);

fn read_whole(file: &mut File, size_bytes: u64) -> std::io::Result<Option<Read>> {
    let mut bytes = vec![0; size_bytes as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..])? {
            0 => return Ok(None),
            count => filled += count,
        }
    }
    Ok(Some((Digest::of(&bytes), Some(bytes))))
}

fn hash_stream(file: &mut File, size_bytes: u64) -> std::io::Result<Option<Read>> {
    let mut chunk = vec![0; HASH_CHUNK_BYTES.min(size_bytes as usize + 1)];
    let mut hasher = Sha256::new();
    let mut total = 0;
    loop {
        match file.read(&mut chunk)? {
            0 if total == size_bytes => return Ok(Some((Digest::new(hasher.finalize().into(), size_bytes), None))),
            0 => return Ok(None),
            count => {
                hasher.update(&chunk[..count]);
                total += count as u64;
            }
        }
    }
}
