//! A CAS, wherever it is: at the other end of a connection ([`CasClient`]), or in this process ([`LocalCas`]).
//!
//! Invariant: what a CAS gives is what its digest names. It does not know what blobs mean.
//!
//! **Source:** Remote Execution API v2, service `ContentAddressableStorage`, whose statuses the errors have.

use crate::cas_client::{CasClient, Upload};
use crate::digest::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::File;
use std::path::Path;
use tonic::Status;

/// A CAS as far as a worker needs one.
#[async_trait]
pub trait Cas: Debug + Send + Sync {
    /// Which of `digests` it lacks.
    ///
    /// # Errors
    /// The status of a call, or of the store.
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status>;

    /// Whole blobs, in memory: the caller bounds their sizes. Those that it lacks are absent from the answer.
    ///
    /// # Errors
    /// The first failure other than an absent blob.
    async fn read_all(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, Status>;

    /// Reads one blob into `file`, which is new and stands at `path`; false if it lacks the blob. Where it fails, the caller
    /// removes the file.
    ///
    /// # Errors
    /// The status of a call, or of the store; `INTERNAL` where the file can't be written.
    async fn read_to_file(&self, digest: Digest, file: File, path: &Path) -> Result<bool, Status>;

    /// Stores `uploads`.
    ///
    /// # Errors
    /// The first failure.
    async fn upload(&self, uploads: Vec<Upload>) -> Result<(), Status>;

    /// One whole blob, in memory; none if it lacks the blob.
    ///
    /// # Errors
    /// As for [`Self::read_all`].
    async fn read(&self, digest: Digest) -> Result<Option<Bytes>, Status> {
        Ok(self.read_all(&[digest]).await?.remove(&digest))
    }
}

/// What a file shows to `stat` besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appearance {
    /// The permission bits, none of which lets anybody write, such as 0o444.
    pub mode: u32,
    /// When it was modified, in seconds since 1970.
    pub modified_seconds: u64,
}

/// What became of a wish for a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is there.
    Made,
    /// The blob is there, but its file can't be linked like that: others have it with another appearance, say.
    Refused,
    /// There is no such blob.
    Missing,
}

/// A CAS in this process, whose large blobs are files that can be hard-linked.
///
/// A file that is linked is written by nobody: neither by the CAS, nor by whoever has the link. What the CAS evicts stays
/// with those who have links to it.
#[async_trait]
pub trait LocalCas: Cas {
    /// The size above which blobs can be linked into `directory`, in bytes; `None` where none can, for it is on another file
    /// system. Blocks for a few system calls.
    fn linked_above_bytes(&self, directory: &Path) -> Option<u64>;

    /// Makes `path`, where nothing is yet, a hard link to the file of the blob `digest`, which was compared with its sum
    /// lately, and has that appearance from then on.
    ///
    /// # Errors
    /// The store's status.
    async fn link(&self, digest: Digest, appearance: Appearance, path: &Path) -> Result<Link, Status>;

    /// How many files were found to be no longer what they had been. Where that grows, links may be to such files.
    fn corrupt_files(&self) -> u64;
}

#[async_trait]
impl Cas for CasClient {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status> {
        CasClient::find_missing(self, digests).await
    }

    async fn read_all(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, Status> {
        CasClient::read_all(self, digests).await
    }

    async fn read_to_file(&self, digest: Digest, file: File, path: &Path) -> Result<bool, Status> {
        CasClient::read_to_file(self, digest, file, path).await
    }

    async fn upload(&self, uploads: Vec<Upload>) -> Result<(), Status> {
        CasClient::upload(self, uploads).await.map(drop)
    }
}
