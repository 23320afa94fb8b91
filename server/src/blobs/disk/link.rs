//! Hard links to the files of blobs.

use super::{DiskBlobStore, store_error};
use crate::blobs::StoreError;
use pumphouse_proto::cas::{Appearance, Link};
use pumphouse_proto::digest::Digest;
use std::path::Path;

impl DiskBlobStore {
    /// The size above which blobs can be linked into `directory`; `None` where none can. Blocks for a few system calls.
    pub(crate) fn linked_above_bytes(&self, directory: &Path) -> Option<u64> {
        self.blobs.linked_above_bytes(directory)
    }

    /// Makes `path`, where nothing is yet, a hard link to the file of a blob.
    ///
    /// # Errors
    /// The blob is corrupt, or the store is broken.
    pub(crate) async fn link(&self, digest: Digest, appearance: Appearance, path: &Path) -> Result<Link, StoreError> {
        let path = path.to_owned();
        self.run(move |blobs| blobs.link(digest, appearance, &path).map_err(store_error)).await
    }

    /// How many files were found to be no longer what they had been.
    pub(crate) fn corrupt_files(&self) -> u64 {
        self.blobs.directory().corrupt_files()
    }
}
