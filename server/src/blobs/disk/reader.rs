//! Reading a blob in pieces, one piece ahead of the consumer.

use super::{DiskBlobStore, store_error};
use crate::blobs::{BlobStream, StoreError};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use pumphouse_storage::{Blobs, OpenBlob};
use tokio::task::JoinHandle;

/// Opens the blob and gives its bytes in `[offset, offset + limit)`. The last of them come when all were compared.
pub(super) async fn read(
    store: &DiskBlobStore,
    digest: Digest,
    offset: u64,
    limit: Option<u64>,
) -> Result<BlobStream, StoreError> {
    if digest.names_nothing() {
        return Ok(stream::empty().boxed());
    }
    let rest = digest.size_bytes().saturating_sub(offset);
    let end = offset + limit.map_or(rest, |limit| limit.min(rest));
    let open = move |blobs: &Blobs| blobs.open_part(digest, offset, end).map_err(store_error).and_then(read_piece);
    let (blob, first) = store.run(open).await?;
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    Ok(first.chain(stream::try_unfold(read_ahead(blob), step)).boxed())
}

/// The next piece, which is being read; `None` at the end.
type Ahead = Option<JoinHandle<Result<(OpenBlob, Bytes), StoreError>>>;

fn read_piece(mut blob: OpenBlob) -> Result<(OpenBlob, Bytes), StoreError> {
    let piece = blob.read(STREAM_CHUNK_SIZE_BYTES).map_err(store_error)?;
    Ok((blob, Bytes::from(piece)))
}

fn read_ahead(blob: OpenBlob) -> Ahead {
    (blob.left() > 0).then(|| tokio::task::spawn_blocking(move || read_piece(blob)))
}

async fn step(ahead: Ahead) -> Result<Option<(Bytes, Ahead)>, StoreError> {
    let Some(ahead) = ahead else { return Ok(None) };
    let (blob, piece) = ahead.await.map_err(|error| StoreError::Broken(error.to_string().into()))??;
    Ok(Some((piece, read_ahead(blob))))
}
