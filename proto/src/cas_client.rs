//! Blobs to and from a server's CAS: which are missing, small ones in batches, large ones as streams.
//!
//! Every blob that arrives is verified. It does not know what blobs mean, and keeps no memory of what is where.

mod verifier;

use crate::bytestream::byte_stream_client::ByteStreamClient;
use crate::bytestream::{ReadRequest, WriteRequest};
use crate::connection::Connection;
use crate::digest::{Digest, DigestFunction};
use crate::limits;
use crate::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use crate::reapi::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, FindMissingBlobsRequest, batch_update_blobs_request,
};
use crate::resource_name::{BlobName, Compression, UploadName};
use crate::retry::{is_transient, retrying};
use crate::status;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Request, Status};
pub use verifier::Verifier;

/// The header that says who asks.
pub const REQUEST_METADATA_HEADER: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// What a blob costs in a batch besides its data: its digest, its status and the frames around them.
const BATCH_OVERHEAD_BYTES: usize = 128;

/// A client of one instance's CAS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CasClient {
    cas: ContentAddressableStorageClient<Connection>,
    reads: ByteStreamClient<Connection>,
    writes: ByteStreamClient<Connection>,
    instance_name: Arc<str>,
    batch_size_bytes: usize,
    request_metadata: Option<BinaryMetadataValue>,
    /// Counts what moves.
    meter: Arc<AtomicU64>,
}

/// A blob to store.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its name.
    pub digest: Digest,
    /// Where its bytes are.
    pub source: Source,
}

/// Where the bytes of an upload are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Bytes(Bytes),
    /// In a file, which is read when its turn comes. One whose content has changed is refused by the server.
    File(PathBuf),
}

impl CasClient {
    /// A client over `connection`. `batch_size_bytes` is what the server's capabilities allow; 0 means its default.
    pub fn new(connection: Connection, instance_name: &str, batch_size_bytes: usize) -> Self {
        let batch_size_bytes = match batch_size_bytes {
            0 => limits::BATCH_SIZE_BYTES,
            size => size.min(limits::BATCH_SIZE_BYTES),
        };
        Self {
            cas: ContentAddressableStorageClient::new(connection.clone())
                .max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES)
                .max_encoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES),
            reads: ByteStreamClient::new(connection.clone())
                .max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES),
            writes: ByteStreamClient::new(connection).max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES),
            instance_name: instance_name.into(),
            batch_size_bytes,
            request_metadata: None,
            meter: Arc::default(),
        }
    }

    /// This client, made to write its streams over `connection`: what the server does not take in would stand in the way of
    /// everything else on the same connection.
    #[must_use]
    pub fn with_writes_over(mut self, connection: Connection) -> Self {
        self.writes = ByteStreamClient::new(connection).max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES);
        self
    }

    /// This client, made to say in every call who asks.
    #[must_use]
    pub fn with_request_metadata(mut self, request_metadata: BinaryMetadataValue) -> Self {
        self.request_metadata = Some(request_metadata);
        self
    }

    /// This client, made to count in `meter` each answer and each piece that moves.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<AtomicU64>) -> Self {
        self.meter = meter;
        self
    }

    /// Which of `digests` the server lacks.
    ///
    /// # Errors
    /// The call's status, after retries.
    pub async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status> {
        let mut missing = Vec::new();
        for part in runs(digests).flat_map(|run| run.chunks(limits::DIGESTS_PER_CALL)) {
            let function = function_of(part);
            let message = FindMissingBlobsRequest {
                instance_name: self.instance_name.to_string(),
                blob_digests: part.iter().map(Into::into).collect(),
                digest_function: field(function),
            };
            let answer = retrying(|| {
                let request = self.request(message.clone(), limits::CALL_TIMEOUT);
                let mut cas = self.cas.clone();
                async move { cas.find_missing_blobs(request).await }
            })
            .await?;
            self.count();
            for digest in &answer.into_inner().missing_blob_digests {
                missing.push(function.read(digest)?);
            }
        }
        Ok(missing)
    }

    /// Stores those of `uploads` that the server lacks, and gives the number of bytes that were sent.
    ///
    /// # Errors
    /// The first failure, after retries.
    pub async fn upload_missing(&self, uploads: Vec<Upload>) -> Result<u64, Status> {
        let digests: Vec<Digest> = uploads.iter().map(|upload| upload.digest).collect();
        let missing: std::collections::HashSet<Digest> = self.find_missing(&digests).await?.into_iter().collect();
        self.upload(uploads.into_iter().filter(|upload| missing.contains(&upload.digest)).collect()).await
    }

    /// Stores `uploads` without asking whether they are there, and gives the number of bytes that were sent.
    ///
    /// # Errors
    /// The first failure, after retries.
    pub async fn upload(&self, uploads: Vec<Upload>) -> Result<u64, Status> {
        let size_bytes = uploads.iter().map(|upload| upload.digest.size_bytes()).sum();
        let groups = group(uploads, |upload| upload.digest, self.batch_size_bytes);
        stream::iter(groups.into_iter().map(|group| async move {
            match group {
                Group::Batch(uploads) => self.upload_batch(uploads).await,
                Group::Stream(upload) => self.upload_stream(&upload).await,
            }
        }))
        .buffer_unordered(limits::CONCURRENT_TRANSFERS)
        .try_collect::<()>()
        .await?;
        Ok(size_bytes)
    }

    /// Reads `digests`, each verified. Those that the server lacks are absent from the answer.
    ///
    /// # Errors
    /// The first failure other than an absent blob, after retries.
    pub async fn read_all(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, Status> {
        let groups = group(digests.to_vec(), |digest| *digest, self.batch_size_bytes);
        let parts: Vec<Vec<(Digest, Bytes)>> = stream::iter(groups.into_iter().map(|group| async move {
            match group {
                Group::Batch(digests) => self.read_batch(digests).await,
                Group::Stream(digest) => {
                    Ok(self.read_stream(digest).await?.map(|blob| (digest, blob)).into_iter().collect())
                }
            }
        }))
        .buffer_unordered(limits::CONCURRENT_TRANSFERS)
        .try_collect()
        .await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Reads one blob into memory, verified; none if the server lacks it.
    ///
    /// # Errors
    /// The call's status, after retries.
    pub async fn read(&self, digest: Digest) -> Result<Option<Bytes>, Status> {
        Ok(self.read_all(&[digest]).await?.remove(&digest))
    }

    /// Reads one blob into `file`, which is new and stands at `path`, verified as it arrives; false if the server lacks it.
    /// Where it fails, the caller removes the file.
    ///
    /// # Errors
    /// The call's status, or `INTERNAL` where the file can't be written.
    pub async fn read_to_file(&self, digest: Digest, file: std::fs::File, path: &Path) -> Result<bool, Status> {
        let write_error = |error: std::io::Error| Status::internal(format!("writing {}: {error}", path.display()));
        let file = tokio::fs::File::from_std(file);
        let mut file = tokio::io::BufWriter::with_capacity(limits::STREAM_CHUNK_SIZE_BYTES, file);
        if digest.is_empty() {
            return Ok(true);
        }
        let mut verifier = Verifier::new(digest);
        let Some(mut messages) = found(self.open_stream(digest).await)? else { return Ok(false) };
        while let Some(message) = found(self.next(&mut messages).await)?.flatten() {
            verifier.add(&message.data)?;
            file.write_all(&message.data).await.map_err(write_error)?;
        }
        verifier.finish()?;
        file.flush().await.map_err(write_error)?;
        Ok(true)
    }

    async fn upload_batch(&self, uploads: Vec<Upload>) -> Result<(), Status> {
        let function = uploads.first().map_or(DigestFunction::Sha256, |upload| upload.digest.function());
        let mut requests = Vec::with_capacity(uploads.len());
        for upload in uploads {
            let data = match upload.source {
                Source::Bytes(data) => data,
                Source::File(path) => Bytes::from(read_file(&path).await?),
            };
            requests.push(batch_update_blobs_request::Request {
                digest: Some(upload.digest.into()),
                data,
                compressor: 0,
            });
        }
        let message = BatchUpdateBlobsRequest {
            instance_name: self.instance_name.to_string(),
            requests,
            digest_function: field(function),
        };
        retrying(|| {
            let request = self.request(message.clone(), limits::TRANSFER_TIMEOUT);
            let mut cas = self.cas.clone();
            async move {
                let answer = cas.batch_update_blobs(request).await?.into_inner();
                self.count();
                match answer
                    .responses
                    .iter()
                    .filter_map(|response| response.status.as_ref())
                    .find(|status| status.code != 0)
                {
                    Some(failure) => Err(status::from_message(failure)),
                    None => Ok(()),
                }
            }
        })
        .await
    }

    async fn upload_stream(&self, upload: &Upload) -> Result<(), Status> {
        let blob = BlobName {
            instance_name: self.instance_name.to_string(),
            digest: upload.digest,
            compression: Compression::Identity,
        };
        retrying(|| async {
            let name = UploadName { blob: blob.clone(), upload_id: upload_id() }.to_string();
            let (sender, receiver) = tokio::sync::mpsc::channel(4);
            let source = upload.source.clone();
            let reader = tokio::task::spawn_blocking(move || send_chunks(&name, source, &sender));
            let moved = Arc::new(AtomicU64::new(0));
            let counters = (Arc::clone(&moved), Arc::clone(&self.meter));
            let messages = stream::unfold((receiver, counters), |(mut receiver, counters)| async move {
                let message = receiver.recv().await?;
                counters.0.fetch_add(1, Ordering::Relaxed);
                counters.1.fetch_add(1, Ordering::Relaxed);
                Some((message, (receiver, counters)))
            });
            let request = self.request(messages, limits::TRANSFER_TIMEOUT);
            let mut writes = self.writes.clone();
            let answer = tokio::select! {
                answer = writes.write(request) => answer,
                () = stands_still(&moved) => Err(stalled(upload.digest)),
            };
            reader.await.map_err(|error| Status::internal(error.to_string()))??;
            let committed = answer?.into_inner().committed_size;
            if committed == upload.digest.size_bytes() as i64 {
                Ok(())
            } else {
                Err(Status::unavailable(format!("write of {} committed {committed} bytes", upload.digest)))
            }
        })
        .await
    }

    async fn read_batch(&self, digests: Vec<Digest>) -> Result<Vec<(Digest, Bytes)>, Status> {
        let function = function_of(&digests);
        let message = BatchReadBlobsRequest {
            instance_name: self.instance_name.to_string(),
            digests: digests.iter().map(Into::into).collect(),
            acceptable_compressors: Vec::new(),
            digest_function: field(function),
        };
        let answer = retrying(|| {
            let request = self.request(message.clone(), limits::TRANSFER_TIMEOUT);
            let mut cas = self.cas.clone();
            async move {
                let answer = cas.batch_read_blobs(request).await?.into_inner();
                let statuses = answer.responses.iter().filter_map(|response| response.status.as_ref());
                // One blob of them couldn't be read just now: the same call may give it.
                let failure = statuses.map(status::from_message).find(is_transient);
                failure.map_or(Ok(answer), Err)
            }
        })
        .await?;
        self.count();
        let mut blobs = Vec::with_capacity(digests.len());
        for response in answer.responses {
            let digest = function.read_field(&response.digest)?;
            let code = response.status.as_ref().map_or(0, |status| status.code);
            if code == i32::from(tonic::Code::NotFound) {
                continue;
            }
            if let Some(failure) = response.status.filter(|status| status.code != 0) {
                return Err(status::from_message(&failure));
            }
            if !digest.matches(&response.data) {
                return Err(corrupt(digest));
            }
            blobs.push((digest, response.data));
        }
        Ok(blobs)
    }

    async fn read_stream(&self, digest: Digest) -> Result<Option<Bytes>, Status> {
        retrying(|| async {
            let Some(mut messages) = found(self.open_stream(digest).await)? else { return Ok(None) };
            let mut verifier = Verifier::new(digest);
            let mut content = Vec::with_capacity(usize::try_from(digest.size_bytes()).unwrap_or_default());
            while let Some(message) = found(self.next(&mut messages).await)?.flatten() {
                verifier.add(&message.data)?;
                content.extend_from_slice(&message.data);
            }
            if content.is_empty() && !digest.is_empty() {
                return Ok(None);
            }
            verifier.finish()?;
            Ok(Some(Bytes::from(content)))
        })
        .await
    }

    async fn open_stream(&self, digest: Digest) -> Result<tonic::Streaming<crate::bytestream::ReadResponse>, Status> {
        let name =
            BlobName { instance_name: self.instance_name.to_string(), digest, compression: Compression::Identity };
        let message = ReadRequest { resource_name: name.to_string(), read_offset: 0, read_limit: 0 };
        let request = self.request(message, limits::TRANSFER_TIMEOUT);
        Ok(self.reads.clone().read(request).await?.into_inner())
    }

    /// The next piece of a stream, which may not stand still.
    async fn next<T>(&self, messages: &mut tonic::Streaming<T>) -> Result<Option<T>, Status> {
        let message = tokio::time::timeout(limits::STALL_LIMIT, messages.message()).await;
        self.count();
        message.unwrap_or_else(|_| Err(Status::deadline_exceeded("a stream stands still")))
    }

    fn count(&self) {
        self.meter.fetch_add(1, Ordering::Relaxed);
    }

    fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        self.add_request_metadata(request.metadata_mut());
        request
    }

    fn add_request_metadata(&self, headers: &mut MetadataMap) {
        if let Some(value) = &self.request_metadata {
            headers.insert_bin(REQUEST_METADATA_HEADER, value.clone());
        }
    }
}

enum Group<T> {
    Batch(Vec<T>),
    Stream(T),
}

/// The digests in runs of one function each: a call has one.
fn runs(digests: &[Digest]) -> impl Iterator<Item = &[Digest]> {
    digests.chunk_by(|one, next| one.function() == next.function())
}

/// The function of digests that have one in common.
fn function_of(digests: &[Digest]) -> DigestFunction {
    digests.first().map_or(DigestFunction::Sha256, Digest::function)
}

/// The function in a call. Where it says nothing, servers take SHA-256, those of old too.
fn field(function: DigestFunction) -> i32 {
    if function == DigestFunction::Sha256 { 0 } else { function.to_field() }
}

/// Packs small items into batches below the limit, each of one function; each large one is a stream of its own.
fn group<T>(items: Vec<T>, digest: impl Fn(&T) -> Digest, batch_size_bytes: usize) -> Vec<Group<T>> {
    let mut groups = Vec::new();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    for item in items {
        let size =
            usize::try_from(digest(&item).size_bytes()).unwrap_or(usize::MAX).saturating_add(BATCH_OVERHEAD_BYTES);
        if size > batch_size_bytes {
            groups.push(Group::Stream(item));
            continue;
        }
        let is_other = batch.last().is_some_and(|last| digest(last).function() != digest(&item).function());
        if is_other || batch_bytes + size > batch_size_bytes {
            groups.push(Group::Batch(std::mem::take(&mut batch)));
            batch_bytes = 0;
        }
        batch_bytes += size;
        batch.push(item);
    }
    if !batch.is_empty() {
        groups.push(Group::Batch(batch));
    }
    groups
}

/// Ends when `moved` has not changed for [`limits::STALL_LIMIT`].
async fn stands_still(moved: &AtomicU64) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(limits::STALL_LIMIT).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

fn stalled(digest: Digest) -> Status {
    Status::deadline_exceeded(format!("the write of {digest} stands still"))
}

/// Turns `NOT_FOUND` into none.
fn found<T>(outcome: Result<T, Status>) -> Result<Option<T>, Status> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn corrupt(digest: Digest) -> Status {
    Status::invalid_argument(format!("blob {digest} does not match its digest"))
}

/// Sends a blob in pieces of [`limits::STREAM_CHUNK_SIZE_BYTES`]; ends quietly where the receiver has gone.
fn send_chunks(name: &str, source: Source, sender: &tokio::sync::mpsc::Sender<WriteRequest>) -> Result<(), Status> {
    let mut reader: Box<dyn std::io::Read> = match source {
        Source::Bytes(data) => Box::new(std::io::Cursor::new(data)),
        Source::File(path) => Box::new(std::fs::File::open(&path).map_err(|error| unreadable(&path, &error))?),
    };
    let mut write_offset = 0;
    let mut resource_name = name.to_owned();
    loop {
        let mut data = Vec::with_capacity(limits::STREAM_CHUNK_SIZE_BYTES);
        let length = reader
            .by_ref()
            .take(limits::STREAM_CHUNK_SIZE_BYTES as u64)
            .read_to_end(&mut data)
            .map_err(|error| Status::failed_precondition(format!("reading blob for {name}: {error}")))?;
        let finish_write = length < limits::STREAM_CHUNK_SIZE_BYTES;
        let message = WriteRequest {
            resource_name: std::mem::take(&mut resource_name),
            write_offset,
            finish_write,
            data: Bytes::from(data),
        };
        write_offset += length as i64;
        if sender.blocking_send(message).is_err() || finish_write {
            return Ok(());
        }
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Status> {
    tokio::fs::read(path).await.map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Status {
    Status::failed_precondition(format!("reading {}: {error}", path.display()))
}

/// A name for one attempt to write, in the form of a UUID, which is what some servers insist on.
fn upload_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), now.as_nanos());
    let hex = Digest::of(seed.as_bytes()).hash_hex();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
