//! Keeping the cache within its bound, the least recently used going first, without a look at the whole cache at start.
//!
//! Sizes are counted per shard (the 256 directories that the first byte of a hash names). What was counted last is kept in
//! a file; without it, a thread counts in the background as soon as something is stored. When the total passes the bound,
//! the shards that were stored to give up their oldest files: hashes spread evenly, so the oldest of a shard are about
//! the oldest of all. A small cache is ordered as a whole, since there evenly is not yet true.

use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

/// The shards: one for each value of a hash's first byte.
const SHARDS: usize = 256;

/// The file that keeps the sizes.
const USAGE_FILE: &str = "usage";

/// A cache with a bound up to this many bytes is ordered as a whole.
const ORDERED_WHOLE_BYTES: u64 = 256 * 1024 * 1024;

/// The part of its bound to which the cache is emptied once it has passed it, in percent.
const EMPTIED_PERCENT: u64 = 95;

/// What file systems take for a file besides its content, on average, in bytes.
const BLOCK_SIZE_BYTES: u64 = 512;

/// The sizes, and the work that keeps them small.
#[derive(Debug)]
pub(super) struct Eviction {
    root: PathBuf,
    limit_bytes: AtomicU64,
    shards: Vec<AtomicI64>,
    total: AtomicI64,
    is_counted: AtomicBool,
    // One eviction or count at a time; held by the background thread for as long as it works.
    working: Mutex<()>,
    // Threads in the background, so that a test can wait for them.
    threads: AtomicUsize,
}

struct Candidate {
    path: PathBuf,
    used: SystemTime,
    size_bytes: u64,
}

impl Eviction {
    pub(super) fn new(root: &Path, limit_bytes: u64) -> Self {
        let eviction = Self {
            root: root.to_owned(),
            limit_bytes: AtomicU64::new(limit_bytes),
            shards: (0..SHARDS).map(|_| AtomicI64::new(0)).collect(),
            total: AtomicI64::new(0),
            is_counted: AtomicBool::new(false),
            working: Mutex::default(),
            threads: AtomicUsize::new(0),
        };
        if let Some(sizes) = read_usage(&root.join(USAGE_FILE)) {
            for (shard, size) in eviction.shards.iter().zip(&sizes) {
                shard.store(*size, Ordering::Relaxed);
            }
            eviction.total.store(sizes.iter().sum(), Ordering::Relaxed);
            eviction.is_counted.store(true, Ordering::Release);
            // A daemon that is killed leaves no file rather than an old one.
            let _ = fs::remove_file(root.join(USAGE_FILE));
        }
        eviction
    }

    /// Changes the bound; what passes it goes when something is stored next.
    pub(super) fn set_limit(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Notes a new file, and evicts in the background where the bound is passed.
    pub(super) fn added(self: &Arc<Self>, path: &Path, size_bytes: u64) {
        let Some(shard) = shard_of(path) else { return };
        self.change(shard, stored_size(size_bytes) as i64);
        let is_over = self.total.load(Ordering::Relaxed) > self.limit_bytes() as i64;
        if is_over || !self.is_counted.load(Ordering::Acquire) {
            self.work_in_background(shard);
        }
    }

    #[cfg(test)]
    pub(super) fn usage_bytes(&self) -> Option<u64> {
        self.is_counted.load(Ordering::Acquire).then(|| self.total.load(Ordering::Relaxed).max(0) as u64)
    }

    pub(super) fn remember(&self) {
        if !self.is_counted.load(Ordering::Acquire) {
            return;
        }
        let bytes: Vec<u8> = self.shards.iter().flat_map(|shard| shard.load(Ordering::Relaxed).to_le_bytes()).collect();
        // Without the file, the next daemon counts.
        let _ = fs::write(self.root.join(USAGE_FILE), bytes);
    }

    fn change(&self, shard: usize, by: i64) {
        self.shards[shard].fetch_add(by, Ordering::Relaxed);
        self.total.fetch_add(by, Ordering::Relaxed);
    }

    fn work_in_background(self: &Arc<Self>, shard: usize) {
        if self.threads.fetch_add(1, Ordering::AcqRel) > 0 {
            // Somebody is at it, and looks at the total again before ending.
            self.threads.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let eviction = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("cache-eviction".to_owned()).spawn(move || {
            eviction.work(shard);
            eviction.threads.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            self.threads.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn work(&self, shard: usize) {
        let _working = self.working.lock();
        if !self.is_counted.load(Ordering::Acquire) {
            self.count();
        }
        if self.total.load(Ordering::Relaxed) <= self.limit_bytes() as i64 {
            return;
        }
        if self.limit_bytes() <= ORDERED_WHOLE_BYTES {
            self.evict_oldest((0..SHARDS).collect(), 0);
            return;
        }
        let floor_bytes = self.limit_bytes() / SHARDS as u64 * EMPTIED_PERCENT / 100;
        for shard in (shard..SHARDS).chain(0..shard) {
            self.evict_oldest(vec![shard], floor_bytes);
            if self.is_emptied() {
                return;
            }
        }
    }

    fn is_emptied(&self) -> bool {
        self.total.load(Ordering::Relaxed) <= (self.limit_bytes() / 100 * EMPTIED_PERCENT) as i64
    }

    /// Removes the oldest files of `shards` until the cache is emptied enough or they hold no more than `floor_bytes`.
    fn evict_oldest(&self, shards: Vec<usize>, floor_bytes: u64) {
        let mut candidates: Vec<(usize, Candidate)> = Vec::new();
        for shard in shards {
            candidates.extend(list(&self.shard_path(shard)).into_iter().map(|candidate| (shard, candidate)));
        }
        let mut held: u64 = candidates.iter().map(|(_, candidate)| stored_size(candidate.size_bytes)).sum();
        candidates.sort_by_key(|(_, candidate)| candidate.used);
        for (shard, candidate) in candidates {
            if held <= floor_bytes || self.is_emptied() {
                return;
            }
            if fs::remove_file(&candidate.path).is_ok() {
                let size = stored_size(candidate.size_bytes);
                held -= size;
                self.change(shard, -(size as i64));
            }
        }
    }

    fn count(&self) {
        for shard in 0..SHARDS {
            let size: u64 =
                list(&self.shard_path(shard)).iter().map(|candidate| stored_size(candidate.size_bytes)).sum();
            let before = self.shards[shard].swap(size as i64, Ordering::Relaxed);
            self.total.fetch_add(size as i64 - before, Ordering::Relaxed);
        }
        self.is_counted.store(true, Ordering::Release);
    }

    fn shard_path(&self, shard: usize) -> PathBuf {
        self.root.join(format!("{shard:02x}"))
    }

    /// Does in this thread what the background has to do.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.work(0);
    }
}

fn stored_size(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(BLOCK_SIZE_BYTES)
}

fn shard_of(path: &Path) -> Option<usize> {
    usize::from_str_radix(path.parent()?.file_name()?.to_str()?, 16).ok().filter(|shard| *shard < SHARDS)
}

fn list(directory: &Path) -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(Candidate { path: entry.path(), used: metadata.modified().ok()?, size_bytes: metadata.len() })
        })
        .collect()
}

fn read_usage(path: &Path) -> Option<Vec<i64>> {
    let content = fs::read(path).ok()?;
    let sizes: Vec<i64> =
        content.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok().map(i64::from_le_bytes)).collect();
    (content.len() == SHARDS * 8 && sizes.iter().all(|size| *size >= 0)).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_survive_a_daemon_and_are_counted_without_one() {
        let scratch = tempfile::tempdir().expect("scratch");
        let shard = scratch.path().join("a7");
        fs::create_dir(&shard).expect("created");
        fs::write(shard.join("x.entry"), [0; 1000]).expect("written");
        let first = Arc::new(Eviction::new(scratch.path(), 1 << 20));
        assert_eq!(first.usage_bytes(), None);
        first.settle();
        assert_eq!(first.usage_bytes(), Some(1024));
        first.remember();
        let second = Eviction::new(scratch.path(), 1 << 20);
        assert_eq!(second.usage_bytes(), Some(1024));
        // The second ends without remembering, as if killed: what the first knew is not believed again.
        assert_eq!(Eviction::new(scratch.path(), 1 << 20).usage_bytes(), None);
    }
}
