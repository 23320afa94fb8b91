//! `Write`.
//!
//! What the answer says decides whether clients believe that the upload succeeded: the full size, or for compressed
//! uploads the compressed bytes that came; for a blob that is there already the full size, or −1 when compressed.

use super::super::compression::Decompressor;
use super::super::rate::Rate;
use super::super::request::admit;
use super::super::{AnswerStream, Backend};
use super::messages::WriteMessage;
use crate::access::WRITERS;
use crate::blobs::BlobWriter;
use bytes::Bytes;
use futures::TryStreamExt as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::TRANSFER_TIMEOUT;
use pumphouse_proto::resource_name::{Compression, UploadName};
use tonic::{Extensions, Status};

/// How much of an upload that isn't needed is read: resetting the stream instead makes some clients fail.
const DRAINED_SIZE_BYTES: usize = 4 * 1024 * 1024;

/// Stores the blob and gives the committed size.
pub(super) async fn write(
    backend: &Backend,
    extensions: &Extensions,
    mut requests: AnswerStream<WriteMessage>,
) -> Result<i64, Status> {
    let first = next(&mut requests).await?;
    let first = first.ok_or_else(|| Status::invalid_argument("the stream of a write is empty"))?;
    let name = UploadName::parse(&first.resource_name)?;
    admit(extensions, WRITERS, &name.blob.instance_name)?;
    let (digest, compression) = (name.blob.digest, name.blob.compression);
    if digest.size_bytes() > backend.config.blob_size_bytes {
        let limit = backend.config.blob_size_bytes;
        let message = format!("resource_name: blob {digest} is larger than the {limit} bytes that a blob may have");
        return Err(Status::invalid_argument(message));
    }
    if backend.blobs.find_missing(&[digest]).await?.is_empty() {
        drain(first, &mut requests).await;
        return Ok(match compression {
            Compression::Identity => digest.size_bytes() as i64,
            Compression::Zstd => -1,
        });
    }
    let decompressor = match compression {
        Compression::Identity => None,
        Compression::Zstd => Some(Decompressor::new(digest)?),
    };
    let mut upload = Upload {
        resource_name: first.resource_name.clone(),
        digest,
        writer: backend.blobs.write(digest).await?,
        decompressor,
        received: 0,
    };
    let mut rate = Rate::begin();
    let mut request = first;
    loop {
        rate.add(request.size_bytes() as u64)
            .map_err(|message| Status::aborted(format!("blob {digest}: {message}")))?;
        if upload.take(request).await? {
            break;
        }
        request = next(&mut requests).await?.ok_or_else(|| upload.broken_off())?;
    }
    upload.commit().await
}

/// The next message, for which nobody waits for ever.
async fn next(requests: &mut AnswerStream<WriteMessage>) -> Result<Option<WriteMessage>, Status> {
    match tokio::time::timeout(TRANSFER_TIMEOUT, requests.try_next()).await {
        Ok(request) => request,
        Err(_) => Err(Status::aborted(format!("nothing came for {TRANSFER_TIMEOUT:?}; the upload was given up"))),
    }
}

/// Reads what the client is sending anyway, up to a limit.
async fn drain(first: WriteMessage, requests: &mut AnswerStream<WriteMessage>) {
    let mut drained = first.size_bytes();
    let mut is_finished = first.finish_write;
    while !is_finished && drained < DRAINED_SIZE_BYTES {
        let Ok(Some(request)) = next(requests).await else { return };
        drained += request.size_bytes();
        is_finished = request.finish_write;
    }
}

struct Upload {
    resource_name: String,
    digest: Digest,
    writer: Box<dyn BlobWriter>,
    decompressor: Option<Decompressor>,
    /// As they came, compressed or not.
    received: i64,
}

impl Upload {
    /// Takes a message; gives whether it was the last.
    async fn take(&mut self, request: WriteMessage) -> Result<bool, Status> {
        if !request.resource_name.is_empty() && request.resource_name != self.resource_name {
            let message = format!("resource_name: {:?} is not that of the first message", request.resource_name);
            return Err(Status::invalid_argument(message));
        }
        if request.write_offset != self.received {
            let message =
                format!("write_offset: {} is not {}, what has come so far", request.write_offset, self.received);
            return Err(Status::invalid_argument(message));
        }
        self.received += request.size_bytes() as i64;
        for piece in request.data {
            self.store(piece).await?;
        }
        Ok(request.finish_write)
    }

    async fn store(&mut self, data: Bytes) -> Result<(), Status> {
        let Some(decompressor) = self.decompressor.take() else {
            return Ok(self.writer.write(data).await?);
        };
        self.decompressor = Some(decompressor.decode_into(data, self.writer.as_mut()).await?);
        Ok(())
    }

    async fn commit(self) -> Result<i64, Status> {
        if let Some(decompressor) = self.decompressor {
            decompressor.finish()?;
        }
        self.writer.commit().await?;
        Ok(self.received)
    }

    fn broken_off(&self) -> Status {
        let message =
            format!("blob {}: the stream ended without finish_write after {} bytes", self.digest, self.received);
        Status::invalid_argument(message)
    }
}
