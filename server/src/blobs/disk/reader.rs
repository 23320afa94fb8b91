//! Reading a blob in pieces, one piece ahead of the consumer.

use super::{BlobFiles, DiskBlobStore, broken};
use crate::blobs::{BlobStream, StoreError};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Opens the blob and gives its bytes in `[offset, offset + limit)`.
pub(super) async fn read(
    store: &DiskBlobStore,
    digest: Digest,
    offset: u64,
    limit: Option<u64>,
) -> Result<BlobStream, StoreError> {
    if digest == Digest::EMPTY {
        return Ok(stream::empty().boxed());
    }
    let rest = digest.size_bytes().saturating_sub(offset);
    let end = offset + limit.map_or(rest, |limit| limit.min(rest));
    let open = move |files: &BlobFiles| {
        let file = files.open(digest)?;
        let first = Piece { offset, end, digest }.read(&file)?;
        Ok::<_, StoreError>((Arc::new(file), first))
    };
    let (file, first) = store.run(open).await?;
    let cursor = Cursor { file, next: Piece { offset: offset + first.len() as u64, end, digest }, ahead: None };
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    Ok(first.chain(stream::try_unfold(cursor.read_ahead(), Cursor::step)).boxed())
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Piece {
    offset: u64,
    end: u64,
    digest: Digest,
}

impl Piece {
    fn read(self, file: &File) -> Result<Bytes, StoreError> {
        let size = (self.end - self.offset).min(STREAM_CHUNK_SIZE_BYTES as u64) as usize;
        let mut piece = vec![0; size];
        file.read_exact_at(&mut piece, self.offset).map_err(|error| broken("read", self.digest, &error))?;
        Ok(Bytes::from(piece))
    }
}

struct Cursor {
    file: Arc<File>,
    next: Piece,
    ahead: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

impl Cursor {
    fn read_ahead(mut self) -> Self {
        if self.next.offset < self.next.end {
            let (file, piece) = (Arc::clone(&self.file), self.next);
            self.ahead = Some(tokio::task::spawn_blocking(move || piece.read(&file)));
        }
        self
    }

    async fn step(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let piece = ahead.await.map_err(|error| StoreError::Broken(error.to_string().into()))??;
        self.next.offset += piece.len() as u64;
        Ok(Some((piece, self.read_ahead())))
    }
}
