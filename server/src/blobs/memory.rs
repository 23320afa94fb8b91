//! Small blobs in memory before another store: actions, commands, directories and depfiles are read again and again.
//!
//! Presence and lifetime are the other store's business, so a blob that it evicted is missing even where this still
//! has it.

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use pumphouse_proto::digest::{Digest, DigestFunction};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Larger blobs aren't kept in memory.
pub const LARGEST_BLOB_SIZE_BYTES: u64 = 64 * 1024;

/// What a blob costs in memory besides its bytes.
const OVERHEAD_BYTES: u64 = 128;

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<Digest, Bytes> for BySize {
    fn weight(&self, _: &Digest, blob: &Bytes) -> u64 {
        blob.len() as u64 + OVERHEAD_BYTES
    }
}

/// A bounded cache of small blobs before the store `S`.
#[derive(Debug)]
pub struct MemoryCachingStore<S> {
    store: S,
    cache: Cache<Digest, Bytes, BySize>,
}

impl<S: BlobStore> MemoryCachingStore<S> {
    /// Keeps up to `size_bytes` of small blobs of `store` in memory.
    pub fn new(store: S, size_bytes: u64) -> Self {
        let expected_blobs = (size_bytes / 4096) as usize;
        Self { store, cache: Cache::with_weighter(expected_blobs, size_bytes, BySize) }
    }

    fn is_small(digest: &Digest) -> bool {
        digest.size_bytes() <= LARGEST_BLOB_SIZE_BYTES
    }

    /// Keeps a copy: the blob may be a slice that would hold a whole message in memory.
    fn keep(&self, digest: Digest, blob: &Bytes) {
        if Self::is_small(&digest) {
            self.cache.insert(digest, Bytes::copy_from_slice(blob));
        }
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for MemoryCachingStore<S> {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        self.store.find_missing(digests).await
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let cached: Vec<Option<Bytes>> = digests.iter().map(|digest| self.cache.get(digest)).collect();
        let wanted = digests.iter().zip(&cached).filter(|(_, cached)| cached.is_none());
        let wanted: Vec<Digest> = wanted.map(|(digest, _)| *digest).collect();
        let mut read = if wanted.is_empty() { Vec::new() } else { self.store.get_many(&wanted).await }.into_iter();
        let mut answer = |(digest, cached): (&Digest, Option<Bytes>)| {
            if let Some(blob) = cached {
                return Ok(blob);
            }
            let blob = read.next().expect("one answer a digest")?;
            self.keep(*digest, &blob);
            Ok(blob)
        };
        digests.iter().zip(cached).map(&mut answer).collect()
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        if !Self::is_small(&digest) {
            return self.store.read(digest, offset, limit).await;
        }
        let mut blob = self.get(digest).await?;
        let mut rest = blob.split_off(blob.len().min(offset as usize));
        if let Some(limit) = limit {
            rest.truncate(limit as usize);
        }
        Ok(stream::iter((!rest.is_empty()).then_some(Ok(rest))).boxed())
    }

    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        let copies: Vec<(Digest, Bytes)> = blobs.clone();
        let stored = self.store.put_many(blobs).await;
        for ((digest, blob), stored) in copies.iter().zip(&stored) {
            if stored.is_ok() {
                self.keep(*digest, blob);
            }
        }
        stored
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.store.write(digest).await
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.store.write_unnamed(function).await
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        self.store.digest_of(hash).await
    }
}
