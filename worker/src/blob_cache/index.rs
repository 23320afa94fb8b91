//! Which blobs are on the disk, which of them are pinned, and which goes first.
//!
//! A core without I/O: the caller removes the files of what is evicted, while it still holds the index's lock.

use crate::directories::Content;
use std::collections::{BTreeMap, HashMap};

/// Files take whole blocks of the disk.
const BLOCK_SIZE_BYTES: u64 = 4096;

/// The blobs on the disk.
#[derive(Debug)]
pub(super) struct Index {
    entries: HashMap<Content, Entry>,
    /// What nobody pins, the least recently used first.
    evictable: BTreeMap<u64, Content>,
    clock: u64,
    size_bytes: u64,
    limit_bytes: u64,
    /// Larger ones are links, which take no room and go with their last pin.
    linked_above_bytes: u64,
}

/// What becomes of a blob's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Nobody pins the link any more, and the index has forgotten it.
    Goes,
}

#[derive(Debug)]
struct Entry {
    pins: u32,
    used: u64,
    /// Whether its bytes were compared with its name since this process started.
    is_verified: bool,
}

/// What is known of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// On the disk and verified.
    Present,
    /// A file of an earlier run has its name.
    Unverified,
    /// Not on the disk as far as is known.
    Absent,
}

/// Where a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This process, which has verified it.
    Verified,
    EarlierRun,
}

impl Index {
    pub(super) fn new(limit_bytes: u64, linked_above_bytes: u64) -> Self {
        Self {
            entries: HashMap::new(),
            evictable: BTreeMap::new(),
            clock: 0,
            size_bytes: 0,
            limit_bytes,
            linked_above_bytes,
        }
    }

    /// Pins a blob if it is present.
    pub(super) fn pin(&mut self, content: Content) -> Lookup {
        let lookup = self.lookup(content);
        if lookup == Lookup::Present
            && let Some(entry) = self.entries.get_mut(&content)
        {
            if entry.pins == 0 {
                self.evictable.remove(&entry.used);
            }
            entry.pins += 1;
        }
        lookup
    }

    /// Gives a pin back.
    #[must_use]
    pub(super) fn unpin(&mut self, content: Content) -> Fate {
        let Some(entry) = self.entries.get_mut(&content) else { return Fate::Stays };
        entry.pins = entry.pins.saturating_sub(1);
        if entry.pins > 0 {
            return Fate::Stays;
        }
        if content.digest.size_bytes() > self.linked_above_bytes {
            self.entries.remove(&content);
            return Fate::Goes;
        }
        self.clock += 1;
        entry.used = self.clock;
        self.evictable.insert(entry.used, content);
        Fate::Stays
    }

    /// Makes every link be compared with its blob again before its next use.
    pub(super) fn doubt_links(&mut self) {
        for (content, entry) in &mut self.entries {
            entry.is_verified &= content.digest.size_bytes() <= self.linked_above_bytes;
        }
    }

    pub(super) fn lookup(&self, content: Content) -> Lookup {
        match self.entries.get(&content) {
            Some(entry) if entry.is_verified => Lookup::Present,
            Some(_) => Lookup::Unverified,
            None => Lookup::Absent,
        }
    }

    /// Takes in a blob whose verified file has its name by now, and gives those to evict for it.
    #[must_use]
    pub(super) fn insert(&mut self, content: Content) -> Vec<Content> {
        if let Some(entry) = self.entries.get_mut(&content) {
            entry.is_verified = true;
            return Vec::new();
        }
        self.add(content, Origin::Verified)
    }

    /// Takes in a file of an earlier run.
    #[must_use]
    pub(super) fn recover(&mut self, content: Content) -> Vec<Content> {
        if self.entries.contains_key(&content) { Vec::new() } else { self.add(content, Origin::EarlierRun) }
    }

    pub(super) fn forget(&mut self, content: Content) {
        if let Some(entry) = self.entries.remove(&content) {
            self.size_bytes -= self.footprint(content);
            if entry.pins == 0 {
                self.evictable.remove(&entry.used);
            }
        }
    }

    /// Gives blobs to evict so that `size_bytes` more can be had, whatever the limit says.
    #[must_use]
    pub(super) fn make_room(&mut self, size_bytes: u64) -> Vec<Content> {
        let target = self.size_bytes.saturating_sub(size_bytes);
        self.shrink_to(target)
    }

    /// Adds what is not there yet.
    fn add(&mut self, content: Content, origin: Origin) -> Vec<Content> {
        let is_verified = origin == Origin::Verified;
        self.clock += 1;
        self.entries.insert(content, Entry { pins: 0, used: self.clock, is_verified });
        self.evictable.insert(self.clock, content);
        self.size_bytes += self.footprint(content);
        let mut victims = self.shrink_to(self.limit_bytes);
        // What has just arrived is wanted by somebody who is about to pin it.
        if let Some(position) = victims.iter().position(|victim| *victim == content) {
            victims.remove(position);
            self.entries.insert(content, Entry { pins: 0, used: self.clock, is_verified });
            self.evictable.insert(self.clock, content);
            self.size_bytes += self.footprint(content);
        }
        victims
    }

    fn shrink_to(&mut self, target_bytes: u64) -> Vec<Content> {
        let mut victims = Vec::new();
        while self.size_bytes > target_bytes {
            let Some((_, victim)) = self.evictable.pop_first() else { break };
            self.entries.remove(&victim);
            self.size_bytes -= self.footprint(victim);
            victims.push(victim);
        }
        victims
    }

    /// What a blob takes of the limit.
    fn footprint(&self, content: Content) -> u64 {
        let size_bytes = content.digest.size_bytes();
        if size_bytes > self.linked_above_bytes { 0 } else { size_bytes.next_multiple_of(BLOCK_SIZE_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::digest::Digest;

    fn content(text: &str) -> Content {
        Content { digest: Digest::of(text.as_bytes()), is_executable: false }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_pinned_stay() {
        let mut index = Index::new(3 * BLOCK_SIZE_BYTES, u64::MAX);
        for text in ["a", "b", "c"] {
            assert_eq!(index.insert(content(text)), []);
        }
        assert_eq!(index.pin(content("a")), Lookup::Present);
        assert_eq!(index.insert(content("d")), [content("b")]);
        assert_eq!(index.unpin(content("a")), Fate::Stays);
        assert_eq!(index.insert(content("e")), [content("c")]);
        assert_eq!(index.insert(content("f")), [content("d")], "a was used after d came");
        assert_eq!(index.lookup(content("a")), Lookup::Present);
    }

    #[test]
    fn only_pins_exceed_the_limit() {
        let mut index = Index::new(BLOCK_SIZE_BYTES, u64::MAX);
        for text in ["a", "b"] {
            assert_eq!(index.insert(content(text)), []);
            assert_eq!(index.pin(content(text)), Lookup::Present);
        }
        assert_eq!(index.size_bytes, 2 * BLOCK_SIZE_BYTES);
        assert_eq!(index.insert(content("c")), [], "what has just arrived stays until the next arrives");
        assert_eq!(index.unpin(content("a")), Fate::Stays);
        assert_eq!(index.insert(content("d")), [content("c"), content("a")]);
    }

    #[test]
    fn files_of_an_earlier_run_are_not_trusted() {
        let mut index = Index::new(10 * BLOCK_SIZE_BYTES, u64::MAX);
        assert_eq!(index.recover(content("a")), []);
        assert_eq!(index.pin(content("a")), Lookup::Unverified);
        assert_eq!(index.insert(content("a")), []);
        assert_eq!(index.pin(content("a")), Lookup::Present);
        assert_eq!(index.recover(content("a")), []);
        assert_eq!(index.lookup(content("a")), Lookup::Present);
        assert_eq!(index.size_bytes, BLOCK_SIZE_BYTES);
        assert_eq!(index.make_room(1), [], "pinned");
    }

    #[test]
    fn links_take_no_room_and_go_with_their_last_pin() {
        let mut index = Index::new(BLOCK_SIZE_BYTES, 3);
        let (small, link) = (content("abc"), content("a link"));
        assert_eq!(index.insert(small), []);
        assert_eq!(index.insert(link), []);
        for _ in 0..2 {
            assert_eq!(index.pin(link), Lookup::Present);
        }
        assert_eq!(index.size_bytes, BLOCK_SIZE_BYTES);
        assert_eq!(index.unpin(link), Fate::Stays);
        index.doubt_links();
        assert_eq!((index.lookup(link), index.lookup(small)), (Lookup::Unverified, Lookup::Present));
        assert_eq!(index.insert(link), [], "made anew");
        assert_eq!(index.lookup(link), Lookup::Present);
        assert_eq!(index.unpin(link), Fate::Goes);
        assert_eq!((index.lookup(link), index.lookup(small)), (Lookup::Absent, Lookup::Present));
        assert_eq!(index.size_bytes, BLOCK_SIZE_BYTES);
    }
}
