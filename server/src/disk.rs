//! A directory of files named by hash, bounded in size, whose least recently used files make room for new ones.
//!
//! The blobs and the action cache stand on this. It does not know what the files hold: who publishes a file has
//! verified it, and who reads one decides what to check.
//!
//! Presence is answered from memory ([`index`]) and is exact, because one process owns the directory (an exclusive
//! lock says so). Order of use survives restarts in an append-only journal ([`journal`]), so that a start reads one
//! file sequentially instead of visiting every file of the cache.
//!
//! Invariants: a final name appears only by `link`, with its content complete; a file with a final name is never
//! written again; publishing and evicting one name never overlap.

mod index;
mod journal;
mod record;
mod space;

use index::Index;
use journal::Journal;
use parking_lot::{Mutex, MutexGuard};
use record::Record;
pub(crate) use record::{Entry, Key};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
pub(crate) use space::Reservation;
use space::Space;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How many names can be published or evicted at a time.
const STRIPES: usize = 64;

/// How large a directory may grow beyond its bound, in quarters of it, while everything in it is promised to somebody.
const OVERCOMMIT_QUARTERS: u64 = 1;

/// How many corrupt files are kept for somebody to look at.
const QUARANTINED_FILES: usize = 16;

/// How files come about that have no final name yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temporaries {
    /// Without a name, so that a crash leaves nothing behind.
    Nameless,
    /// With a name in the scratch directory: where the file system has no nameless files (NFS), or they can't be
    /// given a name (no `/proc`).
    Named,
}

/// What bounds a directory.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// The bytes that its files may take.
    pub(crate) size_bytes: u64,
    /// How long a file stays after its last use, as long as there is room within the overcommit and on the disk.
    pub(crate) promised_lifetime: Duration,
    /// What stays free on the file system.
    pub(crate) free_disk_bytes: u64,
}

/// Why a file can't be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// There is no room, and nothing that could make room.
    #[error("{0}")]
    Exhausted(String),
    /// The system says no.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// A directory of files; all its methods block on the file system unless they say otherwise.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    root: OwnedFd,
    index: Arc<Index>,
    journal: Journal,
    space: Arc<Space>,
    stripes: Vec<Mutex<()>>,
    limits: Limits,
    temporaries: Temporaries,
    next_temporary: AtomicU64,
    /// Held for as long as the directory is open.
    _lock: File,
}

/// A file that has no final name yet; it vanishes when it is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    /// The name in the scratch directory, if it has one.
    named: Option<PathBuf>,
}

impl Temporary {
    /// The open file, for writing.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Directory {
    /// Opens or creates the directory at `path` and reads its journal.
    ///
    /// # Errors
    /// Another process has it open, or the file system says no.
    pub(crate) fn open(path: &Path, limits: Limits) -> Result<Arc<Self>, DiskError> {
        Self::open_with(path, limits, Temporaries::Nameless)
    }

    /// Opens the directory; nameless temporaries only where they work.
    pub(crate) fn open_with(path: &Path, limits: Limits, temporaries: Temporaries) -> Result<Arc<Self>, DiskError> {
        let failed = |operation| move |source: io::Error| io_error(operation, path, source);
        std::fs::create_dir_all(path).map_err(failed("create"))?;
        let lock = lock(path)?;
        let scratch = path.join("tmp");
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).map_err(failed("clear the scratch directory of"))?;
        }
        std::fs::create_dir(&scratch).map_err(failed("create the scratch directory of"))?;
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| io_error("open", path, errno.into()))?;
        let index = Arc::new(Index::default());
        let (journal, opened) = Journal::open(path, &index).map_err(failed("read the journal of"))?;
        let mut directory = Self {
            path: path.to_owned(),
            root,
            index,
            journal,
            space: Arc::new(Space::new(path, limits.free_disk_bytes)),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            limits,
            temporaries,
            next_temporary: AtomicU64::new(0),
            _lock: lock,
        };
        if !directory.can_publish() {
            directory.temporaries = Temporaries::Named;
        }
        let directory = Arc::new(directory);
        if opened.may_have_strangers {
            directory.adopt_strangers_in_background();
        }
        Ok(directory)
    }

    /// The bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.index.size_bytes()
    }

    /// The number of files.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What is known of each key, in order; each that is there counts as used now. Doesn't block, but for a write to
    /// the journal where uses have to be recorded.
    pub(crate) fn find(&self, keys: impl Iterator<Item = Key>) -> Vec<Option<Entry>> {
        let now = seconds_now();
        let mut records = Vec::new();
        let found = keys.map(|key| self.index.touch(&key, now, &mut records)).collect();
        self.record(&records);
        found
    }

    /// Opens a file for reading and gives its size and time of modification; `None` where it is not there (any more).
    ///
    /// # Errors
    /// The file system says no.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<(File, u64, u64)>, DiskError> {
        let name = name(key);
        let fd = match rustix::fs::openat(&self.root, &name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let _stripe = self.stripe(key);
                if !self.exists(&name) {
                    self.forget(key);
                }
                return Ok(None);
            }
            Err(errno) => return Err(self.error("open", &name, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.error("stat", &name, errno))?;
        Ok(Some((File::from(fd), stat.st_size as u64, modified(&stat))))
    }

    /// Says that the file's content was verified when its time of modification was `modified`.
    pub(crate) fn mark_verified(&self, key: &Key, modified: u64) {
        if let Some(entry) = self.index.mark_verified(key, modified) {
            self.record(&[Record::present(*key, entry, seconds_now())]);
        }
    }

    /// Moves a file that is not what it should be out of the way, so that it counts as absent.
    pub(crate) fn quarantine(&self, key: &Key) {
        let _stripe = self.stripe(key);
        let kept = self.keep_corrupt(key);
        tracing::error!(file = %self.path.join(name(key)).display(), ?kept, "a file is corrupt and counts as absent");
        if kept.is_err() {
            let _ = rustix::fs::unlinkat(&self.root, name(key), AtFlags::empty());
        }
        self.forget(key);
    }

    fn keep_corrupt(&self, key: &Key) -> io::Result<()> {
        let corrupt = self.path.join("corrupt");
        std::fs::create_dir_all(&corrupt)?;
        if std::fs::read_dir(&corrupt)?.count() >= QUARANTINED_FILES {
            return Err(io::Error::other("enough corrupt files are kept already"));
        }
        rustix::fs::renameat(&self.root, name(key), rustix::fs::CWD, corrupt.join(hex::encode(key)))?;
        Ok(())
    }

    /// Makes room for `size_bytes` and keeps it until the reservation is dropped.
    ///
    /// # Errors
    /// [`DiskError::Exhausted`] where no eviction can make that much room.
    pub(crate) fn reserve(&self, size_bytes: u64) -> Result<Reservation, DiskError> {
        let most = self.limits.size_bytes / 4 * (4 + OVERCOMMIT_QUARTERS);
        if size_bytes > self.limits.size_bytes {
            return Err(DiskError::Exhausted(format!(
                "{}: {size_bytes} bytes do not fit into the {} bytes that it may take",
                self.path.display(),
                self.limits.size_bytes,
            )));
        }
        let reservation = self.space.reserve(size_bytes);
        let wanted = || self.index.size_bytes() + self.space.reserved_bytes();
        while wanted() > self.limits.size_bytes {
            let Some((key, touched)) = self.index.oldest() else { break };
            let age = Duration::from_secs(u64::from(seconds_now().saturating_sub(touched)));
            if age < self.limits.promised_lifetime && wanted() <= most {
                break;
            }
            self.evict(&key)?;
        }
        if wanted() > most {
            return Err(DiskError::Exhausted(format!(
                "{}: {size_bytes} bytes do not fit: {} of {} are used and nothing can be evicted",
                self.path.display(),
                wanted() - size_bytes,
                self.limits.size_bytes,
            )));
        }
        self.space.keep_floor(size_bytes, self.index.size_bytes(), || {
            let Some((key, _)) = self.index.oldest() else { return Ok(None) };
            self.evict(&key).map(Some)
        })?;
        Ok(reservation)
    }

    /// A new file without a name, to be published later.
    ///
    /// # Errors
    /// The file system says no.
    pub(crate) fn temporary(&self) -> Result<Temporary, DiskError> {
        if self.temporaries == Temporaries::Nameless {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            return rustix::fs::openat(&self.root, "tmp", flags, Mode::from_raw_mode(0o444))
                .map(|fd| Temporary { file: File::from(fd), named: None })
                .map_err(|errno| self.write_error("create a file in", "tmp", errno.into()));
        }
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join("tmp").join(format!("{}-{number}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o444))
            .map_err(|errno| self.write_error("create a file in", "tmp", errno.into()))?;
        Ok(Temporary { file: File::from(fd), named: Some(path) })
    }

    /// Gives a complete and verified file its final name, unless a file of that name is known already.
    ///
    /// `verify` judges a file that nobody knew of and that has the name: `false` has it moved away.
    ///
    /// # Errors
    /// The file system says no.
    pub(crate) fn publish(
        &self,
        key: &Key,
        temporary: &Temporary,
        verify: impl Fn(&mut File) -> bool,
    ) -> Result<(), DiskError> {
        let name = name(key);
        let stripe = self.stripe(key);
        if self.index.peek(key).is_some_and(|entry| entry.is_verified()) {
            return Ok(());
        }
        let mut linked = self.link(temporary, &name);
        if matches!(linked, Err(Errno::EXIST)) && !self.is_good(&name, &verify) {
            drop(stripe);
            self.quarantine(key);
            let _stripe = self.stripe(key);
            linked = self.link(temporary, &name);
        }
        match linked {
            Ok(()) | Err(Errno::EXIST) => self.enter(key, &name),
            Err(errno) => Err(self.write_error("publish", &name, errno.into())),
        }
    }

    /// Gives a complete file its final name, in place of the file that has it, if any.
    ///
    /// # Errors
    /// The file system says no.
    pub(crate) fn replace(&self, key: &Key, temporary: &Temporary) -> Result<(), DiskError> {
        let name = name(key);
        let _stripe = self.stripe(key);
        let linked = match self.link(temporary, &name) {
            Err(Errno::EXIST) => self.link_over(temporary, &name),
            linked => linked,
        };
        linked.map_err(|errno| self.write_error("publish", &name, errno.into()))?;
        self.enter(key, &name)
    }

    /// An error of writing into a temporary file.
    pub(crate) fn write_error(&self, operation: &'static str, name: &str, source: io::Error) -> DiskError {
        let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
        if source.raw_os_error().is_some_and(|errno| full.contains(&errno)) {
            return DiskError::Exhausted(format!("{}: the file system is full", self.path.display()));
        }
        io_error(operation, &self.path.join(name), source)
    }

    /// Puts a file that stands under its final name into the index.
    fn enter(&self, key: &Key, name: &str) -> Result<(), DiskError> {
        let stat = rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.error("stat", name, errno))?;
        let entry = Entry { size_bytes: stat.st_size as u64, verified: modified(&stat) };
        let now = seconds_now();
        self.index.insert(*key, entry, now);
        self.record(&[Record::present(*key, entry, now)]);
        Ok(())
    }

    fn is_good(&self, name: &str, verify: &impl Fn(&mut File) -> bool) -> bool {
        let opened = rustix::fs::openat(&self.root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        opened.is_ok_and(|fd| verify(&mut File::from(fd)))
    }

    /// Whether a temporary file can be made and given a name.
    fn can_publish(&self) -> bool {
        let linked = self.temporary().map(|temporary| self.link(&temporary, "tmp/probe"));
        let _ = rustix::fs::unlinkat(&self.root, "tmp/probe", AtFlags::empty());
        matches!(linked, Ok(Ok(())))
    }

    fn link(&self, temporary: &Temporary, name: &str) -> Result<(), Errno> {
        let link = || match &temporary.named {
            None => rustix::fs::linkat(
                rustix::fs::CWD,
                format!("/proc/self/fd/{}", temporary.file.as_raw_fd()),
                &self.root,
                name,
                AtFlags::SYMLINK_FOLLOW,
            ),
            Some(path) => rustix::fs::linkat(rustix::fs::CWD, path, &self.root, name, AtFlags::empty()),
        };
        match link() {
            Err(Errno::NOENT) => {
                self.make_shard(name)?;
                link()
            }
            linked => linked,
        }
    }

    /// Links under a scratch name and renames that over `name`.
    fn link_over(&self, temporary: &Temporary, name: &str) -> Result<(), Errno> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let scratch = format!("tmp/replacement-{number}");
        self.link(temporary, &scratch)?;
        rustix::fs::renameat(&self.root, &scratch, &self.root, name)
    }

    fn make_shard(&self, name: &str) -> Result<(), Errno> {
        let shard = name.split('/').next().unwrap_or(name);
        match rustix::fs::mkdirat(&self.root, shard, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Removes one file and gives its size.
    fn evict(&self, key: &Key) -> Result<u64, DiskError> {
        let _stripe = self.stripe(key);
        let name = name(key);
        match rustix::fs::unlinkat(&self.root, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(self.forget(key)),
            Err(errno) => Err(self.error("evict", &name, errno)),
        }
    }

    fn forget(&self, key: &Key) -> u64 {
        let Some(entry) = self.index.remove(key) else { return 0 };
        self.record(&[Record::removed(*key)]);
        entry.size_bytes
    }

    fn record(&self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        self.journal.append(records);
    }

    fn exists(&self, name: &str) -> bool {
        rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn stripe(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(key[1]) % STRIPES].lock()
    }

    fn error(&self, operation: &'static str, name: &str, errno: Errno) -> DiskError {
        io_error(operation, &self.path.join(name), errno.into())
    }

    /// Looks for files that the journal doesn't know: a crash of the machine may have lost its end.
    fn adopt_strangers_in_background(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let adopt = move || {
            for shard in 0..=u8::MAX {
                let Some(directory) = weak.upgrade() else { return };
                if let Err(error) = directory.adopt_strangers(shard) {
                    tracing::warn!(%error, "cannot look for files that the journal lacks");
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("adopt".to_owned()).spawn(adopt) {
            tracing::warn!(%error, "cannot look for files that the journal lacks");
        }
    }

    fn adopt_strangers(&self, shard: u8) -> io::Result<()> {
        let files = match std::fs::read_dir(self.path.join(format!("{shard:02x}"))) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for file in files {
            let file = file?;
            let mut key = Key::default();
            if hex::decode_to_slice(file.file_name().as_encoded_bytes(), &mut key).is_err() || key[0] != shard {
                continue;
            }
            let _stripe = self.stripe(&key);
            let Ok(metadata) = file.metadata() else { continue };
            if self.index.peek(&key).is_none() {
                let entry = Entry { size_bytes: metadata.len(), verified: Entry::UNVERIFIED };
                self.index.insert(key, entry, seconds_now());
                self.record(&[Record::present(key, entry, seconds_now())]);
            }
        }
        Ok(())
    }
}

/// The name of a file below the root: a shard of the first byte, then the whole hash.
fn name(key: &Key) -> String {
    let hash = hex::encode(key);
    format!("{}/{hash}", &hash[..2])
}

/// Seconds since the epoch: a clock that goes back makes files look younger, never older.
fn seconds_now() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() as u32)
}

/// The time of modification in nanoseconds, never [`Entry::UNVERIFIED`].
fn modified(stat: &rustix::fs::Stat) -> u64 {
    (stat.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec).max(1)
}

fn lock(path: &Path) -> Result<File, DiskError> {
    let file = File::create(path.join("lock")).map_err(|source| io_error("create the lock of", path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(io_error("lock", path, io::Error::other("another server uses this directory"))),
        Err(errno) => Err(io_error("lock", path, errno.into())),
    }
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { operation, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = Limits { size_bytes: 1, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
        let directory = Directory::open(dir.path(), limits).expect("opens");
        let error = |errno: Errno| directory.write_error("write", "tmp", errno.into());
        assert!(matches!(error(Errno::NOSPC), DiskError::Exhausted(_)));
        assert!(matches!(error(Errno::DQUOT), DiskError::Exhausted(_)));
        let path = dir.path().join("tmp").display().to_string();
        assert!(matches!(error(Errno::IO), DiskError::Io { path: named, .. } if named == path));
    }

    #[test]
    fn a_snapshot_replaces_a_long_journal() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = || Limits { size_bytes: 1 << 30, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
        let directory = Directory::open(dir.path(), limits()).expect("opens");
        let key = |number: u32| {
            let mut key = Key::default();
            key[..4].copy_from_slice(&number.to_le_bytes());
            key
        };
        let entry = |number: u32| Entry { size_bytes: u64::from(number), verified: 1 };
        for number in 0..100_000 {
            directory.index.insert(key(number), entry(number), 1);
            directory.record(&[Record::present(key(number), entry(number), 1)]);
            if number % 2 == 1 {
                directory.forget(&key(number - 1));
            }
        }
        let (len, size_bytes) = (directory.len(), directory.size_bytes());
        assert_eq!(len, 50_000);
        let journal_bytes = || {
            let files = std::fs::read_dir(dir.path()).expect("a directory").filter_map(Result::ok);
            files
                .filter_map(|file| file.metadata().ok())
                .filter(std::fs::Metadata::is_file)
                .map(|file| file.len())
                .sum::<u64>()
        };
        // A snapshot is written by a thread of its own, which may still be at it.
        while journal_bytes() > 150_000 * 56 {
            std::thread::yield_now();
        }
        drop(directory);
        for _ in 0..3 {
            let directory = Directory::open(dir.path(), limits()).expect("opens");
            assert_eq!((directory.len(), directory.size_bytes()), (len, size_bytes));
        }
    }
}
