//! Blobs as files on a local disk, named by their hashes.
//!
//! A blob is hashed while it is written and gets its final name only when it is what the digest says. A file is
//! believed for as long as its time of modification is the one at which it was last verified, in this boot of the
//! machine; otherwise it is hashed again before anybody is told that it is there, and moved away where it is wrong.
//! Nothing is synced: a crash of the machine can tear a file, and the next boot's first use finds out.
//!
//! File system calls run on the runtime's blocking threads, at most [`CONCURRENT_CALLS`] at a time.

mod reader;
mod writer;

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use crate::config::Config;
use crate::disk::{Directory, DiskError, Entry, Limits, Temporaries};
use async_trait::async_trait;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many threads are in the file system at a time.
const CONCURRENT_CALLS: usize = 64;

/// Batches of fewer blobs than this are stored by one thread.
const BLOBS_PER_THREAD: usize = 16;

/// How much of a file is hashed at a time when it is verified.
const VERIFY_SIZE_BYTES: usize = 1024 * 1024;

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Exhausted(message) => Self::Exhausted(message),
            DiskError::Io { .. } => Self::Broken(error.to_string().into()),
        }
    }
}

/// The blobs in one directory.
#[derive(Debug, Clone)]
pub struct DiskBlobStore {
    files: Arc<BlobFiles>,
    calls: Arc<Semaphore>,
}

impl DiskBlobStore {
    /// Opens or creates the store below `config.dir`. Blocks while the journal is read.
    ///
    /// # Errors
    /// Another server uses the directory, or the file system says no.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        Self::open_with(config, Temporaries::Nameless)
    }

    /// Opens the store; nameless temporaries only where they work.
    pub(super) fn open_with(config: &Config, temporaries: Temporaries) -> anyhow::Result<Self> {
        let limits = Limits {
            size_bytes: config.cas_size_bytes,
            promised_lifetime: config.promised_lifetime,
            free_disk_bytes: config.free_disk_bytes,
        };
        let directory = Directory::open_with(&config.dir.join("cas"), limits, temporaries)?;
        let calls = Arc::new(Semaphore::new(CONCURRENT_CALLS));
        Ok(Self { files: Arc::new(BlobFiles { directory }), calls })
    }

    /// The bytes of all blobs.
    pub fn size_bytes(&self) -> u64 {
        self.files.directory.size_bytes()
    }

    /// The number of blobs.
    pub fn len(&self) -> usize {
        self.files.directory.len()
    }

    /// Whether there are no blobs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `call` on a blocking thread.
    async fn run<T: Send + 'static>(&self, call: impl FnOnce(&BlobFiles) -> T + Send + 'static) -> T {
        run(&self.files, &self.calls, call).await
    }
}

/// Runs `call` on a blocking thread, when one of the permits is free.
async fn run<T: Send + 'static>(
    files: &Arc<BlobFiles>,
    calls: &Arc<Semaphore>,
    call: impl FnOnce(&BlobFiles) -> T + Send + 'static,
) -> T {
    let permit = Arc::clone(calls).acquire_owned().await.expect("the semaphore is never closed");
    let files = Arc::clone(files);
    let called = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        call(&files)
    });
    match called.await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[async_trait]
impl BlobStore for DiskBlobStore {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let (mut missing, unverified) = self.files.find_missing(digests);
        if unverified.is_empty() {
            return Ok(missing);
        }
        let corrupt = self.run(move |files| files.missing_after_verifying(unverified)).await?;
        if !corrupt.is_empty() {
            let is_missing: std::collections::HashSet<Digest> = missing.into_iter().chain(corrupt).collect();
            missing = digests.iter().filter(|digest| is_missing.contains(digest)).copied().collect();
        }
        Ok(missing)
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let digests = digests.to_vec();
        self.run(move |files| digests.into_iter().map(|digest| files.get(digest)).collect()).await
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        reader::read(self, digest, offset, limit).await
    }

    async fn put_many(&self, mut blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = blobs.len().div_ceil(threads).max(BLOBS_PER_THREAD);
        let mut calls = Vec::new();
        while !blobs.is_empty() {
            let rest = blobs.split_off(share.min(blobs.len()));
            let share = std::mem::replace(&mut blobs, rest);
            calls.push(
                self.run(move |files| share.iter().map(|(digest, blob)| files.put(*digest, blob)).collect::<Vec<_>>()),
            );
        }
        futures::future::join_all(calls).await.into_iter().flatten().collect()
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        writer::begin(self, digest).await
    }
}

/// What the store does in blocking calls.
#[derive(Debug)]
struct BlobFiles {
    directory: Arc<Directory>,
}

impl BlobFiles {
    /// What is absent, and what must be verified before it can be said to be there.
    fn find_missing(&self, digests: &[Digest]) -> (Vec<Digest>, Vec<Digest>) {
        let (mut missing, mut unverified) = (Vec::new(), Vec::new());
        let entries = self.directory.find(digests.iter().map(|digest| *digest.hash()));
        for (digest, entry) in digests.iter().zip(entries) {
            match entry {
                _ if *digest == Digest::EMPTY => {}
                Some(entry) if entry.size_bytes != digest.size_bytes() => missing.push(*digest),
                Some(entry) if entry.is_verified() => {}
                Some(_) => unverified.push(*digest),
                None => missing.push(*digest),
            }
        }
        (missing, unverified)
    }

    fn missing_after_verifying(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, StoreError> {
        let mut missing = Vec::new();
        for digest in digests {
            match self.open(digest) {
                Ok(_) => {}
                Err(StoreError::NotFound(_)) => missing.push(digest),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Opens a blob's file that is known to hold the blob.
    fn open(&self, digest: Digest) -> Result<File, StoreError> {
        let entry = self.entry(digest)?;
        let Some((file, size_bytes, modified)) = self.directory.read(digest.hash())? else {
            return Err(StoreError::NotFound(digest));
        };
        if size_bytes == digest.size_bytes() && entry.verified == modified {
            return Ok(file);
        }
        if size_bytes != digest.size_bytes() || !hashes_to(&file, digest) {
            self.directory.quarantine(digest.hash());
            return Err(StoreError::NotFound(digest));
        }
        self.directory.mark_verified(digest.hash(), modified);
        Ok(file)
    }

    fn entry(&self, digest: Digest) -> Result<Entry, StoreError> {
        let entry = self.directory.find(std::iter::once(*digest.hash())).pop().flatten();
        entry.filter(|entry| entry.size_bytes == digest.size_bytes()).ok_or(StoreError::NotFound(digest))
    }

    /// Reads and verifies a whole blob.
    fn get(&self, digest: Digest) -> Result<Bytes, StoreError> {
        if digest == Digest::EMPTY {
            return Ok(Bytes::new());
        }
        self.entry(digest)?;
        let Some((mut file, size_bytes, modified)) = self.directory.read(digest.hash())? else {
            return Err(StoreError::NotFound(digest));
        };
        let mut blob = Vec::new();
        if size_bytes == digest.size_bytes() {
            blob.reserve_exact(size_bytes as usize);
            file.read_to_end(&mut blob).map_err(|error| broken("read", digest, &error))?;
        }
        if !digest.matches(&blob) {
            self.directory.quarantine(digest.hash());
            return Err(StoreError::NotFound(digest));
        }
        self.directory.mark_verified(digest.hash(), modified);
        Ok(Bytes::from(blob))
    }

    fn put(&self, digest: Digest, blob: &Bytes) -> Result<(), StoreError> {
        if blob.len() as u64 != digest.size_bytes() {
            return Err(wrong_size(digest, blob.len() as u64));
        }
        let actual = Digest::of(blob);
        if actual != digest {
            return Err(wrong_hash(digest, actual));
        }
        if self.has(digest) {
            return Ok(());
        }
        let _reservation = self.directory.reserve(digest.size_bytes())?;
        let mut temporary = self.directory.temporary()?;
        temporary
            .file()
            .write_all(blob)
            .map_err(|error| self.directory.write_error("write", &digest.to_string(), error))?;
        self.publish(digest, &temporary)
    }

    /// Whether a verified blob is there: then nothing needs to be written.
    fn has(&self, digest: Digest) -> bool {
        digest == Digest::EMPTY || self.entry(digest).is_ok_and(|entry| entry.is_verified())
    }

    fn publish(&self, digest: Digest, temporary: &crate::disk::Temporary) -> Result<(), StoreError> {
        let verify = |file: &mut File| {
            file.metadata().is_ok_and(|metadata| metadata.len() == digest.size_bytes()) && hashes_to(file, digest)
        };
        Ok(self.directory.publish(digest.hash(), temporary, verify)?)
    }
}

fn hashes_to(file: &File, digest: Digest) -> bool {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; VERIFY_SIZE_BYTES.min(digest.size_bytes() as usize + 1)];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return offset == digest.size_bytes() && hasher.finalize()[..] == digest.hash()[..],
            Ok(read) => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
            Err(_) => return false,
        }
    }
}

fn wrong_size(expected: Digest, received: u64) -> StoreError {
    StoreError::Mismatch { expected, problem: format!("{received} bytes came") }
}

fn wrong_hash(expected: Digest, actual: Digest) -> StoreError {
    StoreError::Mismatch { expected, problem: format!("the content's hash is {}", actual.hash_hex()) }
}

fn broken(operation: &str, digest: Digest, error: &std::io::Error) -> StoreError {
    StoreError::Broken(format!("cannot {operation} blob {digest}: {error}").into())
}
