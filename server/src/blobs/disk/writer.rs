//! Storing a blob that comes in pieces: one block is hashed and written while the next one arrives.

use super::{BlobFiles, DiskBlobStore, wrong_hash, wrong_size};
use crate::blobs::{BlobWriter, StoreError};
use crate::disk::{Reservation, Temporary};
use async_trait::async_trait;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use tokio::task::JoinHandle;

/// How much is gathered before a thread hashes and writes it.
const BLOCK_SIZE_BYTES: usize = 512 * 1024;

/// Makes room for the blob.
pub(super) async fn begin(store: &DiskBlobStore, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
    let upload = store.run(move |files: &BlobFiles| Upload::begin(files, digest)).await?;
    Ok(Box::new(DiskBlobWriter {
        store: store.clone(),
        digest,
        received: 0,
        block: Vec::new(),
        block_size: 0,
        state: Some(State::Idle(upload)),
    }))
}

struct DiskBlobWriter {
    store: DiskBlobStore,
    digest: Digest,
    received: u64,
    block: Vec<Bytes>,
    block_size: usize,
    /// `None` only while it changes, and after an error.
    state: Option<State>,
}

enum State {
    /// Nobody is writing.
    Idle(Upload),
    /// A thread is writing the last block.
    Writing(JoinHandle<Result<Upload, StoreError>>),
}

/// What has been written so far.
struct Upload {
    temporary: Temporary,
    hasher: Sha256,
    _reservation: Reservation,
}

impl Upload {
    fn begin(files: &BlobFiles, digest: Digest) -> Result<Self, StoreError> {
        let reservation = files.directory.reserve(digest.size_bytes())?;
        Ok(Self { temporary: files.directory.temporary()?, hasher: Sha256::new(), _reservation: reservation })
    }

    fn append(mut self, files: &BlobFiles, block: &[Bytes]) -> Result<Self, StoreError> {
        for piece in block {
            self.hasher.update(piece);
            let written = self.temporary.file().write_all(piece);
            written.map_err(|error| files.directory.write_error("write", "tmp", error))?;
        }
        Ok(self)
    }

    fn commit(self, files: &BlobFiles, digest: Digest) -> Result<(), StoreError> {
        let actual = Digest::new(self.hasher.finalize().into(), digest.size_bytes());
        if actual != digest {
            return Err(wrong_hash(digest, actual));
        }
        files.publish(digest, &self.temporary)
    }
}

impl DiskBlobWriter {
    /// Waits for the block that is being written.
    async fn idle(&mut self) -> Result<Upload, StoreError> {
        match self.state.take() {
            Some(State::Idle(upload)) => Ok(upload),
            Some(State::Writing(writing)) => {
                writing.await.map_err(|error| StoreError::Broken(error.to_string().into()))?
            }
            None => Err(StoreError::Broken("an upload went on after an error".into())),
        }
    }

    fn take_block(&mut self) -> Vec<Bytes> {
        self.block_size = 0;
        std::mem::take(&mut self.block)
    }
}

#[async_trait]
impl BlobWriter for DiskBlobWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.received += piece.len() as u64;
        if self.received > self.digest.size_bytes() {
            return Err(wrong_size(self.digest, self.received));
        }
        self.block_size += piece.len();
        self.block.push(piece);
        if self.block_size >= BLOCK_SIZE_BYTES {
            let upload = self.idle().await?;
            let block = self.take_block();
            let store = self.store.clone();
            let writing = async move { store.run(move |files| upload.append(files, &block)).await };
            self.state = Some(State::Writing(tokio::spawn(writing)));
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.received != self.digest.size_bytes() {
            return Err(wrong_size(self.digest, self.received));
        }
        let upload = self.idle().await?;
        let (block, digest) = (self.take_block(), self.digest);
        self.store.run(move |files| upload.append(files, &block)?.commit(files, digest)).await
    }
}
