//! Blobs in streams, as they are or as zstd.
//!
//! **Source:** `google.bytestream`; Remote Execution API v2, service `ContentAddressableStorage`.

mod frames;
mod messages;
mod read;
mod write;

use super::request::admit;
use super::{AnswerStream, Backend};
use crate::access::SEEKERS;
pub(crate) use frames::ByteStreams;
use futures::{StreamExt as _, TryStreamExt as _};
use messages::WriteMessage;
use pumphouse_proto::bytestream::byte_stream_server::ByteStream;
use pumphouse_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use pumphouse_proto::resource_name::UploadName;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl ByteStream for Backend {
    type ReadStream = AnswerStream<ReadResponse>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let pieces = read::read(&self.blobs, request.extensions(), request.get_ref()).await?;
        Ok(Response::new(pieces.map_ok(|data| ReadResponse { data }).boxed()))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        let (_, extensions, requests) = request.into_parts();
        let committed_size = write::write(self, &extensions, requests.map_ok(WriteMessage::from).boxed()).await?;
        Ok(Response::new(WriteResponse { committed_size }))
    }

    /// Nothing of an upload that broke off is kept, so it begins again at 0.
    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        let name = UploadName::parse(&request.get_ref().resource_name)?;
        admit(request.extensions(), SEEKERS, &name.blob.instance_name)?;
        let digest = name.blob.digest;
        let complete = self.blobs.find_missing(&[digest]).await?.is_empty();
        let committed_size = if complete { digest.size_bytes() as i64 } else { 0 };
        Ok(Response::new(QueryWriteStatusResponse { committed_size, complete }))
    }
}
