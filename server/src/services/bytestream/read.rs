//! `Read`.

use super::super::AnswerStream;
use super::super::compression::Compressor;
use super::super::request::admit;
use crate::access::READERS;
use crate::blobs::{BlobStore, BlobStream};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pumphouse_proto::bytestream::ReadRequest;
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use pumphouse_proto::resource_name::{BlobName, Compression};
use std::sync::Arc;
use tonic::{Extensions, Status};

/// Checks the request and opens the blob, so that errors come before the stream. Each piece is to be a message.
pub(super) async fn read(
    blobs: &Arc<dyn BlobStore>,
    extensions: &Extensions,
    request: &ReadRequest,
) -> Result<AnswerStream<Bytes>, Status> {
    let BlobName { instance_name, digest, compression } = BlobName::parse(&request.resource_name)?;
    admit(extensions, READERS, &instance_name)?;
    let offset = u64::try_from(request.read_offset)
        .map_err(|_| Status::out_of_range(format!("read_offset: {} is negative", request.read_offset)))?;
    let limit = u64::try_from(request.read_limit)
        .map_err(|_| Status::invalid_argument(format!("read_limit: {} is negative", request.read_limit)))?;
    if offset > digest.size_bytes() {
        return Err(Status::out_of_range(format!("read_offset: {offset} is behind the end of blob {digest}")));
    }
    if compression == Compression::Zstd && limit != 0 {
        return Err(Status::invalid_argument("read_limit: must be 0 where the blob is read compressed"));
    }
    let limit = (limit != 0).then_some(limit);
    let pieces = blobs.read(digest, offset, limit).await?;
    Ok(match compression {
        Compression::Identity => pieces.map_err(Status::from).boxed(),
        Compression::Zstd => compressed(pieces)?,
    })
}

/// The pieces as one frame.
fn compressed(pieces: BlobStream) -> Result<AnswerStream<Bytes>, Status> {
    let encoding = (pieces, Some(Compressor::new()?));
    let encoded = stream::try_unfold(encoding, |(mut pieces, compressor)| async {
        let Some(mut compressor) = compressor else { return Ok(None) };
        while let Some(piece) = pieces.try_next().await? {
            let encoded = compressor.encode(&piece)?;
            if !encoded.is_empty() {
                return Ok(Some((encoded, (pieces, Some(compressor)))));
            }
        }
        Ok::<_, Status>(Some((compressor.finish()?, (pieces, None))))
    });
    // What can't be compressed grows a little, and stays below a message's size all the same.
    let cut = |piece: Bytes| {
        let starts = (0..piece.len()).step_by(STREAM_CHUNK_SIZE_BYTES);
        let cuts = starts.map(move |start| Ok(piece.slice(start..piece.len().min(start + STREAM_CHUNK_SIZE_BYTES))));
        stream::iter(cuts)
    };
    Ok(encoded.map_ok(cut).try_flatten().boxed())
}
