//! Blobs as files on a local disk: [`pumphouse_storage`] on the runtime's blocking threads.
//!
//! At most [`CONCURRENT_CALLS`] are in the file system at a time.

mod link;
mod reader;
mod scrub;
mod writer;

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use crate::config::Config;
use crate::settled::Settled;
use async_trait::async_trait;
use bytes::Bytes;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_storage::{Blobs, Directory, Limits, Problem, StorageError, SystemVolume, Temporaries};
use scrub::Scrub;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// How many threads are in the file system at a time.
const CONCURRENT_CALLS: usize = 64;

/// How many threads run at a time: asking costs several reads of files.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// Batches of fewer blobs than this are stored by one thread.
const BLOBS_PER_THREAD: usize = 16;

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Exhausted(message) => Self::Exhausted(message),
            StorageError::Unavailable { .. } => Self::Unavailable(error.to_string().into()),
            StorageError::Io { .. } => Self::Broken(error.to_string().into()),
        }
    }
}

fn store_error(problem: Problem) -> StoreError {
    match problem {
        Problem::NotFound(digest) => StoreError::NotFound(digest),
        Problem::Corrupt(digest) => StoreError::Corrupt(digest),
        Problem::Mismatch { expected, detail } => StoreError::Mismatch { expected, problem: detail },
        Problem::Storage(error) => error.into(),
    }
}

/// The blobs in one directory.
#[derive(Debug, Clone)]
pub struct DiskBlobStore {
    blobs: Arc<Blobs>,
    calls: Arc<Semaphore>,
    settled: Settled,
    /// Ends with the last clone, and with it the journal.
    _scrub: Option<Arc<Scrub>>,
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
        let volume = SystemVolume::open(&config.dir.join("cas"), temporaries)?;
        let blobs = Arc::new(Blobs::new(Directory::open(volume, limits)?));
        let rate = config.scrub_bytes_per_second;
        let scrub = (rate > 0).then(|| Arc::new(Scrub::start(&blobs, rate)));
        let settled = Settled::of(blobs.directory());
        Ok(Self { blobs, calls: Arc::new(Semaphore::new(CONCURRENT_CALLS)), settled, _scrub: scrub })
    }

    /// The bytes of all blobs.
    pub fn size_bytes(&self) -> u64 {
        self.blobs.directory().size_bytes()
    }

    /// The number of blobs.
    pub fn len(&self) -> usize {
        self.blobs.directory().len()
    }

    /// Whether there are no blobs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until it is known what the packs hold, if one of the blobs may be in one. Whoever waits has no permit, so that what
    /// is known is read and stored meanwhile.
    async fn settle(&self, mut digests: impl Iterator<Item = &Digest>) {
        if digests.any(|digest| self.blobs.is_uncertain(digest)) {
            self.settled.wait().await;
        }
    }

    /// Runs `call` on a blocking thread, when one of the permits is free.
    async fn run<T: Send + 'static>(&self, call: impl FnOnce(&Blobs) -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.calls).acquire_owned().await.expect("the semaphore is never closed");
        let blobs = Arc::clone(&self.blobs);
        let called = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call(&blobs)
        });
        match called.await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[async_trait]
impl BlobStore for DiskBlobStore {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let (mut missing, uncertain) = self.blobs.find_missing(digests);
        if uncertain.is_empty() {
            return Ok(missing);
        }
        self.settle(uncertain.iter()).await;
        let more = self.run(move |blobs| blobs.missing_after_a_look(uncertain)).await.map_err(store_error)?;
        if !more.is_empty() {
            let is_missing: std::collections::HashSet<Digest> = missing.into_iter().chain(more).collect();
            missing = digests.iter().filter(|digest| is_missing.contains(digest)).copied().collect();
        }
        Ok(missing)
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        self.settle(digests.iter()).await;
        let digests = digests.to_vec();
        let get = |blobs: &Blobs, digest| blobs.get(digest).map(Bytes::from).map_err(store_error);
        self.run(move |blobs| digests.into_iter().map(|digest| get(blobs, digest)).collect()).await
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        self.settle([digest].iter()).await;
        reader::read(self, digest, offset, limit).await
    }

    async fn put_many(&self, mut blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        self.settle(blobs.iter().map(|(digest, _)| digest)).await;
        let threads = *PROCESSORS;
        let share = blobs.len().div_ceil(threads).max(BLOBS_PER_THREAD);
        let mut calls = Vec::new();
        while !blobs.is_empty() {
            let rest = blobs.split_off(share.min(blobs.len()));
            let share = std::mem::replace(&mut blobs, rest);
            let put = move |store: &Blobs| store.put_many(&share);
            calls.push(
                self.run(move |store| put(store).into_iter().map(|put| put.map_err(store_error)).collect::<Vec<_>>()),
            );
        }
        futures::future::join_all(calls).await.into_iter().flatten().collect()
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        writer::begin(self, move |blobs| blobs.upload(digest)).await
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        writer::begin(self, move |blobs| blobs.upload_unnamed(function)).await
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        self.settle([Digest::new(hash, 0)].iter()).await;
        self.run(move |blobs| blobs.digest_of(&hash).map_err(store_error)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::time::Duration;

    #[tokio::test]
    async fn whoever_waits_for_packs_to_be_looked_through_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { dir: dir.path().to_owned(), free_disk_bytes: 0, ..Config::default() };
        let (blob, place) = (Bytes::from_static(b"blob"), dir.path().join("cas"));
        let digest = Digest::of(&blob);
        DiskBlobStore::open(&config).expect("opens").put(digest, blob.clone()).await.expect("stores");
        // As if it had not ended in order; and nobody looks through the packs by himself.
        std::fs::remove_file(place.join("ended")).expect("ended in order");
        let volume = SystemVolume::open(&place, Temporaries::Nameless).expect("opens");
        let limits = Limits { size_bytes: 1 << 30, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
        let (directory, is_whole) = Directory::load(Arc::new(volume), limits).expect("loads");
        assert!(!is_whole);
        let store = DiskBlobStore {
            settled: Settled::of(&directory),
            blobs: Arc::new(Blobs::new(Arc::clone(&directory))),
            calls: Arc::new(Semaphore::new(CONCURRENT_CALLS)),
            _scrub: None,
        };
        let mut reads: Vec<_> = (0..2 * CONCURRENT_CALLS).map(|_| store.get(digest)).collect();
        assert!(reads.iter_mut().all(|read| read.now_or_never().is_none()));
        assert_eq!(store.calls.available_permits(), CONCURRENT_CALLS);
        let looked = tokio::task::spawn_blocking(move || directory.check_shard(0));
        looked.await.expect("ends").expect("looks");
        assert_eq!(store.get(digest).await.expect("reads"), blob);
    }
}
