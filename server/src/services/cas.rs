//! Blobs in batches, and trees.
//!
//! **Source:** Remote Execution API v2, service `ContentAddressableStorage`.

use super::request::{admit, digest, digest_function};
use super::{AnswerStream, Backend, chunks, compression, tree_pages};
use crate::access::{READERS, SEEKERS, WRITERS};
use crate::budget;
use bytes::Bytes;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::{BATCH_SIZE_BYTES, DECODED_MESSAGE_SIZE_BYTES, DIGESTS_PER_CALL};
use pumphouse_proto::reapi::content_addressable_storage_server::ContentAddressableStorage;
use pumphouse_proto::reapi::{
    BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse,
    FindMissingBlobsRequest, FindMissingBlobsResponse, GetTreeRequest, GetTreeResponse, SpliceBlobRequest,
    SpliceBlobResponse, SplitBlobRequest, SplitBlobResponse, batch_read_blobs_response, batch_update_blobs_request,
    batch_update_blobs_response, chunking_function, compressor,
};
use pumphouse_proto::status;
use tonic::{Request, Response, Status};

/// Smaller blobs aren't compressed in batches.
const SMALLEST_COMPRESSED_SIZE_BYTES: usize = 1024;

#[tonic::async_trait]
impl ContentAddressableStorage for Backend {
    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, SEEKERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let digests = request.blob_digests.iter().map(|message| digest(function, "blob_digests", Some(message)));
        let digests = digests.collect::<Result<Vec<_>, _>>()?;
        let mut missing_blob_digests = Vec::new();
        for digests in digests.chunks(DIGESTS_PER_CALL) {
            let missing = self.blobs.find_missing(digests).await?;
            missing_blob_digests.extend(missing.iter().map(pumphouse_proto::reapi::Digest::from));
            // Nothing above waits for anything, and others want their turn too.
            tokio::task::yield_now().await;
        }
        Ok(Response::new(FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, WRITERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        check_batch("data", request.requests.iter().map(|request| request.data.len() as u64), BATCH_SIZE_BYTES)?;
        let sizes = request.requests.iter().map(|request| size_of(request.digest.as_ref()));
        check_batch("decompressed data", sizes, DECODED_MESSAGE_SIZE_BYTES)?;
        let digests: Vec<_> = request.requests.iter().map(|request| request.digest.clone()).collect();
        let decoded = decode_batch(function, request.requests).await?;
        let good = decoded.iter().flatten().cloned().collect();
        let mut stored = self.blobs.put_many(good).await.into_iter();
        let mut outcome = |decoded: Result<(Digest, Bytes), Status>| match decoded {
            Ok(_) => stored.next().expect("one answer a blob").map_err(Status::from),
            Err(status) => Err(status),
        };
        let responses = digests.into_iter().zip(decoded).map(|(digest, decoded)| {
            let status = outcome(decoded).map_or_else(|status| status::to_message(&status), |()| status::ok());
            batch_update_blobs_response::Response { digest, status: Some(status) }
        });
        Ok(Response::new(BatchUpdateBlobsResponse { responses: responses.collect() }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, READERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let digests = request.digests.iter().map(|message| digest(function, "digests", Some(message)));
        let digests = digests.collect::<Result<Vec<_>, _>>()?;
        check_batch("digests", digests.iter().map(Digest::size_bytes), BATCH_SIZE_BYTES)?;
        let hold = budget::hold(&extensions, digests.iter().map(Digest::size_bytes).sum()).await?;
        let blobs = self.blobs.get_many(&digests).await;
        let may_compress = request.acceptable_compressors.contains(&compressor::Value::Zstd.into());
        let mut responses: Vec<_> =
            digests.iter().zip(blobs).map(|(digest, blob)| read_response(*digest, blob)).collect();
        if may_compress {
            responses = compress_batch(responses).await?;
        }
        let mut response = Response::new(BatchReadBlobsResponse { responses });
        if let Some(hold) = hold {
            response.extensions_mut().insert(hold);
        }
        Ok(response)
    }

    type GetTreeStream = AnswerStream<GetTreeResponse>;

    async fn get_tree(&self, request: Request<GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, READERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let root = digest(function, "root_digest", request.root_digest.as_ref())?;
        let pages = tree_pages::TreePages::begin(&self.blobs, root, request.page_size, &request.page_token).await?;
        let mut response = Response::new(pages.into_stream());
        if let Some(hold) = budget::hold(&extensions, BATCH_SIZE_BYTES as u64).await? {
            response.extensions_mut().insert(hold);
        }
        Ok(response)
    }

    /// Cuts by the one function that is offered, whichever the client would like best.
    async fn split_blob(&self, request: Request<SplitBlobRequest>) -> Result<Response<SplitBlobResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, READERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let blob = digest(function, "blob_digest", request.blob_digest.as_ref())?;
        let chunks = match chunks::known(self, blob).await? {
            Some(chunks) => chunks,
            None => {
                // Cutting stores chunks, for which reading is not enough.
                admit(&extensions, WRITERS, &request.instance_name).map_err(|status| {
                    Status::not_found(format!(
                        "blob {blob} is not cut yet, and cutting it takes more: {}",
                        status.message()
                    ))
                })?;
                let _hold = budget::hold(&extensions, chunks::MEMORY_SIZE_BYTES).await?;
                chunks::split(self, blob).await?
            }
        };
        Ok(Response::new(SplitBlobResponse {
            chunk_digests: chunks.iter().map(Into::into).collect(),
            chunking_function: chunking_function::Value::FastCdc2020.into(),
        }))
    }

    async fn splice_blob(&self, request: Request<SpliceBlobRequest>) -> Result<Response<SpliceBlobResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, WRITERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let expected =
            request.blob_digest.as_ref().map(|blob| digest(function, "blob_digest", Some(blob))).transpose()?;
        let chunks = request.chunk_digests.iter().map(|chunk| digest(function, "chunk_digests", Some(chunk)));
        let blob = chunks::splice(self, function, expected, &chunks.collect::<Result<Vec<_>, _>>()?).await?;
        Ok(Response::new(SpliceBlobResponse { blob_digest: Some(blob.into()) }))
    }
}

fn size_of(digest: Option<&pumphouse_proto::reapi::Digest>) -> u64 {
    digest.map_or(0, |digest| u64::try_from(digest.size_bytes).unwrap_or(0))
}

fn check_batch(field: &str, sizes: impl Iterator<Item = u64>, limit: usize) -> Result<(), Status> {
    let total = sizes.fold(0, u64::saturating_add);
    if total > limit as u64 {
        let message = format!("{field}: a batch of {total} bytes is larger than the {limit} bytes that it may have");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

/// A blob of a batch, decoded, or why it can't be.
type Decoded = Result<(Digest, Bytes), Status>;

/// Gives the blobs of a batch as they are to be stored; decompressing is done off the runtime's threads.
async fn decode_batch(
    function: DigestFunction,
    requests: Vec<batch_update_blobs_request::Request>,
) -> Result<Vec<Decoded>, Status> {
    let is_compressed = requests.iter().any(|request| request.compressor != i32::from(compressor::Value::Identity));
    let decode = move || requests.into_iter().map(|request| decode_request(function, request)).collect();
    if !is_compressed {
        return Ok(decode());
    }
    tokio::task::spawn_blocking(decode).await.map_err(|error| Status::internal(error.to_string()))
}

fn decode_request(function: DigestFunction, request: batch_update_blobs_request::Request) -> Decoded {
    let digest = digest(function, "requests.digest", request.digest.as_ref())?;
    match compressor::Value::try_from(request.compressor) {
        Ok(compressor::Value::Identity) => Ok((digest, request.data)),
        Ok(compressor::Value::Zstd) => Ok((digest, compression::decompress(digest, &request.data)?)),
        _ => {
            let message = format!("requests.compressor: {} is not supported", request.compressor);
            Err(Status::invalid_argument(message))
        }
    }
}

fn read_response(digest: Digest, blob: Result<Bytes, crate::blobs::StoreError>) -> batch_read_blobs_response::Response {
    let (data, status) = match blob {
        Ok(blob) => (blob, status::ok()),
        Err(error) => (Bytes::new(), status::to_message(&error.into())),
    };
    batch_read_blobs_response::Response {
        digest: Some(digest.into()),
        data,
        compressor: compressor::Value::Identity.into(),
        status: Some(status),
    }
}

async fn compress_batch(
    mut responses: Vec<batch_read_blobs_response::Response>,
) -> Result<Vec<batch_read_blobs_response::Response>, Status> {
    let compress = move || {
        for response in responses.iter_mut().filter(|response| response.data.len() >= SMALLEST_COMPRESSED_SIZE_BYTES) {
            let compressed = compression::compress(&response.data)?;
            if compressed.len() < response.data.len() {
                response.data = compressed;
                response.compressor = compressor::Value::Zstd.into();
            }
        }
        Ok(responses)
    };
    tokio::task::spawn_blocking(compress).await.map_err(|error| Status::internal(error.to_string()))?
}
