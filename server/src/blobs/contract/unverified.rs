//! A store in memory that believes everybody, and can be made to lose, rot and fail: what stands for somebody else's.

use crate::blobs::{BlobStore, BlobStream, BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use std::collections::HashMap;
use std::sync::Arc;

/// The store. Its clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct UnverifiedStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Bytes>,
    looked_for: usize,
    failure: Option<StoreError>,
}

impl UnverifiedStore {
    /// Has something else stand under the digest.
    pub(super) fn replace(&self, digest: Digest, content: impl Into<Bytes>) {
        self.0.lock().blobs.insert(digest, content.into());
    }

    /// Forgets a blob.
    pub(super) fn lose(&self, digest: &Digest) {
        self.0.lock().blobs.remove(digest);
    }

    /// Fails with every call from now on, or no more.
    pub(super) fn fail(&self, failure: Option<StoreError>) {
        self.0.lock().failure = failure;
    }

    /// How many digests were looked for since this was asked last.
    pub(super) fn take_looked_for(&self) -> usize {
        std::mem::take(&mut self.0.lock().looked_for)
    }

    fn content(&self, digest: Digest) -> Result<Bytes, StoreError> {
        let state = self.state()?;
        let empty = digest.names_nothing().then(Bytes::new);
        state.blobs.get(&digest).cloned().or(empty).ok_or(StoreError::NotFound(digest))
    }

    fn state(&self) -> Result<parking_lot::MutexGuard<'_, State>, StoreError> {
        let state = self.0.lock();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }

    fn store(&self, digest: Digest, blob: Bytes) -> Result<(), StoreError> {
        self.state()?.blobs.insert(digest, blob);
        Ok(())
    }

    fn begin(&self, name: Name) -> Result<Box<dyn BlobWriter>, StoreError> {
        drop(self.state()?);
        Ok(Box::new(Writer { store: self.clone(), name, content: BytesMut::new() }))
    }
}

#[async_trait]
impl BlobStore for UnverifiedStore {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let mut state = self.state()?;
        state.looked_for += digests.len();
        let is_missing = |digest: &&Digest| !digest.names_nothing() && !state.blobs.contains_key(*digest);
        Ok(digests.iter().filter(is_missing).copied().collect())
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        digests.iter().map(|digest| self.content(*digest)).collect()
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        let mut rest = self.content(digest)?;
        let mut rest = rest.split_off(rest.len().min(offset as usize));
        rest.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        let starts = (0..rest.len()).step_by(STREAM_CHUNK_SIZE_BYTES);
        let end = |start: usize| rest.len().min(start + STREAM_CHUNK_SIZE_BYTES);
        let pieces: Vec<Bytes> = starts.map(|start| rest.slice(start..end(start))).collect();
        Ok(stream::iter(pieces.into_iter().map(Ok)).boxed())
    }

    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        blobs.into_iter().map(|(digest, blob)| self.store(digest, blob)).collect()
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.begin(Name::Known(digest))
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.begin(Name::By(function))
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        let empty = (hash == *Digest::EMPTY.hash()).then_some(Digest::EMPTY);
        Ok(self.state()?.blobs.keys().find(|digest| *digest.hash() == hash).copied().or(empty))
    }
}

/// How a blob that comes in pieces is named.
enum Name {
    Known(Digest),
    By(DigestFunction),
}

struct Writer {
    store: UnverifiedStore,
    name: Name,
    content: BytesMut,
}

#[async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        drop(self.store.state()?);
        self.content.extend_from_slice(&piece);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Digest, StoreError> {
        let digest = match self.name {
            Name::Known(digest) => digest,
            Name::By(function) => function.digest(&self.content),
        };
        self.store.store(digest, self.content.freeze())?;
        Ok(digest)
    }
}
