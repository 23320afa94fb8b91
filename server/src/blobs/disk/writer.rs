//! Storing a blob that comes in pieces: one block is hashed and written while the next one arrives.

use super::{DiskBlobStore, store_error};
use crate::blobs::{BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_storage::{Blobs, Problem, Upload};
use tokio::task::JoinHandle;

/// How much is gathered before a thread hashes and writes it.
const BLOCK_SIZE_BYTES: usize = 512 * 1024;

/// Goes on with what `upload` begins. Makes room for the blob block by block.
pub(super) async fn begin(
    store: &DiskBlobStore,
    upload: impl FnOnce(&Blobs) -> Result<Upload, Problem> + Send + 'static,
) -> Result<Box<dyn BlobWriter>, StoreError> {
    let upload = store.run(move |blobs| upload(blobs).map(Box::new).map_err(store_error)).await?;
    let state = Some(State::Idle(upload));
    Ok(Box::new(DiskBlobWriter { store: store.clone(), block: Vec::new(), block_size: 0, state }))
}

struct DiskBlobWriter {
    store: DiskBlobStore,
    block: Vec<Bytes>,
    block_size: usize,
    /// `None` only while it changes, and after an error.
    state: Option<State>,
}

enum State {
    /// Nobody is writing.
    Idle(Box<Upload>),
    /// A thread is writing the last block.
    Writing(JoinHandle<Result<Box<Upload>, StoreError>>),
}

fn append(blobs: &Blobs, mut upload: Box<Upload>, block: &[Bytes]) -> Result<Box<Upload>, StoreError> {
    upload.append(blobs, block).map_err(store_error)?;
    Ok(upload)
}

impl DiskBlobWriter {
    /// Waits for the block that is being written.
    async fn idle(&mut self) -> Result<Box<Upload>, StoreError> {
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
        self.block_size += piece.len();
        self.block.push(piece);
        if self.block_size >= BLOCK_SIZE_BYTES {
            let upload = self.idle().await?;
            let block = self.take_block();
            let store = self.store.clone();
            let writing = async move { store.run(move |blobs| append(blobs, upload, &block)).await };
            self.state = Some(State::Writing(tokio::spawn(writing)));
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Digest, StoreError> {
        let upload = self.idle().await?;
        let block = self.take_block();
        self.store.run(move |blobs| append(blobs, upload, &block)?.commit(blobs).map_err(store_error)).await
    }
}
