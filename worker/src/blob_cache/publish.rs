//! How a blob comes to be under its name: written to a temporary file, given its mode and time, then linked.

use super::BlobCache;
use super::index::Lookup;
use crate::directories::Content;
use anyhow::Context as _;
use pumphouse_proto::cas::Appearance;
use pumphouse_proto::cas_client::Verifier;
use pumphouse_proto::digest::Digest;
use rustix::fs::{Mode, Timespec, Timestamps};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// When every input was last modified, in seconds since 1970: always the same, so that nothing can depend on it.
const INPUT_TIME_SECONDS: i64 = 1_000_000_000;

/// How many blobs' worth of room is made when the disk is full, times the blob's own size.
const ROOM_FACTOR: u64 = 16;

/// A file that removes itself unless it has been linked and forgotten.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl BlobCache {
    /// A name for a new file on the cache's file system.
    pub(super) fn temporary(&self) -> Temporary {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        Temporary(self.dir.join("tmp").join(number.to_string()))
    }

    /// Stores bytes that were verified against `content`.
    pub(super) fn store(&self, content: Content, bytes: &[u8]) -> anyhow::Result<()> {
        let temporary = self.temporary();
        let write = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary.path())?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = match write() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let _ = fs::remove_file(temporary.path());
                self.make_room(content);
                write()
            }
            outcome => outcome,
        };
        let file = file.with_context(|| format!("writing blob {}", content.digest))?;
        self.publish(content, &file, temporary.path())
    }

    /// Takes over a temporary file whose bytes were verified against `content`.
    pub(super) fn adopt(&self, content: Content, temporary: &Temporary) -> anyhow::Result<()> {
        let file = File::open(temporary.path()).with_context(|| format!("opening blob {}", content.digest))?;
        self.publish(content, &file, temporary.path())
    }

    /// Finds out which of `contents` need the network: not those whose file of an earlier run is intact, and not those
    /// that are here with other execute bits.
    pub(super) fn take_from_disk(&self, contents: &[Content]) -> anyhow::Result<Vec<Content>> {
        let mut absent = Vec::new();
        for &content in contents {
            let other = Content { is_executable: !content.is_executable, ..content };
            let (own, others) = {
                let index = self.lock();
                (index.lookup(content), index.lookup(other))
            };
            if own == Lookup::Present
                || own == Lookup::Unverified && self.verify(content)
                || others == Lookup::Present && self.copy(other, content)?
            {
                continue;
            }
            absent.push(content);
        }
        Ok(absent)
    }

    /// Removes the files of what the index has given up. The caller has let go of the lock for a moment: a blob that
    /// came back meanwhile keeps its file.
    pub(super) fn evict(&self, victims: &[Content]) {
        if victims.is_empty() {
            return;
        }
        let index = self.lock();
        let in_flight = self.in_flight.lock();
        for victim in victims {
            if index.lookup(*victim) == Lookup::Absent && !in_flight.contains(victim) {
                let _ = fs::remove_file(self.path(victim));
            }
        }
    }

    fn publish(&self, content: Content, file: &File, temporary: &Path) -> anyhow::Result<()> {
        content.dress(file)?;
        let path = self.path(&content);
        // Nobody else publishes this blob now, so a file that has its name is an unverified one of an earlier run.
        match fs::hard_link(temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::rename(temporary, &path).with_context(|| format!("replacing {}", path.display()))?;
            }
            outcome => outcome.with_context(|| format!("publishing {}", path.display()))?,
        }
        let victims = self.lock().insert(content);
        self.evict(&victims);
        Ok(())
    }

    /// Hashes a file of an earlier run; one that is damaged is removed.
    fn verify(&self, content: Content) -> bool {
        let is_intact = matches_file(content.digest, &self.path(&content)).unwrap_or(false);
        if is_intact {
            let victims = self.lock().insert(content);
            self.evict(&victims);
        } else {
            self.forget(content);
        }
        is_intact
    }

    /// Makes a copy with other execute bits; false where the source has just been evicted.
    fn copy(&self, source: Content, target: Content) -> anyhow::Result<bool> {
        let temporary = self.temporary();
        match fs::copy(self.path(&source), temporary.path()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("copying blob {}", source.digest)),
        }
        self.adopt(target, &temporary)?;
        Ok(true)
    }

    fn make_room(&self, content: Content) {
        let victims = self.lock().make_room(content.digest.size_bytes().saturating_mul(ROOM_FACTOR));
        self.evict(&victims);
    }
}

impl Content {
    /// What its file shows to those who look.
    pub(super) fn appearance(self) -> Appearance {
        let mode = if self.is_executable { 0o555 } else { 0o444 };
        Appearance { mode, modified_seconds: INPUT_TIME_SECONDS as u64 }
    }

    /// Gives a file of the worker's own that appearance.
    pub(super) fn dress(self, file: &File) -> anyhow::Result<()> {
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.appearance().mode)).context("setting a blob's mode")?;
        rustix::fs::futimens(file, &fixed_time(0)).context("setting a blob's time")
    }
}

/// The time of modification of an input; `ordinal` tells files of equal content apart.
pub(crate) fn fixed_time(ordinal: u32) -> Timestamps {
    let time = Timespec { tv_sec: INPUT_TIME_SECONDS + i64::from(ordinal), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn matches_file(digest: Digest, path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut verifier = Verifier::new(digest);
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(verifier.finish().is_ok()),
            length if verifier.add(&piece[..length]).is_err() => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Arc;
    use tempfile::TempDir;

    fn content(bytes: &[u8]) -> Content {
        Content { digest: Digest::of(bytes), is_executable: false }
    }

    fn executable(bytes: &[u8]) -> Content {
        Content { is_executable: true, ..content(bytes) }
    }

    fn open(dir: &TempDir, limit_bytes: u64) -> Arc<BlobCache> {
        BlobCache::open(dir.path(), limit_bytes, None).expect("opened")
    }

    #[test]
    fn blobs_are_published_read_only_with_a_fixed_time() {
        let dir = TempDir::new().expect("a scratch directory");
        let cache = open(&dir, 1 << 20);
        for (blob, mode) in [(content(b"blob"), 0o444), (executable(b"blob"), 0o555)] {
            cache.store(blob, b"blob").expect("stored");
            let metadata = fs::metadata(cache.path(&blob)).expect("there");
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, INPUT_TIME_SECONDS));
        }
        assert_eq!(fs::read_dir(dir.path().join("tmp")).expect("readable").count(), 0);
    }

    #[test]
    fn blobs_of_an_earlier_run_are_used_if_they_are_intact() {
        let dir = TempDir::new().expect("a scratch directory");
        let (good, torn) = (content(b"good"), content(b"torn"));
        {
            let cache = open(&dir, 1 << 20);
            cache.store(good, b"good").expect("stored");
            cache.store(torn, b"torn").expect("stored");
            fs::remove_file(cache.path(&torn)).expect("removed");
            fs::write(cache.path(&torn), b"t\0\0\0").expect("written");
        }
        let cache = open(&dir, 1 << 20);
        cache.recover();
        assert_eq!(cache.take_from_disk(&[good, torn]).expect("read"), [torn]);
        assert!(!cache.path(&torn).exists(), "a damaged file goes at once");
        cache.store(torn, b"torn").expect("stored");
        assert_eq!(cache.take_from_disk(&[torn]).expect("read"), []);
    }

    #[test]
    fn the_other_execute_bits_are_made_from_what_is_here() {
        let dir = TempDir::new().expect("a scratch directory");
        let cache = open(&dir, 1 << 20);
        let (plain, executable) = (content(b"script"), executable(b"script"));
        cache.store(plain, b"script").expect("stored");
        assert_eq!(cache.take_from_disk(&[executable]).expect("copied"), []);
        let inode = |blob: &Content| fs::metadata(cache.path(blob)).expect("there").ino();
        assert_ne!(inode(&plain), inode(&executable));
    }

    #[test]
    fn what_is_evicted_leaves_the_disk() {
        let dir = TempDir::new().expect("a scratch directory");
        let cache = open(&dir, 2 * 4096);
        let blobs: Vec<(Content, Vec<u8>)> = (0..4_u8).map(|byte| (content(&[byte]), vec![byte])).collect();
        for (blob, bytes) in &blobs {
            cache.store(*blob, bytes).expect("stored");
        }
        let is_there: Vec<bool> = blobs.iter().map(|(blob, _)| cache.path(blob).exists()).collect();
        assert_eq!(is_there, [false, false, true, true]);
    }
}
