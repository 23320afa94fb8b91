//! The server, as cases see it.

use super::suite::Outcome;
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message;
use pumphouse_proto::address::Address;
use pumphouse_proto::bytestream::byte_stream_client::ByteStreamClient;
use pumphouse_proto::bytestream::{ReadRequest, WriteRequest};
use pumphouse_proto::connection::{Connection, Credentials, Dialer};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::operations_client::OperationsClient;
use pumphouse_proto::reapi::action_cache_client::ActionCacheClient;
use pumphouse_proto::reapi::capabilities_client::CapabilitiesClient;
use pumphouse_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::{
    self, BatchUpdateBlobsRequest, FindMissingBlobsRequest, GetCapabilitiesRequest, ServerCapabilities,
    batch_update_blobs_request, compressor,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tonic::Status;

/// What answers may be as messages: no server's are larger.
const MESSAGE_SIZE_BYTES: usize = 64 << 20;

/// A server and an instance of it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Target {
    connection: Connection,
    pub(crate) address: Address,
    pub(crate) capabilities: Arc<ServerCapabilities>,
    /// Unlike that of any other run.
    nonce: u128,
    next: Arc<AtomicU64>,
}

impl Target {
    /// Connects, and asks for the capabilities.
    pub(crate) async fn connect(address: &Address, credentials: &Credentials) -> anyhow::Result<Self> {
        let connection = Dialer::new(address, credentials, |endpoint| endpoint.tcp_nodelay(true))?.connect_lazy();
        let request = GetCapabilitiesRequest { instance_name: address.instance_name.clone() };
        let capabilities = CapabilitiesClient::new(connection.clone()).get_capabilities(request).await?.into_inner();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let nonce = since.as_nanos() ^ (u128::from(std::process::id()) << 96);
        let (address, capabilities) = (address.clone(), Arc::new(capabilities));
        Ok(Self { connection, address, capabilities, nonce, next: Arc::default() })
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Connection> {
        ContentAddressableStorageClient::new(self.connection.clone())
            .max_decoding_message_size(MESSAGE_SIZE_BYTES)
            .max_encoding_message_size(MESSAGE_SIZE_BYTES)
    }

    pub(crate) fn bytes(&self) -> ByteStreamClient<Connection> {
        ByteStreamClient::new(self.connection.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES)
    }

    pub(crate) fn action_cache(&self) -> ActionCacheClient<Connection> {
        ActionCacheClient::new(self.connection.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES)
    }

    pub(crate) fn execution(&self) -> ExecutionClient<Connection> {
        ExecutionClient::new(self.connection.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES)
    }

    pub(crate) fn operations(&self) -> OperationsClient<Connection> {
        OperationsClient::new(self.connection.clone())
    }

    pub(crate) fn instance(&self) -> String {
        self.address.instance_name.clone()
    }

    /// `INSTANCE/` where there is one.
    pub(crate) fn prefix(&self) -> String {
        if self.address.instance_name.is_empty() { String::new() } else { format!("{}/", self.address.instance_name) }
    }

    /// Bytes that nobody has stored before.
    pub(crate) fn unique(&self, size: usize) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = (self.nonce as u64) ^ ((self.nonce >> 64) as u64) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut content = format!("{:032x}-{number:08x}-", self.nonce).into_bytes();
        while content.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend(state.to_le_bytes());
        }
        if size > 0 {
            content.truncate(size.max(41));
        }
        content.into()
    }

    /// Whether blobs can be sent and asked for as zstd.
    pub(crate) fn zstd(&self) -> Result<(), Outcome> {
        let cache = self.capabilities.cache_capabilities.as_ref();
        let has = cache.is_some_and(|cache| cache.supported_compressors.contains(&compressor::Value::Zstd.into()));
        if has { Ok(()) } else { Err(Outcome::Absent("zstd is not among the compressors".to_owned())) }
    }

    /// Whether batches can be sent as zstd.
    pub(crate) fn batch_zstd(&self) -> Result<(), Outcome> {
        let cache = self.capabilities.cache_capabilities.as_ref();
        let zstd = compressor::Value::Zstd.into();
        let has = cache.is_some_and(|cache| cache.supported_batch_update_compressors.contains(&zstd));
        if has { Ok(()) } else { Err(Outcome::Absent("zstd is not among the compressors of batches".to_owned())) }
    }

    pub(crate) async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Outcome> {
        let request = FindMissingBlobsRequest {
            instance_name: self.instance(),
            blob_digests: digests.iter().map(Into::into).collect(),
            ..Default::default()
        };
        let missing = self.cas().find_missing_blobs(request).await?.into_inner().missing_blob_digests;
        let read = |digest: &reapi::Digest| Digest::try_from(digest).map_err(|error| Outcome::Wrong(error.to_string()));
        missing.iter().map(read).collect()
    }

    /// The statuses of an upload in one batch, in order.
    pub(crate) async fn batch(&self, uploads: Vec<batch_update_blobs_request::Request>) -> Result<Vec<i32>, Status> {
        let request =
            BatchUpdateBlobsRequest { instance_name: self.instance(), requests: uploads, ..Default::default() };
        let responses = self.cas().batch_update_blobs(request).await?.into_inner().responses;
        Ok(responses.into_iter().map(|response| response.status.unwrap_or_default().code).collect())
    }

    /// Stores small blobs.
    pub(crate) async fn store(&self, blobs: &[Bytes]) -> Result<Vec<Digest>, Outcome> {
        let codes = self.batch(blobs.iter().map(upload).collect()).await?;
        super::suite::same("the statuses of an upload", &codes, &vec![0; blobs.len()])?;
        Ok(blobs.iter().map(|blob| Digest::of(blob)).collect())
    }

    /// Stores a message.
    pub(crate) async fn store_message(&self, message: &impl Message) -> Result<Digest, Outcome> {
        Ok(self.store(&[message.encode_to_vec().into()]).await?[0])
    }

    /// Writes `pieces` as they stand.
    pub(crate) async fn write(&self, requests: Vec<WriteRequest>) -> Result<i64, Status> {
        Ok(self.bytes().write(futures::stream::iter(requests)).await?.into_inner().committed_size)
    }

    /// Reads a stream to its end.
    pub(crate) async fn read(&self, name: &str, offset: i64, limit: i64) -> Result<Bytes, Status> {
        let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
        let mut stream = self.bytes().read(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(piece) = stream.next().await {
            content.extend_from_slice(&piece?.data);
        }
        Ok(content.into())
    }

    /// The name of a blob to be read.
    pub(crate) fn read_name(&self, digest: Digest) -> String {
        format!("{}blobs/{digest}", self.prefix())
    }

    /// A name for a blob that is written, unlike any other.
    pub(crate) fn write_name(&self, digest: Digest) -> String {
        format!("{}uploads/{}/blobs/{digest}", self.prefix(), self.upload_id())
    }

    pub(crate) fn upload_id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let nonce = format!("{:032x}", self.nonce);
        format!("{}-{}-4{}-8{}-{number:012x}", &nonce[..8], &nonce[8..12], &nonce[12..15], &nonce[15..18])
    }
}

/// A blob as it is sent in a batch.
pub(crate) fn upload(blob: &Bytes) -> batch_update_blobs_request::Request {
    batch_update_blobs_request::Request {
        digest: Some(Digest::of(blob).into()),
        data: blob.clone(),
        ..Default::default()
    }
}

/// `content` in pieces of `piece` bytes, under `name`.
pub(crate) fn pieces(name: &str, content: &Bytes, piece: usize) -> Vec<WriteRequest> {
    let starts = (0..content.len().max(1)).step_by(piece.max(1));
    starts
        .map(|start| {
            let end = content.len().min(start + piece);
            WriteRequest {
                resource_name: if start == 0 { name.to_owned() } else { String::new() },
                write_offset: start as i64,
                finish_write: end == content.len(),
                data: content.slice(start..end),
            }
        })
        .collect()
}

/// Makes of a blob what is sent for it.
pub(crate) type Make = fn(&[u8]) -> Bytes;

/// What is sent as zstd and doesn't make the blob.
pub(crate) const DAMAGES: [(&str, Make); 5] = [
    ("garbage", |_| Bytes::from_static(b"this is no frame")),
    ("truncated", |blob| compressed(blob).slice(..compressed(blob).len() - 3)),
    ("trailing-garbage", |blob| [&compressed(blob)[..], b"more"].concat().into()),
    ("longer", |blob| compressed(&[blob, b"x"].concat())),
    ("shorter", |blob| compressed(&blob[1..])),
];

/// `content` as one frame of zstd.
pub(crate) fn compressed(content: &[u8]) -> Bytes {
    zstd::bulk::compress(content, 3).unwrap_or_default().into()
}

/// A digest that says something else than what the API allows.
pub(crate) fn raw_digest(hash: &str, size_bytes: i64) -> reapi::Digest {
    reapi::Digest { hash: hash.into(), size_bytes }
}
