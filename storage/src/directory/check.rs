//! What a journal says that was not ended in order, compared with the disk.
//!
//! Packs come first, and until all of them were looked through every name may be unknown. So one that can't be read ends that as
//! well: what only it could have told counts as absent.

use super::{Directory, Packed, name};
use crate::error::StorageError;
use crate::journal::Opened;
use crate::packs::{self, Header};
use crate::record::{Entry, Key, Place, Seal};
use crate::sum::Sum;
use crate::volume::Volume;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many packs before the last one somebody may still have been writing into.
const SLOW_PACKS: u32 = 4;

/// How often a pack is tried that can't be read for a reason that passes.
const PACK_ATTEMPTS: usize = 5;

/// How long after each attempt but the last.
const PACK_PAUSE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_millis(200) };

/// What was not compared yet.
#[derive(Debug)]
pub(super) struct Unchecked {
    /// The first bytes of the names of files.
    shards: Mutex<HashSet<u8>>,
    has_shards: AtomicBool,
    /// The first of the packs. Held while they are looked through.
    packs: Mutex<Option<u32>>,
    has_packs: AtomicBool,
    /// A pack couldn't be read that may be readable after the next start.
    is_for_later: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// Who wants to be told when all packs were looked through.
#[derive(Default)]
struct Waiting(Vec<Box<dyn FnOnce() + Send>>);

impl fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Waiting({})", self.0.len())
    }
}

impl Unchecked {
    /// `last_live` is the last pack that the journal knows of: records that weren't written were of that one or later ones.
    pub(super) fn new(opened: &Opened, last_live: Option<u32>) -> Self {
        let shards = if opened.is_whole { HashSet::new() } else { (0..=u8::MAX).collect() };
        // Who was slow may have written into one a little before it.
        let first = if opened.is_damaged { 0 } else { last_live.unwrap_or_default().saturating_sub(SLOW_PACKS) };
        Self {
            shards: Mutex::new(shards),
            has_shards: AtomicBool::new(!opened.is_whole),
            packs: Mutex::new((!opened.is_whole).then_some(first)),
            has_packs: AtomicBool::new(!opened.is_whole),
            is_for_later: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Whether the next start may believe the journal.
    pub(super) fn is_empty(&self) -> bool {
        ![&self.has_shards, &self.has_packs, &self.is_for_later].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    fn contains(&self, shard: u8) -> bool {
        self.has_packs.load(Ordering::Relaxed)
            || self.has_shards.load(Ordering::Relaxed) && self.shards.lock().contains(&shard)
    }

    fn remove(&self, shard: u8) {
        let mut shards = self.shards.lock();
        shards.remove(&shard);
        self.has_shards.store(!shards.is_empty(), Ordering::Relaxed);
    }

    fn packs_are_known(&self) {
        self.has_packs.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for told in waiting.0 {
            told();
        }
    }
}

impl<V: Volume> Directory<V> {
    /// Has `told` called once all packs were looked through: at once where that is so already. Doesn't block.
    pub fn when_packs_are_known(&self, told: Box<dyn FnOnce() + Send>) {
        let mut waiting = self.unchecked.waiting.lock();
        if self.unchecked.has_packs.load(Ordering::SeqCst) {
            return waiting.0.push(told);
        }
        drop(waiting);
        told();
    }

    /// Compares what is known of the files whose names begin with `shard` with what is on the disk: takes in those that
    /// nobody knew, forgets those that are gone, and has those compared with their names that were changed.
    ///
    /// # Errors
    /// The file system says no.
    pub fn check_shard(&self, shard: u8) -> Result<(), StorageError> {
        self.check_packs();
        let directory = format!("{shard:02x}");
        let names = self.volume.list(&directory).map_err(|error| self.io_error("list", &directory, error))?;
        let mut files: HashSet<Key> = HashSet::new();
        for name in names {
            let mut key = Key::default();
            if const_hex::decode_to_slice(&name, &mut key).is_ok() && key[0] == shard {
                files.insert(key);
            }
        }
        let doubted = self.index.beginning_with(shard).into_iter().filter(|(_, entry)| !entry.is_confirmed);
        let doubted: Vec<Key> = doubted.map(|(key, _)| key).collect();
        for key in &files {
            self.check(key)?;
            self.remove_beside_packed(key)?;
        }
        for key in doubted.iter().filter(|key| !files.contains(*key)) {
            self.check(key)?;
        }
        self.unchecked.remove(shard);
        Ok(())
    }

    /// Removes the file of a content that is packed: one of the two was stored while the end came.
    fn remove_beside_packed(&self, key: &Key) -> Result<(), StorageError> {
        let _stripe = self.stripe(key);
        if self.index.peek(key).is_none_or(|entry| entry.place().is_none()) {
            return Ok(());
        }
        let name = name(key);
        match self.volume.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io_error("remove", &name, error)),
            _ => Ok(()),
        }
    }

    /// Whether there may be a file that nobody knows of. Doesn't block.
    pub fn may_be_unknown(&self, key: &Key) -> bool {
        self.unchecked.contains(key[0])
    }

    /// As [`Self::check_shard`], for one file.
    ///
    /// # Errors
    /// The file system says no.
    pub fn check(&self, key: &Key) -> Result<(), StorageError> {
        self.check_packs();
        let _stripe = self.stripe(key);
        let mut known = self.index.peek(key);
        if known.is_some_and(|entry| entry.is_confirmed) {
            return Ok(());
        }
        if let Some((entry, place)) = known.and_then(|entry| Some((entry, entry.place()?))) {
            match self.packed(key, entry)? {
                Packed::Whole(_) => return Ok(()),
                Packed::Rotten(_) | Packed::Torn(_) | Packed::Gone => {
                    self.forget(key);
                    self.free(place, entry.size_bytes);
                    known = None;
                }
            }
        }
        let name = name(key);
        let stat = match self.volume.stat(&name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(key);
                return Ok(());
            }
            Err(error) => return Err(self.io_error("look for", &name, error)),
        };
        match known {
            Some(entry) if entry.size_bytes == stat.size_bytes => {
                self.confirm(key, entry.seal.filter(|seal| seal.modified == stat.modified));
            }
            _ => self.know(*key, Entry { size_bytes: stat.size_bytes, seal: None, is_confirmed: true }),
        }
        Ok(())
    }

    /// Looks through the packs in which something may stand that the journal doesn't know of, unless that was done. Waits for
    /// whoever is about it.
    pub(crate) fn check_packs(&self) {
        if !self.unchecked.has_packs.load(Ordering::Relaxed) {
            return;
        }
        let mut unchecked = self.unchecked.packs.lock();
        if let Some(first) = unchecked.take() {
            self.check_packs_from(first);
            self.unchecked.packs_are_known();
        }
    }

    /// Takes in all that stands in the packs from `first` on and counts.
    pub(super) fn check_packs_from(&self, first: u32) {
        for pack in self.packs.earlier_from(first) {
            let Err(error) = self.check_pack(pack) else { continue };
            tracing::error!(%error, "cannot look through a pack: what the journal doesn't know of it counts as absent");
            if matches!(error, StorageError::Unavailable { .. }) {
                self.packs.keep(pack);
                self.unchecked.is_for_later.store(true, Ordering::Relaxed);
            }
        }
        if let Err(error) = self.packs.remove_empty() {
            tracing::warn!(%error, directory = self.volume.place(""), "cannot remove packs in which nothing is left");
        }
    }

    fn check_pack(&self, pack: u32) -> Result<(), StorageError> {
        for _ in 1..PACK_ATTEMPTS {
            match self.try_pack(pack) {
                Err(StorageError::Unavailable { .. }) => std::thread::sleep(PACK_PAUSE),
                checked => return checked,
            }
        }
        self.try_pack(pack)
    }

    fn try_pack(&self, pack: u32) -> Result<(), StorageError> {
        let failed = |error| self.io_error("read", &packs::name(pack), error);
        for (place, header) in self.packs.scan(pack).map_err(failed)? {
            self.found(place, &header).map_err(failed)?;
        }
        Ok(())
    }

    /// A content stands in a pack, though the journal may not know of it.
    fn found(&self, place: Place, header: &Header) -> io::Result<()> {
        let _stripe = self.stripe(&header.key);
        let known = self.index.peek(&header.key);
        let known_place = known.as_ref().and_then(Entry::place);
        if known_place == Some(place) {
            return Ok(());
        }
        let size_bytes = u64::from(header.size_bytes);
        // A crash of the machine may have torn it. A file of that name may be older or newer; nobody was promised which.
        let counts = match (known_place, known) {
            (Some(known), _) => known < place && self.is_whole(place, header)?,
            (None, None) => true,
            // It may have been packed, and its file removed, just before the end.
            (None, Some(_)) => {
                let stat = self.volume.stat(&name(&header.key));
                matches!(stat, Err(error) if error.kind() == io::ErrorKind::NotFound)
            }
        };
        self.packs.adopt(place);
        if counts {
            let seal = Some(Seal::packed(place, header.sum));
            self.know(header.key, Entry { size_bytes, seal, is_confirmed: false });
        } else {
            self.free(place, size_bytes);
        }
        Ok(())
    }

    fn is_whole(&self, place: Place, header: &Header) -> io::Result<bool> {
        let read = self.packs.read(place, u64::from(header.size_bytes))?;
        Ok(read.is_some_and(|(_, content)| Sum::of(&content) == header.sum))
    }
}

#[cfg(test)]
impl<V: Volume> Directory<V> {
    /// Looks through all packs, whatever the journal says.
    pub(crate) fn check_all_packs(&self) {
        self.check_packs_from(0);
    }

    /// The sizes of all that stands in packs.
    pub(crate) fn all_packed(&self) -> Vec<u32> {
        let packs = self.packs.earlier_from(0).into_iter();
        let found = packs.flat_map(|pack| self.packs.scan(pack).expect("no faults"));
        found.map(|(_, header)| header.size_bytes).collect()
    }
}

#[cfg(test)]
mod tests;
