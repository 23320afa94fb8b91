//! What a journal says that was not ended in order, compared with the disk.

use super::{Directory, name};
use crate::record::{Entry, Key};
use crate::volume::Volume;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first bytes of names that were not compared yet.
#[derive(Debug)]
pub(super) struct Unchecked {
    shards: Mutex<HashSet<u8>>,
    is_empty: AtomicBool,
}

impl Unchecked {
    pub(super) fn new(is_whole: bool) -> Self {
        let shards = if is_whole { HashSet::new() } else { (0..=u8::MAX).collect() };
        Self { shards: Mutex::new(shards), is_empty: AtomicBool::new(is_whole) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Relaxed)
    }

    fn contains(&self, shard: u8) -> bool {
        !self.is_empty() && self.shards.lock().contains(&shard)
    }

    fn remove(&self, shard: u8) {
        let mut shards = self.shards.lock();
        shards.remove(&shard);
        self.is_empty.store(shards.is_empty(), Ordering::Relaxed);
    }
}

impl<V: Volume> Directory<V> {
    /// Compares what is known of the files whose names begin with `shard` with what is on the disk: takes in those that
    /// nobody knew, forgets those that are gone, and has those compared with their names that were changed.
    ///
    /// # Errors
    /// The file system says no.
    pub fn check_shard(&self, shard: u8) -> io::Result<()> {
        let mut keys: HashSet<Key> = HashSet::new();
        for name in self.volume.list(&format!("{shard:02x}"))? {
            let mut key = Key::default();
            if const_hex::decode_to_slice(&name, &mut key).is_ok() && key[0] == shard {
                keys.insert(key);
            }
        }
        let doubted = self.index.beginning_with(shard).into_iter().filter(|(_, entry)| !entry.is_confirmed);
        keys.extend(doubted.map(|(key, _)| key));
        for key in keys {
            self.check(&key)?;
        }
        self.unchecked.remove(shard);
        Ok(())
    }

    /// Whether there may be a file that nobody knows of. Doesn't block.
    pub fn may_be_unknown(&self, key: &Key) -> bool {
        self.unchecked.contains(key[0])
    }

    /// As [`Self::check_shard`], for one file.
    ///
    /// # Errors
    /// The file system says no.
    pub fn check(&self, key: &Key) -> io::Result<()> {
        let _stripe = self.stripe(key);
        let known = self.index.peek(key);
        if known.is_some_and(|entry| entry.is_confirmed) {
            return Ok(());
        }
        let stat = match self.volume.stat(&name(key)) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(key);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match known {
            Some(entry) if entry.size_bytes == stat.size_bytes => {
                self.confirm(key, entry.seal.filter(|seal| seal.modified == stat.modified));
            }
            _ => self.know(*key, Entry { size_bytes: stat.size_bytes, seal: None, is_confirmed: true }),
        }
        Ok(())
    }
}
