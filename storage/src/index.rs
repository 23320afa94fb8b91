//! Which files a directory holds, in memory, in the order of their last use.
//!
//! Sharded by hash; each shard is a table into a slab whose nodes form a list from the most to the least recently
//! used. A use within [`RESOLUTION_SECONDS`] of the last one changes nothing, which keeps hot files cheap.
//! Some 80 bytes a file. Knows neither files nor clocks.

use crate::record::{Entry, Key, Place, Record, Seal};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many locks the index has.
const SHARDS: usize = 64;

/// How precise the order of use is.
pub(crate) const RESOLUTION_SECONDS: u32 = 60;

/// No node.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    key: Key,
    size_bytes: u64,
    /// The seal's time, 0 where there is none: an `Option` would take a word more for each file.
    modified: u64,
    sum: u64,
    used: u32,
    newer: u32,
    older: u32,
    is_confirmed: bool,
}

impl Node {
    fn new(key: Key, entry: Entry, used: u32) -> Self {
        let Seal { modified, sum } = entry.seal.unwrap_or(Seal { modified: 0, sum: 0 });
        let Entry { size_bytes, is_confirmed, .. } = entry;
        Self { key, size_bytes, modified, sum, used, newer: NIL, older: NIL, is_confirmed }
    }

    fn entry(&self) -> Entry {
        let seal = (self.modified != 0).then_some(Seal { modified: self.modified, sum: self.sum });
        Entry { size_bytes: self.size_bytes, seal, is_confirmed: self.is_confirmed }
    }
}

#[derive(Debug)]
struct Shard {
    table: HashTable<u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
}

/// All files of a directory.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    size_bytes: AtomicU64,
    len: AtomicUsize,
}

impl Default for Index {
    fn default() -> Self {
        let shard = || Shard { table: HashTable::new(), nodes: Vec::new(), free: Vec::new(), newest: NIL, oldest: NIL };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::default(),
            size_bytes: AtomicU64::new(0),
            len: AtomicUsize::new(0),
        }
    }
}

impl Index {
    /// The bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// The number of files.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// What is known of `key`, without counting as a use.
    pub(crate) fn peek(&self, key: &Key) -> Option<Entry> {
        let shard = self.shard(key);
        shard.find(key, self.hash(key)).map(|node| shard.nodes[node as usize].entry())
    }

    /// What is known of `key`, which is used now; adds what the journal must know to `records`.
    pub(crate) fn touch(&self, key: &Key, now: u32, records: &mut Vec<Record>) -> Option<Entry> {
        let hash = self.hash(key);
        let mut shard = self.shard(key);
        let node = shard.find(key, hash)?;
        let entry = shard.nodes[node as usize].entry();
        if now.saturating_sub(shard.nodes[node as usize].used) >= RESOLUTION_SECONDS {
            shard.unlink(node);
            shard.push_newest(node);
            shard.nodes[node as usize].used = now;
            records.push(Record::Used(*key, entry, now));
        }
        Some(entry)
    }

    /// Enters or replaces a file, as the most recently used.
    pub(crate) fn insert(&self, key: Key, entry: Entry, now: u32) {
        let hash = self.hash(&key);
        let mut shard = self.shard(&key);
        if let Some(node) = shard.find(&key, hash) {
            shard.unlink(node);
            let replaced = std::mem::replace(&mut shard.nodes[node as usize], Node::new(key, entry, now));
            shard.push_newest(node);
            self.size_bytes.fetch_sub(replaced.size_bytes, Ordering::Relaxed);
        } else {
            let node = shard.allocate(Node::new(key, entry, now));
            shard.push_newest(node);
            let Shard { table, nodes, .. } = &mut *shard;
            table.insert_unique(hash, node, |node| self.hash(&nodes[*node as usize].key));
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        self.size_bytes.fetch_add(entry.size_bytes, Ordering::Relaxed);
    }

    /// Notes that a file is there and what seal its content has; gives what the journal must know. What is packed meanwhile, or
    /// packed elsewhere, stays as it is.
    pub(crate) fn confirm(&self, key: &Key, seal: Option<Seal>) -> Option<Record> {
        let hash = self.hash(key);
        let mut shard = self.shard(key);
        let node = shard.find(key, hash)?;
        let node = &mut shard.nodes[node as usize];
        if node.entry().place() != seal.as_ref().and_then(Seal::place) {
            return None;
        }
        let confirmed = Entry { seal, is_confirmed: true, ..node.entry() };
        let is_news = node.entry().seal != seal;
        *node = Node { newer: node.newer, older: node.older, ..Node::new(*key, confirmed, node.used) };
        is_news.then_some(Record::Used(*key, confirmed, node.used))
    }

    /// Removes a file.
    pub(crate) fn remove(&self, key: &Key) -> Option<Entry> {
        self.remove_if(key, |_| true)
    }

    /// Removes a file, unless it was used since.
    pub(crate) fn remove_unused(&self, key: &Key, used: u32) -> Option<Entry> {
        self.remove_if(key, |node| node.used == used)
    }

    fn remove_if(&self, key: &Key, is_meant: impl Fn(&Node) -> bool) -> Option<Entry> {
        let hash = self.hash(key);
        let mut shard = self.shard(key);
        let Shard { table, nodes, .. } = &mut *shard;
        let is_sought = |node: &u32| nodes[*node as usize].key == *key && is_meant(&nodes[*node as usize]);
        let (node, _) = table.find_entry(hash, is_sought).ok()?.remove();
        shard.unlink(node);
        shard.free.push(node);
        let entry = shard.nodes[node as usize].entry();
        self.size_bytes.fetch_sub(entry.size_bytes, Ordering::Relaxed);
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    /// Doubts of every file that it is there.
    pub(crate) fn doubt_all(&self) {
        for shard in &self.shards {
            shard.lock().nodes.iter_mut().for_each(|node| node.is_confirmed = false);
        }
    }

    /// The files whose names begin with `byte`.
    pub(crate) fn beginning_with(&self, byte: u8) -> Vec<(Key, Entry)> {
        let shard = self.shards[usize::from(byte) % SHARDS].lock();
        let nodes = shard.table.iter().map(|node| &shard.nodes[*node as usize]);
        nodes.filter(|node| node.key[0] == byte).map(|node| (node.key, node.entry())).collect()
    }

    /// The least recently used file and when it was used.
    pub(crate) fn oldest(&self) -> Option<(Key, u32)> {
        let oldest_of = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.nodes.get(shard.oldest as usize).map(|node| (node.key, node.used))
        };
        self.shards.iter().filter_map(oldest_of).min_by_key(|(_, used)| *used)
    }

    /// Gives each shard's files, the least recently used first, one shard at a time.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Vec<Record>> + '_ {
        self.shards.iter().map(|shard| {
            let shard = shard.lock();
            let mut records = Vec::with_capacity(shard.table.len());
            let mut node = shard.oldest;
            while let Some(next) = shard.nodes.get(node as usize) {
                records.push(Record::Present(next.key, next.entry(), next.used));
                node = next.newer;
            }
            records
        })
    }

    /// The places of all that is packed.
    pub(crate) fn places(&self) -> Vec<Place> {
        let places = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let nodes = shard.table.iter().map(|node| shard.nodes[*node as usize].entry());
            nodes.filter_map(|entry| entry.place()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(places).collect()
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(key[0]) % SHARDS].lock()
    }

    /// Keyed, so that nobody can choose contents whose names collide.
    fn hash(&self, key: &Key) -> u64 {
        let (_, last) = key.split_last_chunk::<8>().expect("a key has more than 8 bytes");
        self.hasher.hash_one(last)
    }
}

impl Shard {
    fn find(&self, key: &Key, hash: u64) -> Option<u32> {
        self.table.find(hash, |node| self.nodes[*node as usize].key == *key).copied()
    }

    fn allocate(&mut self, node: Node) -> u32 {
        if let Some(free) = self.free.pop() {
            self.nodes[free as usize] = node;
            return free;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("a shard holds fewer than 2^32 files")
    }

    fn push_newest(&mut self, node: u32) {
        let newest = std::mem::replace(&mut self.newest, node);
        self.nodes[node as usize].older = newest;
        self.nodes[node as usize].newer = NIL;
        match self.nodes.get_mut(newest as usize) {
            Some(second) => second.newer = node,
            None => self.oldest = node,
        }
    }

    fn unlink(&mut self, node: u32) {
        let Node { newer, older, .. } = self.nodes[node as usize];
        match self.nodes.get_mut(newer as usize) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        let mut key = [0; 32];
        (key[0], key[31]) = (number, number);
        key
    }

    fn entry(size_bytes: u64) -> Entry {
        Entry { size_bytes, seal: Some(Seal { modified: 1, sum: 2 }), is_confirmed: true }
    }

    #[test]
    fn the_least_recently_used_is_the_oldest() {
        let index = Index::default();
        for number in 0..100 {
            index.insert(key(number), entry(2), u32::from(number));
        }
        assert_eq!((index.len(), index.size_bytes()), (100, 200));
        assert_eq!(index.oldest(), Some((key(0), 0)));
        let mut records = Vec::new();
        assert_eq!(index.touch(&key(0), RESOLUTION_SECONDS - 1, &mut records), Some(entry(2)));
        assert!(records.is_empty(), "a use within the resolution is no news");
        index.touch(&key(0), 200, &mut records);
        assert_eq!(records.len(), 1);
        assert_eq!(index.oldest(), Some((key(1), 1)));
        for number in 1..100 {
            assert_eq!(index.oldest(), Some((key(number), u32::from(number))));
            assert_eq!(index.remove(&key(number)), Some(entry(2)));
        }
        assert_eq!(index.oldest(), Some((key(0), 200)));
        assert_eq!(index.remove(&key(0)), Some(entry(2)));
        assert_eq!(index.remove(&key(0)), None);
        assert_eq!((index.len(), index.size_bytes(), index.oldest()), (0, 0, None));
    }

    #[test]
    fn replacing_a_file_replaces_its_size() {
        let index = Index::default();
        index.insert(key(1), entry(10), 0);
        index.insert(key(1), entry(3), 1);
        assert_eq!((index.len(), index.size_bytes()), (1, 3));
        assert_eq!(index.oldest(), Some((key(1), 1)));
    }

    #[test]
    fn a_file_that_was_used_meanwhile_stays() {
        let index = Index::default();
        index.insert(key(1), entry(10), 0);
        index.touch(&key(1), 100, &mut Vec::new());
        assert_eq!(index.remove_unused(&key(1), 0), None);
        assert_eq!(index.remove_unused(&key(1), 100), Some(entry(10)));
    }

    #[test]
    fn what_is_doubted_is_confirmed_again() {
        let index = Index::default();
        index.insert(key(1), entry(10), 5);
        index.insert(key(2), entry(20), 6);
        assert_eq!(index.confirm(&key(1), entry(10).seal), None, "no news");
        index.doubt_all();
        assert!(!index.peek(&key(1)).expect("there").is_certain());
        assert_eq!(index.confirm(&key(1), entry(10).seal), None, "the journal says so already");
        assert_eq!(index.peek(&key(1)), Some(entry(10)));
        assert_eq!(index.oldest(), Some((key(1), 5)), "that is no use");
        assert!(index.confirm(&key(2), None).is_some());
        assert!(!index.peek(&key(2)).expect("there").is_certain());
        assert_eq!((index.len(), index.size_bytes()), (2, 30));
    }

    #[test]
    fn slots_are_used_again() {
        let index = Index::default();
        for round in 0..1_000_u32 {
            index.insert(key(7), entry(1), round);
            index.remove(&key(7));
        }
        assert_eq!(index.shard(&key(7)).nodes.len(), 1);
    }
}
