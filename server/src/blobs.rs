//! The content-addressable storage behind one narrow trait, and what stores and decorates it.
//!
//! A decorator is a store before another one, and has one concern: [`memory`] answers small blobs from memory, [`existence`]
//! spares questions whether a blob is there, [`verifying`] compares what a store gives that doesn't do so itself, [`metered`]
//! counts. The disk needs the first and the last; what is behind a network is to stand behind all four, outermost first:
//! metered, memory, existence, verifying.
//!
//! Invariants: a blob that a store gives or says to have is what its digest names; the empty blob is always there.

pub mod disk;
pub mod existence;
pub(crate) mod in_process;
pub mod memory;
pub mod metered;
pub(crate) mod tree;
pub mod verifying;

#[cfg(test)]
mod contract;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::status;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// After how long whoever finds a store unavailable is asked to come back.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a blob can't be stored or given. Cheap to clone: one failure may be the answer to many requests.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store doesn't have it.
    #[error("blob {0} not found")]
    NotFound(Digest),
    /// The store had it, and it is no longer what it was: whoever has it may bring it again.
    #[error("the stored blob {0} is corrupt")]
    Corrupt(Digest),
    /// What came is not what the digest names.
    #[error("blob {expected} does not match its digest: {problem}")]
    Mismatch {
        /// The digest that was claimed.
        expected: Digest,
        /// What came instead.
        problem: String,
    },
    /// There is no room.
    #[error("no room for a blob: {0}")]
    Exhausted(String),
    /// The store can't answer now, for a reason that passes: the same may succeed when it is tried again.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// The store is broken: trying again is of no use before somebody has mended it.
    #[error("{0}")]
    Broken(Arc<str>),
}

impl StoreError {
    /// Whether it says that the blob is not there, or no longer what it was.
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Corrupt(_))
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound(_) => Self::not_found(message),
            StoreError::Corrupt(_) => Self::data_loss(message),
            StoreError::Mismatch { .. } => Self::invalid_argument(message),
            StoreError::Exhausted(_) => Self::resource_exhausted(message),
            StoreError::Unavailable(_) => status::unavailable(message, RETRY_AFTER),
            StoreError::Broken(_) => Self::internal(message),
        }
    }
}

/// Pieces of a blob, in order.
pub type BlobStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// A store of blobs. Every call may fail with [`StoreError::Unavailable`] or [`StoreError::Broken`].
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Which of `digests` are absent, in their order. Exact; the others stay for the store's promised lifetime.
    ///
    /// # Errors
    /// The store is broken.
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError>;

    /// Whole blobs, one answer a digest, in order. For blobs that fit into memory: the caller bounds their sizes.
    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>>;

    /// A blob's bytes from `offset` on, at most `limit` of them, in pieces of at most
    /// [`pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES`]. `offset` is within the blob.
    ///
    /// # Errors
    /// The blob is absent, or the store is broken.
    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError>;

    /// Stores whole blobs after verifying them; one answer a blob, in order.
    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>>;

    /// Begins to store a blob that comes in pieces.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// Begins to store a blob that comes in pieces, and whose digest, by `function`, is known when all of them have come.
    ///
    /// # Errors
    /// The store is broken.
    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// The digest of the blob with that SHA-256, if there is one.
    ///
    /// # Errors
    /// The store is broken.
    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError>;

    /// One whole blob that fits into memory.
    ///
    /// # Errors
    /// The blob is absent, or the store is broken.
    async fn get(&self, digest: Digest) -> Result<Bytes, StoreError> {
        let mut blobs = self.get_many(&[digest]).await;
        blobs.pop().expect("one answer a digest")
    }

    /// Stores one whole blob after verifying it.
    ///
    /// # Errors
    /// It is not what the digest names, there is no room, or the store is broken.
    async fn put(&self, digest: Digest, blob: Bytes) -> Result<(), StoreError> {
        let mut stored = self.put_many(vec![(digest, blob)]).await;
        stored.pop().expect("one answer a blob")
    }
}

/// A blob that is being stored. Dropping it gives up and leaves nothing behind.
#[async_trait]
pub trait BlobWriter: Send {
    /// Takes the next piece. An error may be about an earlier one; after an error only dropping makes sense.
    ///
    /// # Errors
    /// More comes than the digest's size, there is no room, or the store is broken.
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError>;

    /// Verifies the blob and makes it present; gives what it is.
    ///
    /// # Errors
    /// The pieces are not what the digest names, there is no room, or the store is broken.
    async fn commit(self: Box<Self>) -> Result<Digest, StoreError>;
}
