//! Bodies on their way into the CAS: in pieces, with limits, and not for ever.

use super::{DRAINED_SIZE_BYTES, Refusal};
use crate::blobs::BlobWriter;
use crate::services::Backend;
use crate::services::rate::Rate;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::TRANSFER_TIMEOUT;

/// A body that is being read.
pub(super) struct Upload<'a> {
    backend: &'a Backend,
    body: axum::body::BodyDataStream,
    declared: Option<u64>,
    /// Whether the client waits for a word before it sends the body.
    is_awaited: bool,
    rate: Rate,
}

impl<'a> Upload<'a> {
    /// The body of a request with these headers.
    ///
    /// # Errors
    /// It can't be taken; gives it back.
    pub(super) fn new(backend: &'a Backend, headers: &HeaderMap, body: Body) -> Result<Self, (Refusal, Body)> {
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let message = format!("content-encoding: {encoding:?} is not supported, only identity is");
            return Err((Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message), body));
        }
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if let Err(refusal) = check_size(backend, declared.unwrap_or(0)) {
            return Err((refusal, body));
        }
        let is_awaited = headers.contains_key(header::EXPECT);
        Ok(Self { backend, body: body.into_data_stream(), declared, is_awaited, rate: Rate::begin() })
    }

    /// How long the client says that it is.
    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// Reads what nobody needs, up to a limit.
    pub(super) async fn drain(mut self) {
        while !self.is_awaited && self.rate.received() < DRAINED_SIZE_BYTES {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// The whole body, if it is no longer than `most` bytes; else what has come of it, which is more.
    pub(super) async fn beginning(&mut self, most: usize) -> Result<Bytes, Refusal> {
        let mut beginning = BytesMut::new();
        while beginning.len() <= most {
            let Some(piece) = self.next().await? else { break };
            beginning.extend_from_slice(&piece);
        }
        Ok(beginning.freeze())
    }

    /// Stores the body, of which `beginning` was read already, as the blob with that hash.
    pub(super) async fn store_as(self, hash: [u8; 32]) -> Result<(), Refusal> {
        let writer = match self.declared {
            Some(size_bytes) => self.backend.blobs.write(Digest::new(hash, size_bytes)).await?,
            None => self.backend.blobs.write_unnamed(DigestFunction::Sha256).await?,
        };
        let stored = self.store(Bytes::new(), writer, Some(hash)).await?;
        debug_assert_eq!(*stored.hash(), hash, "the store has compared it");
        Ok(())
    }

    /// Stores the body, of which `beginning` was read already, as the blob that it is.
    pub(super) async fn store_unnamed(self, beginning: Bytes) -> Result<Digest, Refusal> {
        let writer = self.backend.blobs.write_unnamed(DigestFunction::Sha256).await?;
        self.store(beginning, writer, None).await
    }

    async fn store(
        mut self,
        beginning: Bytes,
        mut writer: Box<dyn BlobWriter>,
        hash: Option<[u8; 32]>,
    ) -> Result<Digest, Refusal> {
        if !beginning.is_empty() {
            writer.write(beginning).await?;
        }
        while let Some(piece) = self.next().await? {
            writer.write(piece).await?;
        }
        let stored = writer.commit().await?;
        match hash {
            Some(hash) if hash != *stored.hash() => {
                Err(Refusal::bad(format!("the body's hash is {}, not that of the path", stored.hash_hex())))
            }
            _ => Ok(stored),
        }
    }

    /// The next piece, for which nobody waits for ever.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let piece = tokio::time::timeout(TRANSFER_TIMEOUT, self.body.next()).await.map_err(|_| {
            Refusal(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing came for {TRANSFER_TIMEOUT:?}; the upload was given up"),
            )
        })?;
        let Some(piece) = piece else { return Ok(None) };
        let piece = piece.map_err(|error| Refusal::bad(format!("the body broke off: {error}")))?;
        self.rate.add(piece.len() as u64).map_err(|message| Refusal(StatusCode::REQUEST_TIMEOUT, message))?;
        check_size(self.backend, self.rate.received())?;
        Ok(Some(piece))
    }
}

fn check_size(backend: &Backend, size_bytes: u64) -> Result<(), Refusal> {
    let most = backend.config.blob_size_bytes;
    if size_bytes <= most {
        return Ok(());
    }
    let message = format!("content-length: {size_bytes} bytes are more than the {most} that a blob may have");
    Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, message))
}
