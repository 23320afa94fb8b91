//! Remembers for a while which blobs another store has, so that those who ask again don't cost a question.
//!
//! For stores that are asked over a network: builds ask for the same blobs over and over. What is absent is never remembered,
//! since somebody may be bringing it, and what turns out to be absent or corrupt is forgotten at once. A store behind this may
//! have been told of a use as long ago as blobs are remembered: so what this promises is [less](ExistenceCachingStore::promised_lifetime).
//!
//! Invariant: a blob is said to be there only for so long after the store said so, or took it, and only while nobody has heard
//! otherwise since.

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use quick_cache::sync::Cache;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How many blobs are remembered.
const REMEMBERED_BLOBS: usize = 256 * 1024;

/// How long, at most.
const LONGEST_MEMORY: Duration = Duration::from_secs(15 * 60);

/// What share of the store's promise is spent on remembering.
const SHARE_OF_PROMISE: u32 = 4;

/// A store `S` that isn't asked again for what it was known to have a moment ago.
#[derive(Debug)]
pub struct ExistenceCachingStore<S> {
    store: S,
    known: Arc<Known>,
    promised_lifetime: Duration,
}

/// Which blobs are known to be there.
#[derive(Debug)]
struct Known {
    /// When each was asked for.
    asked: Cache<Digest, Instant>,
    /// How often something was forgotten: an answer that was on its way then may be older than what was learned.
    forgotten: AtomicU64,
    lifetime: Duration,
}

impl Known {
    fn has(&self, digest: &Digest) -> bool {
        self.asked.get(digest).is_some_and(|asked| asked.elapsed() < self.lifetime)
    }

    /// Remembers blobs that were asked for at that time, after so many had been forgotten.
    fn learn(&self, digests: impl Iterator<Item = Digest> + Clone, asked: Instant, forgotten: u64) {
        digests.clone().for_each(|digest| self.asked.insert(digest, asked));
        // Looked at after the insertion, as it is counted before the removal: one of both sees the other.
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            for digest in digests {
                self.asked.remove(&digest);
            }
        }
    }

    fn forget(&self, digest: &Digest) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.asked.remove(digest);
    }

    /// Forgets a blob that an error says isn't there.
    fn heed<T>(&self, digest: &Digest, outcome: &Result<T, StoreError>) {
        if outcome.as_ref().is_err_and(StoreError::is_absence) {
            self.forget(digest);
        }
    }

    fn now(&self) -> (Instant, u64) {
        (Instant::now(), self.forgotten.load(Ordering::SeqCst))
    }
}

impl<S: BlobStore> ExistenceCachingStore<S> {
    /// Remembers what `store` has, whose blobs stay for `promised_lifetime` after somebody was told of them.
    pub fn new(store: S, promised_lifetime: Duration) -> Self {
        let lifetime = (promised_lifetime / SHARE_OF_PROMISE).min(LONGEST_MEMORY);
        let known = Known { asked: Cache::new(REMEMBERED_BLOBS), forgotten: AtomicU64::new(0), lifetime };
        Self { store, known: Arc::new(known), promised_lifetime: promised_lifetime.saturating_sub(lifetime) }
    }

    /// How long a blob stays after this store has said that it is there.
    pub const fn promised_lifetime(&self) -> Duration {
        self.promised_lifetime
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for ExistenceCachingStore<S> {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let unknown: Vec<Digest> = digests.iter().filter(|digest| !self.known.has(digest)).copied().collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let (asked, forgotten) = self.known.now();
        let missing = self.store.find_missing(&unknown).await?;
        let absent: HashSet<&Digest> = missing.iter().collect();
        let present = unknown.iter().filter(|digest| !absent.contains(digest)).copied();
        self.known.learn(present, asked, forgotten);
        Ok(missing)
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let blobs = self.store.get_many(digests).await;
        digests.iter().zip(&blobs).for_each(|(digest, blob)| self.known.heed(digest, blob));
        blobs
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        let pieces = self.store.read(digest, offset, limit).await;
        self.known.heed(&digest, &pieces);
        let known = Arc::clone(&self.known);
        Ok(pieces?.inspect(move |piece| known.heed(&digest, piece)).boxed())
    }

    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        let (asked, forgotten) = self.known.now();
        let stored = self.store.put_many(blobs).await;
        let present = digests.iter().zip(&stored).filter(|(_, stored)| stored.is_ok()).map(|(digest, _)| *digest);
        self.known.learn(present, asked, forgotten);
        stored
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write(digest).await?;
        Ok(Box::new(ExistenceCachingWriter { writer, known: Arc::clone(&self.known) }))
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write_unnamed(function).await?;
        Ok(Box::new(ExistenceCachingWriter { writer, known: Arc::clone(&self.known) }))
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        self.store.digest_of(hash).await
    }
}

struct ExistenceCachingWriter {
    writer: Box<dyn BlobWriter>,
    known: Arc<Known>,
}

#[async_trait]
impl BlobWriter for ExistenceCachingWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.writer.write(piece).await
    }

    async fn commit(self: Box<Self>) -> Result<Digest, StoreError> {
        let (asked, forgotten) = self.known.now();
        let stored = self.writer.commit().await?;
        self.known.learn(std::iter::once(stored), asked, forgotten);
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_on_its_way_when_a_blob_was_lost_is_not_remembered() {
        let known = Known { asked: Cache::new(10), forgotten: AtomicU64::new(0), lifetime: Duration::from_secs(1000) };
        let [lost, other] = [b"1", b"2"].map(|blob| Digest::of(blob));
        let (asked, forgotten) = known.now();
        known.forget(&lost);
        known.learn([lost, other].into_iter(), asked, forgotten);
        assert!(!known.has(&lost));
        let (asked, forgotten) = known.now();
        known.learn([other].into_iter(), asked, forgotten);
        assert!(known.has(&other));
    }
}
