//! The local cache: results of compiles by the digest of their action, in a directory that many daemons may share.
//!
//! An entry is one file that holds the `ActionResult` with its small outputs inside; a large output is a file of its own,
//! named by its digest. Both are published by `link` from a temporary file, never overwritten, and verified whenever they
//! are read: a corrupt one is removed, named in a warning, and is a miss.
//!
//! The cache knows nothing about compiles. What enters an action's digest decides what is the same; here, equal digests are
//! equal results.

mod entry;
mod eviction;

use crate::local::eviction::Eviction;
use crate::state_file;
use bytes::Bytes;
use pumphouse_proto::cas_client::Verifier;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use rustix::fs::{Timespec, Timestamps};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Outputs up to this size stand in the entry itself, in bytes.
pub const INLINE_OUTPUT_SIZE_BYTES: u64 = 512 * 1024;

/// How much older than now a file's recency may be before a use renews it: a write for every hit would cost more than
/// the precision is worth.
const RECENCY_GRAIN: Duration = Duration::from_secs(60);

/// How old a temporary file must be to be a crashed daemon's.
const ABANDONED_AGE: Duration = Duration::from_secs(60 * 60);

/// The directory of temporary files in the cache.
const TEMPORARY: &str = "tmp";

/// What blobs are read and copied by, in bytes.
const COPY_BUFFER_SIZE_BYTES: usize = 256 * 1024;

/// The cache. Every method blocks on the file system, and may be called from many threads.
#[derive(Debug)]
pub struct LocalCache {
    root: PathBuf,
    eviction: Arc<Eviction>,
}

/// What a look-up found.
#[derive(Debug)]
pub enum Lookup {
    /// The result; outputs up to [`INLINE_OUTPUT_SIZE_BYTES`] carry their contents, others their digest alone.
    Hit(Box<ActionResult>),
    /// Nothing.
    Miss,
    /// A file that was not what it must be, and is removed: the message names it.
    Corrupt(String),
}

/// What reading a blob found.
#[derive(Debug, PartialEq, Eq)]
pub enum BlobRead {
    /// It was copied and is verified.
    Copied,
    /// It is not there: evicted since its entry was written.
    Missing,
    /// It was not what its name says, and is removed: the message names it.
    Corrupt(String),
}

/// A large output to store beside an entry.
#[derive(Debug)]
pub struct LargeOutput<'a> {
    /// What it must be: a file that has changed is not stored.
    pub digest: Digest,
    /// Where it is.
    pub path: &'a Path,
}

impl LocalCache {
    /// The cache in the directory `root`, which is created, bounded to `limit_bytes`.
    ///
    /// # Errors
    /// The directory can't be created.
    pub fn open(root: &Path, limit_bytes: u64) -> io::Result<Self> {
        let temporary = root.join(TEMPORARY);
        state_file::create_private(&temporary)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", temporary.display())))?;
        remove_abandoned(&temporary);
        Ok(Self { root: root.to_owned(), eviction: Arc::new(Eviction::new(root, limit_bytes)) })
    }

    /// Changes the bound, which what is stored from then on keeps to.
    pub fn set_limit(&self, limit_bytes: u64) {
        self.eviction.set_limit(limit_bytes);
    }

    /// Looks for the result of `action`. Costs one open, one read and a SHA-256 over the compressed entry.
    pub fn lookup(&self, action: &Digest) -> Lookup {
        let path = self.entry_path(action);
        let Ok((mut file, metadata)) = open(&path) else { return Lookup::Miss };
        // The size is a hint, not a promise; the entry's own checksum decides.
        let mut content = Vec::with_capacity((metadata.len() as usize).min(entry::ENTRY_SIZE_LIMIT_BYTES) + 1);
        let read = (&mut file).take(entry::ENTRY_SIZE_LIMIT_BYTES as u64 + 1).read_to_end(&mut content);
        match read.map_err(|error| error.to_string()).and_then(|_| entry::decode(action, &content)) {
            Ok(result) => {
                renew(&file, &metadata);
                Lookup::Hit(Box::new(result))
            }
            Err(reason) => Lookup::Corrupt(Self::remove_corrupt(&path, &reason)),
        }
    }

    /// Copies the blob `digest` to `target`, verifying it.
    ///
    /// # Errors
    /// `target` can't be written.
    pub fn copy_blob(&self, digest: &Digest, target: &mut File) -> io::Result<BlobRead> {
        let path = self.blob_path(digest);
        let Ok((mut file, metadata)) = open(&path) else { return Ok(BlobRead::Missing) };
        let mut verifier = Verifier::new(*digest);
        let mut buffer = vec![0; COPY_BUFFER_SIZE_BYTES];
        let outcome = loop {
            match file.read(&mut buffer) {
                Ok(0) => break verifier.finish().map_err(|status| status.message().to_owned()),
                Ok(length) => {
                    if let Err(status) = verifier.add(&buffer[..length]) {
                        break Err(status.message().to_owned());
                    }
                    target.write_all(&buffer[..length])?;
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        Ok(match outcome {
            Ok(()) => {
                renew(&file, &metadata);
                BlobRead::Copied
            }
            Err(reason) => BlobRead::Corrupt(Self::remove_corrupt(&path, &reason)),
        })
    }

    /// Stores the result of `action`: first its large outputs, then the entry. An output within
    /// [`INLINE_OUTPUT_SIZE_BYTES`] must carry its contents; every other one must stand in `large`.
    ///
    /// # Errors
    /// The file system's, or that a large output is not what it must be; then nothing is stored under `action`.
    pub fn store(&self, action: &Digest, result: &ActionResult, large: &[LargeOutput<'_>]) -> io::Result<()> {
        for output in large {
            self.store_blob(output)?;
        }
        let content = entry::encode(action, result)?;
        self.publish(&content, &self.entry_path(action))
    }

    /// Removes the result of `action`. That there is none is no error.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, action: &Digest) -> io::Result<()> {
        match std::fs::remove_file(self.entry_path(action)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The bytes that are stored, as far as is known; counting happens in the background.
    #[cfg(test)]
    fn usage_bytes(&self) -> Option<u64> {
        self.eviction.usage_bytes()
    }

    /// Writes what is known of the cache's size to disk, so that the next daemon needs not count.
    pub fn remember_usage(&self) {
        self.eviction.remember();
    }

    fn store_blob(&self, output: &LargeOutput<'_>) -> io::Result<()> {
        let path = self.blob_path(&output.digest);
        if path.exists() {
            return Ok(());
        }
        let mut source = File::open(output.path)?;
        let mut temporary = tempfile::NamedTempFile::new_in(self.root.join(TEMPORARY))?;
        let mut verifier = Verifier::new(output.digest);
        let mut buffer = vec![0; COPY_BUFFER_SIZE_BYTES];
        loop {
            let length = source.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            verifier.add(&buffer[..length]).map_err(io::Error::other)?;
            temporary.write_all(&buffer[..length])?;
        }
        verifier.finish().map_err(io::Error::other)?;
        self.link(temporary.path(), &path, output.digest.size_bytes())
    }

    fn publish(&self, content: &Bytes, path: &Path) -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(self.root.join(TEMPORARY))?;
        temporary.write_all(content)?;
        self.link(temporary.path(), path, content.len() as u64)
    }

    fn link(&self, temporary: &Path, path: &Path, size_bytes: u64) -> io::Result<()> {
        let linked = std::fs::hard_link(temporary, path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                state_file::create_private(path.parent().unwrap_or(&self.root))?;
                std::fs::hard_link(temporary, path)
            }
            _ => Err(error),
        });
        match linked {
            Ok(()) => {
                self.eviction.added(path, size_bytes);
                Ok(())
            }
            // Another daemon was first; what it wrote is the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_corrupt(path: &Path, reason: &str) -> String {
        let removed = match std::fs::remove_file(path) {
            Ok(()) => "removed",
            Err(_) => "can't be removed",
        };
        format!("{}: corrupt cache entry ({reason}), {removed}", path.display())
    }

    fn entry_path(&self, action: &Digest) -> PathBuf {
        self.path(action, "entry")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest, "blob")
    }

    fn path(&self, digest: &Digest, suffix: &str) -> PathBuf {
        let hash = digest.hash_hex();
        self.root.join(&hash[..2]).join(format!("{}-{}.{suffix}", &hash[2..], digest.size_bytes()))
    }
}

fn open(path: &Path) -> io::Result<(File, std::fs::Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Makes a file that was used the most recent one, if it was not nearly so.
fn renew(file: &File, metadata: &std::fs::Metadata) {
    let now = SystemTime::now();
    let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
    if age.is_some_and(|age| age < RECENCY_GRAIN) {
        return;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    // A read-only cache serves as well; its order of use is then not kept.
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
}

fn remove_abandoned(temporary: &Path) {
    let Ok(entries) = std::fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::reapi::OutputFile;

    fn result(path: &str, content: &[u8]) -> ActionResult {
        ActionResult {
            output_files: vec![OutputFile {
                path: path.to_owned(),
                digest: Some((&Digest::of(content)).into()),
                contents: Bytes::copy_from_slice(content),
                ..OutputFile::default()
            }],
            ..ActionResult::default()
        }
    }

    fn cache(limit_bytes: u64) -> (tempfile::TempDir, LocalCache) {
        let scratch = tempfile::tempdir().expect("scratch");
        let cache = LocalCache::open(&scratch.path().join("cache"), limit_bytes).expect("opened");
        (scratch, cache)
    }

    fn action(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_result_is_found_again_by_its_action_alone() {
        let (_scratch, cache) = cache(1 << 30);
        let stored = result("a.o", b"object");
        cache.store(&action(1), &stored, &[]).expect("stored");
        assert!(matches!(cache.lookup(&action(1)), Lookup::Hit(found) if *found == stored));
        assert!(matches!(cache.lookup(&action(2)), Lookup::Miss));
    }

    #[test]
    fn an_entry_is_never_overwritten() {
        let (_scratch, cache) = cache(1 << 30);
        cache.store(&action(1), &result("a.o", b"first"), &[]).expect("stored");
        cache.store(&action(1), &result("a.o", b"second"), &[]).expect("stored");
        assert!(matches!(cache.lookup(&action(1)), Lookup::Hit(found) if *found == result("a.o", b"first")));
    }

    #[test]
    fn a_corrupt_entry_is_named_and_removed() {
        for damage in [0, 10, 45, usize::MAX] {
            let (_scratch, cache) = cache(1 << 30);
            cache.store(&action(1), &result("a.o", &[7; 1000]), &[]).expect("stored");
            let path = cache.entry_path(&action(1));
            let mut content = std::fs::read(&path).expect("read");
            let place = damage.min(content.len() - 1);
            content[place] ^= 0x20;
            std::fs::write(&path, content).expect("written");
            match cache.lookup(&action(1)) {
                Lookup::Corrupt(message) => assert!(message.contains(&path.display().to_string()), "{message}"),
                other => panic!("{damage}: {other:?}"),
            }
            assert!(matches!(cache.lookup(&action(1)), Lookup::Miss));
        }
    }

    #[test]
    fn an_entry_under_another_name_is_corrupt() {
        let (_scratch, cache) = cache(1 << 30);
        cache.store(&action(1), &result("a.o", b"object"), &[]).expect("stored");
        let place = cache.entry_path(&action(2));
        std::fs::create_dir_all(place.parent().expect("a parent")).expect("created");
        std::fs::rename(cache.entry_path(&action(1)), &place).expect("renamed");
        assert!(matches!(cache.lookup(&action(2)), Lookup::Corrupt(_)));
    }

    #[test]
    fn a_large_output_is_stored_once_and_verified() {
        let (scratch, cache) = cache(1 << 30);
        let content = vec![9; 600_000];
        let digest = Digest::of(&content);
        let source = scratch.path().join("a.o");
        std::fs::write(&source, &content).expect("written");
        let large = [LargeOutput { digest, path: &source }];
        cache.store(&action(1), &ActionResult::default(), &large).expect("stored");
        let target = scratch.path().join("copy");
        let mut file = File::create(&target).expect("created");
        assert_eq!(cache.copy_blob(&digest, &mut file).expect("copied"), BlobRead::Copied);
        assert_eq!(std::fs::read(&target).expect("read"), content);
        std::fs::write(cache.blob_path(&digest), &content[1..]).expect("damaged");
        assert!(matches!(cache.copy_blob(&digest, &mut file).expect("read"), BlobRead::Corrupt(_)));
        assert_eq!(cache.copy_blob(&digest, &mut file).expect("read"), BlobRead::Missing);
    }

    #[test]
    fn a_large_output_that_changed_is_not_stored() {
        let (scratch, cache) = cache(1 << 30);
        let source = scratch.path().join("a.o");
        std::fs::write(&source, "changed").expect("written");
        let large = [LargeOutput { digest: Digest::of(b"before"), path: &source }];
        assert!(cache.store(&action(1), &ActionResult::default(), &large).is_err());
        assert!(matches!(cache.lookup(&action(1)), Lookup::Miss));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (_scratch, cache) = cache(20_000);
        // Content that does not compress, so that entries have a size.
        let content = |number: u32| {
            (0..60)
                .flat_map(|part: u32| *Digest::of(&[number.to_le_bytes(), part.to_le_bytes()].concat()).hash())
                .collect::<Vec<u8>>()
        };
        for number in 0..40 {
            cache.store(&action(number), &result("a.o", &content(number)), &[]).expect("stored");
            let old = File::open(cache.entry_path(&action(number))).expect("opened");
            old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(number) + 1)).expect("aged");
            if number >= 3 {
                // Used all the time, so never the least recent.
                assert!(matches!(cache.lookup(&action(3)), Lookup::Hit(_)), "after {number}");
            }
        }
        cache.eviction.settle();
        assert!(cache.usage_bytes().expect("counted") <= 20_000);
        assert!(matches!(cache.lookup(&action(0)), Lookup::Miss));
        assert!(matches!(cache.lookup(&action(3)), Lookup::Hit(_)));
        assert!(matches!(cache.lookup(&action(39)), Lookup::Hit(_)));
    }
}
