//! Compares what another store gives with what it was asked for, and what it is given with its digest.
//!
//! For stores that don't do so themselves: what has come over a network, or from a disk that somebody else looks after, may be
//! anything. A blob that is not what its digest names is told of, and counts as missing until it is stored anew, so that whoever
//! has it brings it again.
//!
//! Costs a hash of everything that goes through; of a part that is read, a hash of the whole blob.
//!
//! Invariant: no byte of a blob is given as the last one before all of it was compared.

use super::{BlobStore, BlobStream, BlobWriter, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pumphouse_proto::digest::{Digest, DigestFunction, Hasher};
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use quick_cache::sync::Cache;
use std::ops::Range;
use std::sync::Arc;

/// How many corrupt blobs are remembered: what a store holds that is wrong beyond that is found once more.
const CONDEMNED_BLOBS: usize = 16 * 1024;

/// A store `S` that isn't believed.
#[derive(Debug)]
pub struct VerifyingStore<S> {
    store: S,
    condemned: Arc<Condemned>,
}

/// Blobs that were found to be corrupt, and not stored since.
#[derive(Debug)]
struct Condemned(Cache<Digest, ()>);

impl Condemned {
    fn report(&self, digest: Digest) -> StoreError {
        self.0.insert(digest, ());
        tracing::error!(blob = %digest, "a store gave something else than the blob, which counts as missing");
        StoreError::Corrupt(digest)
    }

    fn holds(&self, digest: &Digest) -> bool {
        self.0.get(digest).is_some()
    }
}

impl<S: BlobStore> VerifyingStore<S> {
    /// Compares whatever goes through `store`.
    pub fn new(store: S) -> Self {
        Self { store, condemned: Arc::new(Condemned(Cache::new(CONDEMNED_BLOBS))) }
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for VerifyingStore<S> {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let missing = self.store.find_missing(digests).await?;
        if self.condemned.0.is_empty() {
            return Ok(missing);
        }
        let absent: std::collections::HashSet<Digest> = missing.into_iter().collect();
        let is_missing = |digest: &&Digest| absent.contains(digest) || self.condemned.holds(digest);
        Ok(digests.iter().filter(is_missing).copied().collect())
    }

    async fn get_many(&self, digests: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let blobs = self.store.get_many(digests).await;
        let asked = digests.to_vec();
        let compared = off_the_runtime(blobs.iter().flatten().map(Bytes::len).sum(), move || {
            let is_good =
                |(digest, blob): (&Digest, &Result<Bytes, _>)| blob.as_ref().is_ok_and(|blob| digest.matches(blob));
            let good: Vec<bool> = asked.iter().zip(&blobs).map(is_good).collect();
            (blobs, good)
        });
        let (blobs, good) = match compared.await {
            Ok(compared) => compared,
            Err(error) => return digests.iter().map(|_| Err(error.clone())).collect(),
        };
        let judged = digests.iter().zip(blobs).zip(good);
        judged
            .map(|((digest, blob), is_good)| match blob {
                Ok(_) if !is_good => Err(self.condemned.report(*digest)),
                blob => blob,
            })
            .collect()
    }

    async fn read(&self, digest: Digest, offset: u64, limit: Option<u64>) -> Result<BlobStream, StoreError> {
        let end = limit.map_or(u64::MAX, |limit| offset.saturating_add(limit)).min(digest.size_bytes());
        let pieces = self.store.read(digest, 0, None).await?;
        let reading = Reading {
            pieces,
            digest,
            wanted: offset.min(end)..end,
            hasher: digest.function().hasher(),
            held: None,
            condemned: Arc::clone(&self.condemned),
        };
        let given = stream::try_unfold(Some(reading), |reading| async {
            let Some(mut reading) = reading else { return Ok(None) };
            Ok(reading.next().await?.map(|(piece, is_last)| (piece, (!is_last).then_some(reading))))
        });
        Ok(given.try_filter(|piece| std::future::ready(!piece.is_empty())).boxed())
    }

    async fn put_many(&self, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<(), StoreError>> {
        let size_bytes = blobs.iter().map(|(_, blob)| blob.len()).sum();
        let count = blobs.len();
        let compared = off_the_runtime(size_bytes, move || {
            let compare = |(digest, blob): (Digest, Bytes)| {
                if digest.matches(&blob) { Ok((digest, blob)) } else { Err(mismatch(digest, blob.len() as u64)) }
            };
            blobs.into_iter().map(compare).collect::<Vec<_>>()
        });
        let compared = match compared.await {
            Ok(compared) => compared,
            Err(error) => return vec![Err(error); count],
        };
        let good: Vec<(Digest, Bytes)> = compared.iter().flatten().cloned().collect();
        let mut stored = if good.is_empty() { Vec::new() } else { self.store.put_many(good).await }.into_iter();
        let answer = |compared: Result<(Digest, Bytes), StoreError>| {
            let (digest, _) = compared?;
            stored.next().expect("one answer a blob")?;
            self.condemned.0.remove(&digest);
            Ok(())
        };
        compared.into_iter().map(answer).collect()
    }

    async fn write(&self, digest: Digest) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write(digest).await?;
        Ok(self.verified(writer, digest.function(), Some(digest)))
    }

    async fn write_unnamed(&self, function: DigestFunction) -> Result<Box<dyn BlobWriter>, StoreError> {
        let writer = self.store.write_unnamed(function).await?;
        Ok(self.verified(writer, function, None))
    }

    async fn digest_of(&self, hash: [u8; 32]) -> Result<Option<Digest>, StoreError> {
        let known = self.store.digest_of(hash).await?;
        let is_condemned =
            |digest: &Digest| DigestFunction::ALL.iter().any(|function| self.condemned.holds(&digest.by(*function)));
        Ok(known.filter(|digest| *digest.hash() == hash && !is_condemned(digest)))
    }
}

impl<S> VerifyingStore<S> {
    fn verified(
        &self,
        writer: Box<dyn BlobWriter>,
        function: DigestFunction,
        expected: Option<Digest>,
    ) -> Box<dyn BlobWriter> {
        let condemned = Arc::clone(&self.condemned);
        Box::new(VerifyingWriter { writer, expected, hasher: function.hasher(), condemned })
    }
}

/// Has `call` hash `size_bytes`: on another thread where that takes longer than others may wait.
async fn off_the_runtime<T: Send + 'static>(
    size_bytes: usize,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if size_bytes <= STREAM_CHUNK_SIZE_BYTES {
        return Ok(call());
    }
    let called = tokio::task::spawn_blocking(call).await;
    called.map_err(|error| StoreError::Broken(error.to_string().into()))
}

fn mismatch(expected: Digest, received: u64) -> StoreError {
    StoreError::Mismatch { expected, problem: format!("{received} bytes of another content came") }
}

/// A blob that is read and compared, of which a part is given.
struct Reading {
    pieces: BlobStream,
    digest: Digest,
    wanted: Range<u64>,
    hasher: Hasher,
    /// What was read last: it is given when there is more, or all of it was compared.
    held: Option<Bytes>,
    condemned: Arc<Condemned>,
}

impl Reading {
    /// The next piece of what is wanted, which may be empty, and whether it is the last; `None` where nothing was left.
    async fn next(&mut self) -> Result<Option<(Bytes, bool)>, StoreError> {
        match self.pieces.try_next().await? {
            Some(piece) => {
                let at = self.hasher.size_bytes();
                self.hasher.update(&piece);
                if self.hasher.size_bytes() > self.digest.size_bytes() {
                    return Err(self.condemned.report(self.digest));
                }
                let part = self.part(&piece, at);
                // Pieces behind the part only have to be compared.
                let given = if part.is_empty() && self.held.is_some() { None } else { self.held.replace(part) };
                Ok(Some((given.unwrap_or_default(), false)))
            }
            None => {
                if self.hasher.clone().finish() != self.digest {
                    return Err(self.condemned.report(self.digest));
                }
                Ok(self.held.take().map(|piece| (piece, true)))
            }
        }
    }

    /// What is wanted of a piece that begins at `at`.
    fn part(&self, piece: &Bytes, at: u64) -> Bytes {
        let within = |position: u64| position.clamp(at, at + piece.len() as u64) - at;
        piece.slice(within(self.wanted.start) as usize..within(self.wanted.end) as usize)
    }
}

struct VerifyingWriter {
    writer: Box<dyn BlobWriter>,
    /// What it has to be; `None` where that is found out.
    expected: Option<Digest>,
    hasher: Hasher,
    condemned: Arc<Condemned>,
}

#[async_trait]
impl BlobWriter for VerifyingWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.hasher.update(&piece);
        let received = self.hasher.size_bytes();
        match self.expected.filter(|expected| received > expected.size_bytes()) {
            Some(expected) => Err(mismatch(expected, received)),
            None => self.writer.write(piece).await,
        }
    }

    async fn commit(self: Box<Self>) -> Result<Digest, StoreError> {
        let actual = self.hasher.finish();
        if let Some(expected) = self.expected.filter(|expected| *expected != actual) {
            return Err(mismatch(expected, actual.size_bytes()));
        }
        let stored = self.writer.commit().await?;
        if stored != actual {
            return Err(self.condemned.report(stored));
        }
        self.condemned.0.remove(&stored);
        Ok(stored)
    }
}
