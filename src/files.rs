//! The file system as compiles see it: remembered, and revalidated at every compile.
//!
//! Everything that is learned of a file or a directory is kept together with the identity under which it was learned
//! ([`stamp`]). A [`View`] is one compile's look at the file system: within it, each file and directory is checked
//! against the disk at most once, and never taken from memory unchecked. So an edit that was finished before the view
//! was opened is always seen.
//!
//! What it does not know: what a header is, or why somebody asks.
//!
//! Invariants: a name's look-up in a directory is remembered only under the directory's own stamp; content only under
//! the file's. What changed too recently for its time stamp to tell the next change apart is not trusted (see
//! [`stamp`]).

pub mod directory;
pub(crate) mod events;
pub mod file;
pub mod generation;
mod inodes;
pub(crate) mod kept;
pub(crate) mod lease;
pub(crate) mod lexical;
pub(crate) mod own_paths;
pub mod resolve;
pub(crate) mod since;
pub mod stamp;
mod view;
pub(crate) mod vigil;
pub(crate) mod walk;

use crate::files::directory::{Directory, DirectoryId};
use crate::files::file::{FileId, SourceFile};
use crate::files::inodes::{Inode, Inodes};
use crate::files::kept::{Encoder, Kept};
pub(crate) use crate::files::view::Checked;
pub use crate::files::view::View;
use dashmap::DashMap;
use std::borrow::Borrow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The largest file that is hashed as an input (profiles, `.incbin` data, …).
pub const MAX_INPUT_FILE_BYTES: u64 = 4 << 30;
/// The largest file that is read as a source or a header.
pub const MAX_SOURCE_FILE_BYTES: u64 = 256 << 20;
/// How many symbolic links one path may pass through, as in the kernel.
pub const MAX_SYMLINKS_IN_A_PATH: u32 = 40;
/// How often a file that changes under the reader is read anew.
pub const MAX_READ_ATTEMPTS: u32 = 4;

/// Files and directories by path, shared by all compiles of a daemon.
#[derive(Debug)]
pub struct FileStore {
    directories: DashMap<PathBytes, Arc<Directory>, foldhash::fast::RandomState>,
    files: DashMap<PathBytes, Arc<SourceFile>, foldhash::fast::RandomState>,
    root: Arc<Directory>,
    started: Instant,
    last_view: AtomicU64,
    next_file: AtomicU32,
    next_directory: AtomicU32,
    /// Which files have become one.
    inodes: Arc<Inodes>,
    /// What an earlier process knew.
    kept: Option<Kept>,
}

/// A path that is compared byte by byte: those of a store have no component to spare.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PathBytes(Box<[u8]>);

impl Borrow<[u8]> for PathBytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Default for FileStore {
    fn default() -> Self {
        Self::new()
    }
}

impl FileStore {
    /// An empty store; reads nothing.
    pub fn new() -> Self {
        Self {
            directories: DashMap::default(),
            files: DashMap::default(),
            root: Arc::new(Directory::new(Arc::from(Path::new("/")), DirectoryId(0))),
            started: Instant::now(),
            last_view: AtomicU64::new(0),
            next_file: AtomicU32::new(0),
            next_directory: AtomicU32::new(1),
            inodes: Arc::default(),
            kept: None,
        }
    }

    /// A store that goes on from what an earlier process kept in the file at `path`. Reads nothing yet.
    pub(crate) fn recalling(path: PathBuf) -> Self {
        Self { kept: Some(Kept::new(path)), ..Self::new() }
    }

    /// Keeps what is known for the next process, where this store was made by [`FileStore::recalling`]. Reads and encodes
    /// the files that are new.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn keep(&self, encoder: &dyn Encoder) -> io::Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let files: Vec<_> = self.files.iter().map(|file| Arc::clone(&file)).collect();
        kept.write(files.iter(), encoder)
    }

    /// Opens a view as of now. Costs a look at the clock.
    pub fn view(&self) -> View {
        self.view_since(Instant::now())
    }

    /// Opens a view that believes whatever was checked after `asked`, the moment at which the compile was asked for.
    pub fn view_since(&self, asked: Instant) -> View {
        let since = asked.saturating_duration_since(self.started).as_nanos() as u64 + 1;
        self.last_view.fetch_max(since, Ordering::Relaxed);
        View { since }
    }

    /// The moment from which on checks are believed in `view`.
    pub(crate) fn asked(&self, view: View) -> Instant {
        self.started + Duration::from_nanos(view.since - 1)
    }

    /// The root directory.
    pub fn root(&self) -> &Arc<Directory> {
        &self.root
    }

    /// The directory at `path`, which must be absolute and free of symbolic links. Looks at nothing.
    pub(crate) fn directory(&self, path: &Path) -> Arc<Directory> {
        if path == Path::new("/") {
            return Arc::clone(&self.root);
        }
        let bytes = path.as_os_str().as_bytes();
        if let Some(known) = self.directories.get(bytes) {
            return Arc::clone(&known);
        }
        let path: Arc<Path> = Arc::from(path);
        let entry = self.directories.entry(PathBytes(Box::from(bytes))).or_insert_with(|| {
            let id = DirectoryId(self.next_directory.fetch_add(1, Ordering::Relaxed));
            Arc::new(Directory::new(path, id))
        });
        Arc::clone(&entry)
    }

    /// The file at `path`, which must be absolute and free of symbolic links. Looks at nothing.
    pub(crate) fn file(&self, path: &Path) -> Arc<SourceFile> {
        let bytes = path.as_os_str().as_bytes();
        if let Some(known) = self.files.get(bytes) {
            return Arc::clone(&known);
        }
        let path: Arc<Path> = Arc::from(path);
        let entry = self.files.entry(PathBytes(Box::from(bytes))).or_insert_with(|| {
            let id = FileId(self.next_file.fetch_add(1, Ordering::Relaxed));
            let known = self.kept.as_ref().and_then(|kept| kept.take(&path));
            Arc::new(SourceFile::new(path, id, Inode::new(Arc::clone(&self.inodes)), known))
        });
        Arc::clone(&entry)
    }
}

/// `directory/name` without a doubled slash.
pub(crate) fn join(directory: &Path, name: &[u8]) -> Vec<u8> {
    let base = directory.as_os_str().as_bytes();
    let mut joined = Vec::with_capacity(base.len() + 1 + name.len());
    joined.extend_from_slice(base);
    if !base.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// Bytes as a path.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
