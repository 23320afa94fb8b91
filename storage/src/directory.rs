//! A directory of files named by hash, bounded in size, whose least recently used files make room for new ones.
//!
//! It does not know what the files hold: who publishes a file has verified it, and who reads one decides what to check.
//!
//! Presence is answered from memory ([`index`](crate::index)) and is exact, because one process owns the volume. Order of
//! use survives restarts in an append-only journal ([`journal`](crate::journal)), so that a start reads one file sequentially
//! instead of visiting every file. A journal that was not ended in order is only a hint: [`Directory::check_shard`] then
//! compares it with the disk, and until that has come to a file, it is looked at when it is asked for.
//!
//! Invariants: a final name appears only by `link` or `rename`, with its content complete; a file with a final name is never
//! written again; publishing and evicting one name never overlap; a file that somebody was told of stays for the promised
//! time; what is evicted leaves the index first.

mod check;
mod share;
mod small;
mod threads;

use crate::error::StorageError;
use crate::index::{Index, RESOLUTION_SECONDS};
use crate::journal::Journal;
use crate::packs::Packs;
use crate::record::{Entry, Key, Place, Record, Seal};
use crate::space::{Reservation, Space};
use crate::sum::Sum;
use crate::volume::{FileStat, SystemVolume, Volume, VolumeFile};
use check::Unchecked;
use parking_lot::{Mutex, MutexGuard};
pub(crate) use small::Packed;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many names can be published or evicted at a time.
const STRIPES: usize = 64;

/// How large a directory may grow beyond its bound, in quarters of it, while everything in it is promised to somebody.
const OVERCOMMIT_QUARTERS: u64 = 1;

/// How many corrupt files are kept for somebody to look at.
const QUARANTINED_FILES: usize = 16;

/// What bounds a directory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The bytes that its files may take.
    pub size_bytes: u64,
    /// How long a file stays after its last use, whatever happens.
    pub promised_lifetime: Duration,
    /// What stays free on the file system.
    pub free_disk_bytes: u64,
}

/// A directory of files; all its methods block on the file system unless they say otherwise.
#[derive(Debug)]
pub struct Directory<V: Volume = SystemVolume> {
    volume: Arc<V>,
    index: Arc<Index>,
    journal: Arc<Journal<V>>,
    /// The contents that have no file of their own.
    packs: Packs<V>,
    space: Arc<Space>,
    stripes: Vec<Mutex<()>>,
    limits: Limits,
    next_temporary: AtomicU64,
    /// How many files turned out not to be what they should be.
    corrupt_files: AtomicU64,
    /// Where the disk may hold what the index doesn't.
    unchecked: Unchecked,
    /// The thread that writes the journal, if there is one.
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A file that has no final name yet; it vanishes when it is dropped.
#[derive(Debug)]
pub struct Temporary<F: VolumeFile> {
    file: F,
    sum: Sum,
}

impl<F: VolumeFile> Temporary<F> {
    /// Adds to the file.
    ///
    /// # Errors
    /// The file system says no; only dropping makes sense then.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.add(bytes);
        self.file.write_all(bytes)
    }
}

impl<V: Volume> Directory<V> {
    /// Reads the journal, without any thread; and whether it is whole. Where it is not, [`Self::check_shard`] wants to be
    /// called for every shard, at any time.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn load(volume: Arc<V>, limits: Limits) -> Result<(Arc<Self>, bool), StorageError> {
        let index = Arc::new(Index::default());
        let failed = |source| StorageError::new("read the journal of", volume.place(""), source);
        let (journal, opened) = Journal::open(&volume, &index).map_err(failed)?;
        if !opened.is_whole {
            index.doubt_all();
        }
        let packs = Packs::open(&volume, index.places().into_iter())
            .map_err(|source| StorageError::new("read the packs of", volume.place(""), source))?;
        let unchecked = Unchecked::new(&opened, packs.last_live());
        if opened.is_whole
            && let Err(error) = packs.remove_empty()
        {
            tracing::warn!(%error, "cannot remove packs in which nothing is left");
        }
        let directory = Self {
            volume,
            packs,
            index,
            journal: Arc::new(journal),
            space: Arc::new(Space::new(limits.free_disk_bytes)),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            limits,
            next_temporary: AtomicU64::new(0),
            corrupt_files: AtomicU64::new(0),
            unchecked,
            writer: Mutex::default(),
        };
        Ok((Arc::new(directory), opened.is_whole))
    }

    /// Writes the journal's records that wait.
    ///
    /// # Errors
    /// The file system says no. They wait on.
    pub fn flush(&self) -> io::Result<()> {
        self.journal.flush()
    }

    /// Ends the journal in order, unless files are still to be compared with it; the next start believes it then.
    ///
    /// # Errors
    /// The file system says no: the next start compares all files.
    pub fn end(&self) -> io::Result<()> {
        if self.unchecked.is_empty() { self.journal.end() } else { self.journal.flush() }
    }

    /// The bytes of all files. Doesn't block.
    pub fn size_bytes(&self) -> u64 {
        self.index.size_bytes()
    }

    /// The number of files. Doesn't block.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no files. Doesn't block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The files whose names begin with `shard`. Doesn't block.
    pub fn files_of_shard(&self, shard: u8) -> Vec<(Key, Entry)> {
        self.index.beginning_with(shard)
    }

    /// The volume's clock, in seconds since 1970.
    pub(crate) fn seconds(&self) -> u32 {
        self.volume.seconds()
    }

    /// What is known of each key, in order; each that is there counts as used now. Doesn't block.
    pub fn find(&self, keys: impl Iterator<Item = Key>) -> Vec<Option<Entry>> {
        let now = self.volume.seconds();
        let mut records = Vec::new();
        let found = keys.map(|key| self.index.touch(&key, now, &mut records)).collect();
        self.journal.append(&records);
        found
    }

    /// What is known of a key that is used now. Doesn't block.
    pub fn find_one(&self, key: &Key) -> Option<Entry> {
        self.find(std::iter::once(*key)).pop().flatten()
    }

    /// Opens a file for reading that is not packed; `None` where it is not there (any more).
    ///
    /// # Errors
    /// The file system says no.
    pub fn read(&self, key: &Key) -> Result<Option<(V::File, FileStat)>, StorageError> {
        let name = name(key);
        let file = match self.volume.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _stripe = self.stripe(key);
                let is_file = self.index.peek(key).is_some_and(|entry| entry.place().is_none());
                let is_gone =
                    || matches!(self.volume.stat(&name), Err(error) if error.kind() == io::ErrorKind::NotFound);
                if is_file && is_gone() {
                    self.forget(key);
                }
                return Ok(None);
            }
            Err(error) => return Err(self.io_error("open", &name, error)),
        };
        let stat = file.stat().map_err(|error| self.io_error("stat", &name, error))?;
        Ok(Some((file, stat)))
    }

    /// Whether something is known to be there by that name. Doesn't block, and is no use of it.
    pub(crate) fn is_confirmed(&self, key: &Key) -> bool {
        self.index.peek(key).is_some_and(|entry| entry.is_confirmed)
    }

    /// Says what seal a file's content has that was compared with its name, or that it has none. Doesn't block.
    pub fn confirm(&self, key: &Key, seal: Option<Seal>) {
        self.journal.append(self.index.confirm(key, seal).as_slice());
    }

    /// Moves a file that is not what it should be out of the way, so that it counts as absent. What is packed under its name by
    /// now stays.
    pub fn quarantine(&self, key: &Key) {
        let _stripe = self.stripe(key);
        let name = name(key);
        if self.index.peek(key).is_some_and(|entry| entry.place().is_some()) {
            return;
        }
        self.forget(key);
        let kept = self.keep_corrupt(key);
        self.corrupt_files.fetch_add(1, Ordering::Relaxed);
        tracing::error!(file = self.volume.place(&name), ?kept, "a file is corrupt and counts as absent");
        if kept.is_err() {
            let _ = self.volume.remove(&name);
        }
    }

    /// Removes a file, so that it counts as absent.
    ///
    /// # Errors
    /// The file system says no: the file may come back with the next start.
    pub fn remove(&self, key: &Key) -> Result<(), StorageError> {
        // Else it would come back as soon as it was found.
        self.check_packs();
        let _stripe = self.stripe(key);
        let name = name(key);
        if let Some(entry) = self.forget(key)
            && let Some(place) = entry.place()
        {
            let freed = self.packs.free(place, entry.size_bytes);
            return freed.map(drop).map_err(|error| self.io_error("remove", &name, error));
        }
        match self.volume.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io_error("remove", &name, error)),
            _ => Ok(()),
        }
    }

    fn keep_corrupt(&self, key: &Key) -> io::Result<()> {
        self.volume.create_directory("corrupt")?;
        if self.volume.list("corrupt")?.len() >= QUARANTINED_FILES {
            return Err(io::Error::other("enough corrupt files are kept already"));
        }
        self.volume.rename(&name(key), &format!("corrupt/{}", const_hex::encode(key)))
    }

    /// An account for a file that will take `size_bytes` at the most. Keeps no room yet.
    ///
    /// # Errors
    /// [`StorageError::Exhausted`] where a file of that size can never be stored.
    pub fn reservation(&self, size_bytes: u64) -> Result<Reservation, StorageError> {
        if size_bytes > self.limits.size_bytes {
            let most = self.limits.size_bytes;
            return Err(
                self.exhausted(&format!("{size_bytes} bytes do not fit into the {most} bytes that it may take"))
            );
        }
        Ok(self.space.reservation())
    }

    /// Makes room for `size_bytes` more, and keeps it as long as the reservation lives. Evicts what nobody was promised.
    ///
    /// # Errors
    /// [`StorageError::Exhausted`] where that does not make enough room.
    pub fn reserve(&self, reservation: &mut Reservation, size_bytes: u64) -> Result<(), StorageError> {
        reservation.grow(size_bytes);
        let reserved = self.make_room(size_bytes);
        if reserved.is_err() {
            reservation.shrink(size_bytes);
        }
        reserved
    }

    fn make_room(&self, size_bytes: u64) -> Result<(), StorageError> {
        let most = self.limits.size_bytes / 4 * (4 + OVERCOMMIT_QUARTERS);
        let wanted = || self.index.size_bytes() + self.space.reserved_bytes();
        while wanted() > self.limits.size_bytes && self.evict_unpromised()?.is_some() {}
        if wanted() > most {
            let (used, most) = (wanted() - size_bytes, self.limits.size_bytes);
            return Err(self.exhausted(&format!(
                "{size_bytes} bytes do not fit: {used} of {most} are used or being written, and were promised to stay"
            )));
        }
        let free = || self.volume.free_bytes().map_err(|error| self.io_error("read the free space of", "", error));
        self.space.keep_floor(size_bytes, free, || self.evict_unpromised()).map_err(|error| match error {
            StorageError::Exhausted(message) => self.exhausted(&message),
            error => error,
        })
    }

    fn exhausted(&self, message: &str) -> StorageError {
        StorageError::Exhausted(format!("{}: {message}", self.volume.place("")))
    }

    /// A new file without a name, to be published later.
    ///
    /// # Errors
    /// The file system says no.
    pub fn temporary(&self) -> Result<Temporary<V::File>, StorageError> {
        let file = self.volume.temporary().map_err(|error| self.write_error("create a file in", "tmp", error))?;
        Ok(Temporary { file, sum: Sum::default() })
    }

    /// Gives a complete and verified file its final name, unless a file of that name is known already.
    ///
    /// `seal_of` judges a file that nobody was sure of and that has the name: one without a seal is moved away.
    ///
    /// # Errors
    /// The file system says no.
    pub fn publish(
        &self,
        key: &Key,
        temporary: &Temporary<V::File>,
        seal_of: impl Fn(&V::File) -> io::Result<Option<Seal>>,
    ) -> Result<(), StorageError> {
        let name = name(key);
        let stripe = self.stripe(key);
        let known = self.index.peek(key);
        if known.is_some_and(|entry| entry.is_certain()) {
            // Who stored it once more was promised as much.
            self.find_one(key);
            return Ok(());
        }
        match self.link(&temporary.file, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => {
                linked.map_err(|error| self.write_error("publish", &name, error))?;
                return self.enter_written(key, &name, temporary);
            }
        }
        let judged = self.volume.open(&name).and_then(|file| seal_of(&file).map(|seal| (file, seal)));
        if let (file, Some(seal)) = judged.map_err(|error| self.io_error("read", &name, error))? {
            let stat = file.stat().map_err(|error| self.io_error("stat", &name, error))?;
            self.enter(key, stat.size_bytes, seal);
            return Ok(());
        }
        drop(stripe);
        self.quarantine(key);
        self.replace(key, temporary)
    }

    /// Gives a complete file its final name, in place of the file that has it, if any.
    ///
    /// # Errors
    /// The file system says no.
    pub fn replace(&self, key: &Key, temporary: &Temporary<V::File>) -> Result<(), StorageError> {
        let name = name(key);
        let _stripe = self.stripe(key);
        let linked = match self.link(&temporary.file, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.link_over(&temporary.file, &name),
            linked => linked,
        };
        linked.map_err(|error| self.write_error("publish", &name, error))?;
        self.enter_written(key, &name, temporary)
    }

    /// An error of writing into a temporary file.
    pub fn write_error(&self, operation: &'static str, name: &str, source: io::Error) -> StorageError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.exhausted("the file system is full"),
            _ => self.io_error(operation, name, source),
        }
    }

    fn enter_written(&self, key: &Key, name: &str, temporary: &Temporary<V::File>) -> Result<(), StorageError> {
        let FileStat { size_bytes, modified } = temporary.file.stat().map_err(|error| {
            // Nobody would know of the file.
            let _ = self.volume.remove(name);
            self.forget(key);
            self.io_error("stat", name, error)
        })?;
        self.enter(key, size_bytes, Seal { modified, sum: temporary.sum.value() });
        Ok(())
    }

    /// Puts a file that stands under its final name into the index, as used now.
    fn enter(&self, key: &Key, size_bytes: u64, seal: Seal) {
        self.know(*key, Entry { size_bytes, seal: Some(seal), is_confirmed: true });
    }

    fn know(&self, key: Key, entry: Entry) {
        let now = self.volume.seconds();
        let former = self.index.peek(&key).and_then(|former| Some((former.place()?, former.size_bytes)));
        self.index.insert(key, entry, now);
        self.journal.append(&[Record::Present(key, entry, now)]);
        if let Some((place, size_bytes)) = former.filter(|(place, _)| entry.place() != Some(*place)) {
            self.free(place, size_bytes);
        }
    }

    fn link(&self, file: &V::File, name: &str) -> io::Result<()> {
        match self.volume.link(file, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.volume.create_directory(name.split('/').next().unwrap_or(name))?;
                self.volume.link(file, name)
            }
            linked => linked,
        }
    }

    /// Links under a scratch name and renames that over `name`.
    fn link_over(&self, file: &V::File, name: &str) -> io::Result<()> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let scratch = format!("tmp/replacement-{number}");
        self.link(file, &scratch)?;
        self.volume.rename(&scratch, name).inspect_err(|_| drop(self.volume.remove(&scratch)))
    }

    /// Evicts the least recently used file and says how many bytes the file system got back, none where the file has other
    /// links; `None` where it is promised to somebody, or there is none.
    fn evict_unpromised(&self) -> Result<Option<u64>, StorageError> {
        loop {
            let Some((key, used)) = self.index.oldest() else { return Ok(None) };
            let age = self.volume.seconds().saturating_sub(used);
            // A use is noted when the one noted before is that old.
            let promised = self.limits.promised_lifetime.as_secs() + u64::from(RESOLUTION_SECONDS);
            if !self.limits.promised_lifetime.is_zero() && u64::from(age) < promised {
                return Ok(None);
            }
            let _stripe = self.stripe(&key);
            let Some(entry) = self.index.remove_unused(&key, used) else { continue };
            if let Some(place) = entry.place() {
                self.journal.append(&[Record::Removed(key)]);
                return Ok(Some(self.free(place, entry.size_bytes)));
            }
            let name = name(&key);
            let freed_bytes = if self.volume.has_other_links(&name) { 0 } else { entry.size_bytes };
            match self.volume.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // The next one's turn.
                    self.know(key, entry);
                    return Err(self.io_error("evict", &name, error));
                }
                _ => self.journal.append(&[Record::Removed(key)]),
            }
            return Ok(Some(freed_bytes));
        }
    }

    fn forget(&self, key: &Key) -> Option<Entry> {
        let entry = self.index.remove(key);
        if entry.is_some() {
            self.journal.append(&[Record::Removed(*key)]);
        }
        entry
    }

    /// Gives the room of a packed content back that counts no longer, and says how many bytes of it came back. Where the file
    /// system says no, it is found again by a start that looks for such.
    fn free(&self, place: Place, size_bytes: u64) -> u64 {
        self.packs.free(place, size_bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, directory = self.volume.place(""), "cannot give the room of a content back");
            0
        })
    }

    fn stripe(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(key[1]) % STRIPES].lock()
    }

    fn io_error(&self, operation: &'static str, name: &str, source: io::Error) -> StorageError {
        StorageError::new(operation, self.volume.place(name), source)
    }
}

/// The name of a file below the root: a shard of the first byte, then the whole hash.
fn name(key: &Key) -> String {
    let hash = const_hex::encode(key);
    format!("{}/{hash}", &hash[..2])
}

#[cfg(test)]
mod tests;
