//! Counts what goes through another store.

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much has gone through a store since it was opened.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Digests that were looked for.
    pub looked_for: AtomicU64,
    /// Those of them that were missing.
    pub missing: AtomicU64,
    /// Blobs that were given whole, or begun to be given.
    pub blobs_read: AtomicU64,
    /// Their bytes.
    pub bytes_read: AtomicU64,
    /// Blobs that were taken.
    pub blobs_written: AtomicU64,
    /// Their bytes.
    pub bytes_written: AtomicU64,
    /// Blobs that were refused or failed, in either direction, absent ones excepted.
    pub failures: AtomicU64,
}

impl Traffic {
    fn read(&self, blob: &Result<Bytes, StoreError>) {
        match blob {
            Ok(blob) => {
                self.blobs_read.fetch_add(1, Ordering::Relaxed);
                self.bytes_read.fetch_add(blob.len() as u64, Ordering::Relaxed);
            }
            Err(error) => self.failed(error),
        }
    }

    fn written<T>(&self, size_bytes: u64, stored: &Result<T, StoreError>) {
        match stored {
            Ok(_) => {
                self.blobs_written.fetch_add(1, Ordering::Relaxed);
                self.bytes_written.fetch_add(size_bytes, Ordering::Relaxed);
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&self, error: &StoreError) {
        if !matches!(error, StoreError::NotFound(_)) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A store `S` whose traffic is counted.
#[derive(Debug)]
pub struct MeteredStore<S> {
    store: S,
    traffic: Arc<Traffic>,
}

impl<S: BlobStore> MeteredStore<S> {
    /// Counts the traffic of `store` from now on.
    pub fn new(store: S) -> Self {
        Self { store, traffic: Arc::default() }
    }

    /// The counts.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for MeteredStore<S> {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let missing = self.store.find_missing(digests).await?;
        self.traffic.looked_for.fetch_add(digests.len() as u64, Ordering::Relaxed);
        self.traffic.missing.fetch_add(missing.len() as u64, Ordering::Relaxed);
        Ok(missing)
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let blobs = self.store.get_many(digests).await;
        for blob in &blobs {
            self.traffic.read(blob);
        }
        blobs
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        let pieces = self.store.read(digest, offset, limit).await.inspect_err(|error| self.traffic.failed(error))?;
        self.traffic.blobs_read.fetch_add(1, Ordering::Relaxed);
        let traffic = Arc::clone(&self.traffic);
        let counted = pieces.inspect(move |piece| match piece {
            Ok(piece) => drop(traffic.bytes_read.fetch_add(piece.len() as u64, Ordering::Relaxed)),
            Err(error) => traffic.failed(error),
        });
        Ok(counted.boxed())
    }

    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        let sizes: Vec<u64> = blobs.iter().map(|(digest, _)| digest.size_bytes()).collect();
        let stored = self.store.put_many(blobs).await;
        for (size_bytes, stored) in sizes.into_iter().zip(&stored) {
            self.traffic.written(size_bytes, stored);
        }
        stored
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write(digest).await.inspect_err(|error| self.traffic.failed(error))?;
        Ok(Box::new(MeteredWriter { writer, traffic: Arc::clone(&self.traffic) }))
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write_unnamed(function).await.inspect_err(|error| self.traffic.failed(error))?;
        Ok(Box::new(MeteredWriter { writer, traffic: Arc::clone(&self.traffic) }))
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        self.store.digest_of(hash).await
    }
}

struct MeteredWriter {
    writer: Box<dyn BlobWriter>,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl BlobWriter for MeteredWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.writer.write(piece).await.inspect_err(|error| self.traffic.failed(error))
    }

    async fn commit(self: Box<Self>) -> Result<Digest, StoreError> {
        let stored = self.writer.commit().await;
        let size_bytes = stored.as_ref().map_or(0, Digest::size_bytes);
        self.traffic.written(size_bytes, &stored);
        stored
    }
}
