//! A bare client of the Remote Execution API: one call each, no retries, nothing hidden.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use pumphouse_proto::bytestream::byte_stream_client::ByteStreamClient;
use pumphouse_proto::bytestream::{ReadRequest, WriteRequest};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::{Operation, operation};
use pumphouse_proto::reapi::action_cache_client::ActionCacheClient;
use pumphouse_proto::reapi::capabilities_client::CapabilitiesClient;
use pumphouse_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::{
    self, Action, BatchReadBlobsRequest, BatchUpdateBlobsRequest, Command, Directory, ExecuteOperationMetadata,
    ExecuteRequest, ExecuteResponse, FindMissingBlobsRequest, batch_update_blobs_request, execution_stage,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Blobs that go into one batch, in bytes: well below every server's limit.
const BATCH_SIZE_BYTES: usize = 2 * 1024 * 1024;

/// A connection to a server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// `ContentAddressableStorage`
    pub cas: ContentAddressableStorageClient<Channel>,
    /// `ByteStream`
    pub bytes: ByteStreamClient<Channel>,
    /// `ActionCache`
    pub action_cache: ActionCacheClient<Channel>,
    /// `Execution`
    pub execution: ExecutionClient<Channel>,
    /// `Capabilities`
    pub capabilities: CapabilitiesClient<Channel>,
}

/// A digest as the API says it.
pub fn digest(content: &[u8]) -> reapi::Digest {
    Digest::of(content).into()
}

/// A message as it is stored.
pub fn blob(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

impl Remote {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let endpoint = Endpoint::new(format!("http://{address}"))?.tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| format!("connecting to {address}"))?;
        Ok(Self {
            cas: ContentAddressableStorageClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            bytes: ByteStreamClient::new(channel.clone()),
            action_cache: ActionCacheClient::new(channel.clone()),
            execution: ExecutionClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            capabilities: CapabilitiesClient::new(channel),
        })
    }

    /// Which of `digests` the server lacks.
    ///
    /// # Errors
    /// The server's.
    pub async fn missing(&self, digests: Vec<reapi::Digest>) -> Result<Vec<reapi::Digest>, Status> {
        let request = FindMissingBlobsRequest { blob_digests: digests, ..Default::default() };
        Ok(self.cas.clone().find_missing_blobs(request).await?.into_inner().missing_blob_digests)
    }

    /// Stores small blobs in one batch.
    ///
    /// # Errors
    /// The server's, or the first blob's.
    pub async fn store(&self, blobs: &[Bytes]) -> Result<()> {
        let requests = blobs
            .iter()
            .map(|data| batch_update_blobs_request::Request {
                digest: Some(digest(data)),
                data: data.clone(),
                ..Default::default()
            })
            .collect();
        let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
        for response in self.cas.clone().batch_update_blobs(request).await?.into_inner().responses {
            let status = response.status.unwrap_or_default();
            ensure!(status.code == 0, "{:?}: {}", response.digest, status.message);
        }
        Ok(())
    }

    /// Stores a blob of any size.
    ///
    /// # Errors
    /// The server's.
    pub async fn store_any(&self, data: Bytes) -> Result<()> {
        if data.len() <= BATCH_SIZE_BYTES {
            return self.store(&[data]).await;
        }
        let (size, hash) = (data.len(), Digest::of(&data).hash_hex());
        let name = format!("uploads/6f1d7a52-0000-4000-8000-000000000000/blobs/{hash}/{size}");
        let committed = self.write(&name, data, 1 << 20).await?;
        ensure!(committed == i64::try_from(size)?, "committed {committed} of {size}");
        Ok(())
    }

    /// Writes a byte stream in pieces, and gives the committed size.
    ///
    /// # Errors
    /// The server's.
    pub async fn write(&self, name: &str, data: Bytes, piece_bytes: usize) -> Result<i64, Status> {
        let mut requests = Vec::new();
        for start in (0..data.len().max(1)).step_by(piece_bytes) {
            let end = (start + piece_bytes).min(data.len());
            requests.push(WriteRequest {
                resource_name: if start == 0 { name.to_owned() } else { String::new() },
                write_offset: start as i64,
                finish_write: end == data.len(),
                data: data.slice(start..end),
            });
        }
        Ok(self.bytes.clone().write(futures::stream::iter(requests)).await?.into_inner().committed_size)
    }

    /// Reads a byte stream.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(&self, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
        let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
        let mut stream = self.bytes.clone().read(request).await?.into_inner();
        let mut data = Vec::new();
        while let Some(response) = stream.next().await {
            data.extend_from_slice(&response?.data);
        }
        Ok(data)
    }

    /// Reads one small blob.
    ///
    /// # Errors
    /// The server's, or the blob's.
    pub async fn fetch(&self, digest: reapi::Digest) -> Result<Bytes> {
        let request = BatchReadBlobsRequest { digests: vec![digest], ..Default::default() };
        let mut responses = self.cas.clone().batch_read_blobs(request).await?.into_inner().responses;
        let response = responses.pop().context("no answer for the blob")?;
        let status = response.status.unwrap_or_default();
        ensure!(status.code == 0, "{}", status.message);
        Ok(response.data)
    }

    /// Stores a command, an input root of files (`path`, contents, whether executable; one level deep) and the action, and
    /// gives the action's digest.
    ///
    /// # Errors
    /// The server's.
    pub async fn prepare(
        &self,
        command: &Command,
        inputs: &[(&str, &[u8], bool)],
        edit: impl FnOnce(&mut Action),
    ) -> Result<reapi::Digest> {
        let mut root = Directory::default();
        let mut blobs = vec![blob(command)];
        for (name, contents, is_executable) in inputs {
            root.files.push(reapi::FileNode {
                name: (*name).to_owned(),
                digest: Some(digest(contents)),
                is_executable: *is_executable,
                ..Default::default()
            });
            blobs.push(Bytes::copy_from_slice(contents));
        }
        root.files.sort_by(|one, other| one.name.cmp(&other.name));
        blobs.push(blob(&root));
        let mut action = Action {
            command_digest: Some(digest(&blobs[0])),
            input_root_digest: Some(digest(&blob(&root))),
            ..Default::default()
        };
        edit(&mut action);
        blobs.push(blob(&action));
        self.store(&blobs).await?;
        Ok(digest(&blob(&action)))
    }

    /// Executes, and gives every operation that the server said.
    ///
    /// # Errors
    /// The server's.
    pub async fn operations(&self, request: ExecuteRequest) -> Result<Vec<Operation>, Status> {
        let mut stream = self.execution.clone().execute(request).await?.into_inner();
        let mut operations = Vec::new();
        while let Some(operation) = stream.next().await {
            operations.push(operation?);
        }
        Ok(operations)
    }

    /// Executes the action, and gives the answer.
    ///
    /// # Errors
    /// The server's; and when the operations are not as the API wants them.
    pub async fn execute(&self, action: reapi::Digest) -> Result<ExecuteResponse> {
        self.execute_with(ExecuteRequest { action_digest: Some(action), ..Default::default() }).await
    }

    /// As [`Self::execute`], with a whole request.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn execute_with(&self, request: ExecuteRequest) -> Result<ExecuteResponse> {
        answer(&self.operations(request).await?)
    }
}

/// The stage that an operation is in.
///
/// # Errors
/// When its metadata are not the API's.
pub fn stage(operation: &Operation) -> Result<execution_stage::Value> {
    let metadata = operation.metadata.as_ref().context("an operation without metadata")?;
    Ok(metadata.to_msg::<ExecuteOperationMetadata>()?.stage())
}

/// The answer at the end of `operations`, which must be as the API wants them: done exactly when completed, never with an
/// error of their own.
///
/// # Errors
/// When they are not.
pub fn answer(operations: &[Operation]) -> Result<ExecuteResponse> {
    for (index, operation) in operations.iter().enumerate() {
        let is_last = index + 1 == operations.len();
        let completed = stage(operation)? == execution_stage::Value::Completed;
        ensure!(operation.done == is_last && completed == is_last, "operation {index}: {operation:?}");
        ensure!(!operation.name.is_empty(), "operation {index} has no name");
    }
    match operations.last().and_then(|operation| operation.result.as_ref()) {
        Some(operation::Result::Response(response)) => Ok(response.to_msg()?),
        other => bail!("no response: {other:?}"),
    }
}

/// A command that `/bin/sh` runs, with these outputs.
pub fn shell(script: &str, outputs: &[&str]) -> Command {
    Command {
        arguments: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        output_paths: outputs.iter().map(|path| (*path).to_owned()).collect(),
        ..Default::default()
    }
}
