//! Contents that are small enough to be packed: stored and read whole.

use super::{Directory, name};
use crate::error::StorageError;
use crate::packs::{Content, PACKED_SIZE_BYTES, Packs};
use crate::record::{Entry, Key, Place, Seal};
use crate::sum::Sum;
use crate::volume::{Volume, VolumeFile as _};
use std::io;

/// How often a content is read anew that was replaced while it was read.
const READ_ATTEMPTS: usize = 8;

/// What was found where a packed content should be.
#[derive(Debug)]
pub(crate) enum Packed {
    /// The content, compared with its sum.
    Whole(Vec<u8>),
    /// Something else, though it was whole in this boot of the machine: it has rotted.
    Rotten(Place),
    /// Something else, which may never have been whole.
    Torn(Place),
    /// Nothing is packed under that name (any more).
    Gone,
}

impl<V: Volume> Directory<V> {
    /// Whether a content of that size is packed. None is where its room would come back only with the whole pack's.
    pub fn packs(&self, size_bytes: u64) -> bool {
        size_bytes <= PACKED_SIZE_BYTES as u64 && self.volume.punches()
    }

    /// Stores a small content that was compared with its name, unless one of that name is there for certain.
    ///
    /// # Errors
    /// There is no room, or the file system says no.
    pub fn publish_content(&self, key: &Key, content: &[u8]) -> Result<(), StorageError> {
        self.store_contents(&[(*key, content)], Entry::is_certain)
    }

    /// As [`Self::publish_content`], many of them at once: all are stored, or none.
    ///
    /// # Errors
    /// There is no room, or the file system says no.
    pub fn publish_contents(&self, contents: &[(Key, &[u8])]) -> Result<(), StorageError> {
        self.store_contents(contents, Entry::is_certain)
    }

    /// Stores a small content in place of the one that has its name, if any.
    ///
    /// # Errors
    /// There is no room, or the file system says no.
    pub fn replace_content(&self, key: &Key, content: &[u8]) -> Result<(), StorageError> {
        self.store_contents(&[(*key, content)], |_| false)
    }

    fn store_contents(&self, contents: &[(Key, &[u8])], suffices: impl Fn(&Entry) -> bool) -> Result<(), StorageError> {
        let size_bytes = contents.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut reservation = self.reservation(size_bytes)?;
        self.reserve(&mut reservation, size_bytes)?;
        let contents = contents.iter().map(|(key, bytes)| Content { key: *key, bytes, sum: Sum::of(bytes) });
        let mut contents: &[Content<'_>] = &contents.collect::<Vec<_>>();
        while !contents.is_empty() {
            let (next, rest) = contents.split_at(Packs::<V>::fit_together(contents));
            let stored = self.packs.store(next);
            let places = stored.map_err(|error| self.write_error("write into", "packs", error))?;
            for (content, place) in next.iter().zip(places) {
                self.enter_packed(content, place, &suffices);
            }
            contents = rest;
        }
        Ok(())
    }

    /// Has a packed content be the one of its name, unless the one that is suffices.
    fn enter_packed(&self, content: &Content<'_>, place: Place, suffices: impl Fn(&Entry) -> bool) {
        let Content { key, bytes, sum } = content;
        let (name, size_bytes) = (name(key), bytes.len() as u64);
        let _stripe = self.stripe(key);
        let known = self.index.peek(key);
        if known.as_ref().is_some_and(suffices) {
            // Who stored it once more was promised as much.
            self.find_one(key);
            self.free(place, size_bytes);
            return;
        }
        self.enter(key, size_bytes, Seal::packed(place, *sum));
        // A file of the name is of no use any more, be it one that nobody knows of yet.
        let has_file = known.map_or_else(|| self.may_be_unknown(key), |known| known.place().is_none());
        if has_file {
            match self.volume.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, file = self.volume.place(&name), "cannot remove a file that was replaced");
                }
                _ => {}
            }
        }
    }

    /// The whole content that has a name, packed or not; `None` where there is none. A file's is not compared with anything.
    ///
    /// # Errors
    /// It is packed and corrupt, and counts as absent from now on; or the file system says no.
    pub fn content(&self, key: &Key) -> Result<Option<Vec<u8>>, StorageError> {
        let is_doubted = |entry: &Entry| !entry.is_confirmed;
        if self.index.peek(key).as_ref().is_none_or(is_doubted) && self.may_be_unknown(key) {
            self.check(key)?;
        }
        if let Some(entry) = self.index.peek(key).filter(|entry| entry.place().is_some()) {
            return match self.packed(key, entry)? {
                Packed::Whole(content) => Ok(Some(content)),
                Packed::Gone => self.content_of_file(key),
                Packed::Rotten(place) | Packed::Torn(place) => {
                    self.discard(key, place);
                    Ok(None)
                }
            };
        }
        self.content_of_file(key)
    }

    fn content_of_file(&self, key: &Key) -> Result<Option<Vec<u8>>, StorageError> {
        let Some((file, stat)) = self.read(key)? else { return Ok(None) };
        let mut content = vec![0; stat.size_bytes as usize];
        let read = file.read_full_at(&mut content, 0);
        let read = read.map_err(|error| self.io_error("read", &name(key), error))?;
        content.truncate(read);
        Ok(Some(content))
    }

    /// Has what is packed at a place, and is not what it should be, count as absent; not what may have come in its stead.
    pub(crate) fn discard(&self, key: &Key, place: Place) {
        let _stripe = self.stripe(key);
        if let Some(entry) = self.index.peek(key).filter(|entry| entry.place() == Some(place)) {
            self.forget(key);
            let file = self.volume.place(&name(key));
            tracing::error!(file, "a packed content is corrupt and counts as absent");
            self.free(place, entry.size_bytes);
        }
    }

    /// The content of an entry that is packed.
    ///
    /// # Errors
    /// The file system says no.
    pub(crate) fn packed(&self, key: &Key, entry: Entry) -> Result<Packed, StorageError> {
        let mut entry = entry;
        for _ in 0..READ_ATTEMPTS {
            let (Some(seal), Some(place)) = (entry.seal, entry.place()) else { return Ok(Packed::Gone) };
            let read = self.packs.read(place, entry.size_bytes);
            let read = read.map_err(|error| self.io_error("read", &name(key), error))?;
            if let Some((header, content)) = read
                && header.key == *key
                && Sum::of(&content) == seal.sum
            {
                if !entry.is_confirmed {
                    self.confirm(key, Some(seal));
                }
                return Ok(Packed::Whole(content));
            }
            // It may have been evicted or replaced while it was read.
            match self.index.peek(key) {
                Some(now) if now.place() == Some(place) => {
                    return Ok(if entry.is_confirmed { Packed::Rotten(place) } else { Packed::Torn(place) });
                }
                Some(now) => entry = now,
                None => return Ok(Packed::Gone),
            }
        }
        Ok(Packed::Gone)
    }
}
