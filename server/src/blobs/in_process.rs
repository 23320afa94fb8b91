//! The store for a worker of the same process: no messages, and large blobs as hard links to the files that they are.
//!
//! It knows nobody's role: whoever has it may read and store everything.

use super::disk::DiskBlobStore;
use super::{BlobStore, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pumphouse_proto::cas::{Appearance, Cas, Link, LocalCas};
use pumphouse_proto::cas_client::{Source, Upload};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::{CONCURRENT_TRANSFERS, STREAM_CHUNK_SIZE_BYTES};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tonic::Status;

/// The server's store, as a CAS of the process that it is in.
pub(crate) struct InProcessCas {
    blobs: Arc<dyn BlobStore>,
    /// The store on disk that `blobs` decorates: it has their files.
    disk: DiskBlobStore,
}

impl InProcessCas {
    /// `blobs` are those of `disk`, however decorated.
    pub(crate) fn new(blobs: Arc<dyn BlobStore>, disk: DiskBlobStore) -> Self {
        Self { blobs, disk }
    }

    async fn upload_file(&self, digest: Digest, path: &Path) -> Result<(), Status> {
        let unreadable = |error: io::Error| Status::internal(format!("reading {}: {error}", path.display()));
        let mut file = File::open(path).map_err(unreadable)?;
        let mut writer = self.blobs.write(digest).await?;
        loop {
            let (rest, piece) = blocking(move || read_piece(&mut file).map(|piece| (file, piece))).await?;
            file = rest;
            if piece.is_empty() {
                break;
            }
            writer.write(piece).await?;
        }
        writer.commit().await?;
        Ok(())
    }
}

#[async_trait]
impl Cas for InProcessCas {
    async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status> {
        Ok(self.blobs.find_missing(digests).await?)
    }

    async fn read_all(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, Status> {
        let blobs = self.blobs.get_many(digests).await;
        let mut found = HashMap::with_capacity(digests.len());
        for (digest, blob) in digests.iter().zip(blobs) {
            match blob {
                Ok(blob) => drop(found.insert(*digest, blob)),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    async fn read_to_file(&self, digest: Digest, file: File, path: &Path) -> Result<bool, Status> {
        let mut pieces = match self.blobs.read(digest, 0, None).await {
            Err(StoreError::NotFound(_)) => return Ok(false),
            pieces => pieces?,
        };
        let mut file = tokio::fs::File::from_std(file);
        let unwritable = |error: io::Error| Status::internal(format!("writing {}: {error}", path.display()));
        while let Some(piece) = pieces.next().await {
            file.write_all(&piece?).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        Ok(true)
    }

    async fn upload(&self, uploads: Vec<Upload>) -> Result<(), Status> {
        let mut whole = Vec::new();
        let mut files = Vec::new();
        for Upload { digest, source } in uploads {
            match source {
                Source::Bytes(blob) => whole.push((digest, blob)),
                Source::File(path) => files.push((digest, path)),
            }
        }
        for stored in self.blobs.put_many(whole).await {
            stored?;
        }
        let uploads = files.into_iter().map(|(digest, path)| async move { self.upload_file(digest, &path).await });
        stream::iter(uploads).buffer_unordered(CONCURRENT_TRANSFERS).try_collect().await
    }
}

#[async_trait]
impl LocalCas for InProcessCas {
    fn linked_above_bytes(&self, directory: &Path) -> Option<u64> {
        self.disk.linked_above_bytes(directory)
    }

    async fn link(&self, digest: Digest, appearance: Appearance, path: &Path) -> Result<Link, Status> {
        Ok(self.disk.link(digest, appearance, path).await?)
    }

    fn corrupt_files(&self) -> u64 {
        self.disk.corrupt_files()
    }
}

impl fmt::Debug for InProcessCas {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InProcessCas").field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// The next bytes of a file; none at its end.
fn read_piece(file: &mut File) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(STREAM_CHUNK_SIZE_BYTES);
    file.take(STREAM_CHUNK_SIZE_BYTES as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Status> {
    let called = tokio::task::spawn_blocking(call).await.map_err(|error| Status::internal(error.to_string()))?;
    called.map_err(|error| Status::internal(format!("reading a file that is to be stored: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::time::Duration;
    use tonic::Code;

    fn open(dir: &Path, cas_size_bytes: u64) -> InProcessCas {
        let config = Config {
            dir: dir.to_owned(),
            free_disk_bytes: 0,
            cas_size_bytes,
            promised_lifetime: Duration::from_secs(3600),
            ..Config::default()
        };
        let disk = DiskBlobStore::open(&config).expect("opens");
        InProcessCas::new(Arc::new(disk.clone()), disk)
    }

    fn upload_of_file(dir: &Path, content: &[u8]) -> Upload {
        let path = dir.join("output");
        std::fs::write(&path, content).expect("written");
        Upload { digest: Digest::of(content), source: Source::File(path) }
    }

    #[tokio::test]
    async fn what_is_stored_comes_back_however_it_went() {
        let dir = tempfile::tempdir().expect("a directory");
        let cas = open(dir.path(), 100_000_000);
        let (small, large) = (Bytes::from_static(b"small"), vec![7; 3_000_000]);
        let digests = [Digest::of(&small), Digest::of(&large), Digest::of(b"absent")];
        let from_memory = Upload { digest: digests[0], source: Source::Bytes(small.clone()) };
        cas.upload(vec![from_memory, upload_of_file(dir.path(), &large)]).await.expect("stored");
        assert_eq!(cas.find_missing(&digests).await.expect("asked"), digests[2..]);
        let found = cas.read_all(&digests).await.expect("read");
        assert_eq!((found.len(), &found[&digests[0]], &found[&digests[1]][..]), (2, &small, &large[..]));
        for (digest, expect) in [(digests[1], Some(&large[..])), (digests[2], None)] {
            let path = dir.path().join("read");
            let file = File::create(&path).expect("made");
            assert_eq!(cas.read_to_file(digest, file, &path).await.expect("read"), expect.is_some());
            assert!(expect.is_none_or(|expect| std::fs::read(&path).expect("there") == expect));
        }
    }

    #[tokio::test]
    async fn errors_have_the_store_s_statuses() {
        let dir = tempfile::tempdir().expect("a directory");
        let cas = open(dir.path(), 100_000);
        let large = vec![7; 200_000];
        let too_large = [
            Upload { digest: Digest::of(&large), source: Source::Bytes(large.clone().into()) },
            upload_of_file(dir.path(), &large),
        ];
        for upload in too_large {
            let refused = cas.upload(vec![upload]).await.expect_err("no room");
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        }
        let changed = Upload { digest: Digest::of(b"before"), ..upload_of_file(dir.path(), b"after!") };
        assert_eq!(cas.upload(vec![changed]).await.expect_err("another file").code(), Code::InvalidArgument);
    }
}
