//! Large blobs as lists of chunks: cut where their content says, and put together again.
//!
//! Which chunks a blob has is remembered as a result of the action cache, in an instance that no client can name: so it is there
//! only while all chunks are, and asking for it keeps them.
//!
//! **Source:** Remote Execution API v2, `SplitBlob`, `SpliceBlob`, `FastCdc2020Params`.

use super::Backend;
use crate::blobs::StoreError;
use bytes::{Bytes, BytesMut};
use fastcdc::v2020::{FastCDC, Normalization};
use futures::TryStreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use tonic::Status;

/// How long chunks are on average, as the API recommends.
pub(super) const AVERAGE_SIZE_BYTES: usize = 512 * 1024;

/// The shortest and the longest chunk, as the API has them follow.
const SHORTEST_SIZE_BYTES: usize = AVERAGE_SIZE_BYTES / 4;
const LONGEST_SIZE_BYTES: usize = AVERAGE_SIZE_BYTES * 4;

/// How much of a blob is in memory while it is cut.
const WINDOW_SIZE_BYTES: usize = 4 * LONGEST_SIZE_BYTES;

/// How many chunks a blob may be put together of: their digests fit into one message.
const CHUNKS: usize = 40_000;

/// How many blobs are cut at a time; each takes a processor, and [`MEMORY_SIZE_BYTES`].
pub(super) const CUT_TOGETHER: usize = 4;

/// What cutting a blob takes of the memory.
pub(super) const MEMORY_SIZE_BYTES: u64 = 2 * WINDOW_SIZE_BYTES as u64;

/// The chunks of a blob that is there, in order, as far as they are known.
pub(super) async fn known(backend: &Backend, blob: Digest) -> Result<Option<Vec<Digest>>, Status> {
    if !backend.blobs.find_missing(&[blob]).await?.is_empty() {
        return Err(StoreError::NotFound(blob).into());
    }
    if blob.size_bytes() <= LONGEST_SIZE_BYTES as u64 {
        return Ok(Some(vec![blob]));
    }
    Ok(backend.action_cache.chunks(blob).await?)
}

/// The chunks of a blob that is there, in order. They are stored if they weren't.
pub(super) async fn split(backend: &Backend, blob: Digest) -> Result<Vec<Digest>, Status> {
    let closed = |_| Status::unavailable("the server is shutting down");
    let _turn = backend.cutting.acquire().await.map_err(closed)?;
    // Somebody else may have cut it meanwhile.
    if let Some(chunks) = known(backend, blob).await? {
        return Ok(chunks);
    }
    if blob.size_bytes() / SHORTEST_SIZE_BYTES as u64 > CHUNKS as u64 {
        return Err(Status::not_found(format!(
            "blob {blob} is too large to be cut: it may have more than {CHUNKS} chunks"
        )));
    }
    let mut pieces = backend.blobs.read(blob, 0, None).await?;
    let (mut window, mut chunks) = (BytesMut::new(), Vec::new());
    loop {
        let piece = pieces.try_next().await?;
        let is_end = piece.is_none();
        window.extend_from_slice(&piece.unwrap_or_default());
        if !is_end && window.len() < WINDOW_SIZE_BYTES {
            continue;
        }
        let content = window.split().freeze();
        let cut = tokio::task::spawn_blocking(move || cut(blob.function(), &content, is_end));
        let (cut, rest) = cut.await.map_err(|error| Status::internal(error.to_string()))?;
        chunks.extend(cut.iter().map(|(digest, _)| *digest));
        backend.blobs.put_many(cut).await.into_iter().collect::<Result<(), _>>()?;
        window.extend_from_slice(&rest);
        if is_end {
            break;
        }
    }
    backend.action_cache.set_chunks(blob, &chunks).await?;
    Ok(chunks)
}

/// The chunks of `content`, named by `function`, and what begins the next one: nothing at the end of the blob.
fn cut(function: DigestFunction, content: &Bytes, is_end: bool) -> (Vec<(Digest, Bytes)>, Bytes) {
    let cutter = FastCDC::with_level_and_seed(
        content,
        SHORTEST_SIZE_BYTES,
        AVERAGE_SIZE_BYTES,
        LONGEST_SIZE_BYTES,
        Normalization::Level2,
        0,
    );
    let mut chunks = Vec::new();
    let mut start = 0;
    // Where a chunk ends hangs on no more than the longest chunk's bytes.
    while start < content.len() && (is_end || content.len() - start >= LONGEST_SIZE_BYTES) {
        let (_, end) = cutter.cut(start, content.len() - start);
        let chunk = content.slice(start..end);
        chunks.push((function.digest(&chunk), chunk));
        start = end;
    }
    (chunks, content.slice(start..))
}

/// Puts `chunks` together to a blob with a digest by `function`, which has to be `expected` if that is given.
pub(super) async fn splice(
    backend: &Backend,
    function: DigestFunction,
    expected: Option<Digest>,
    chunks: &[Digest],
) -> Result<Digest, Status> {
    if chunks.len() > CHUNKS {
        let message = format!("chunk_digests: {} chunks are more than {CHUNKS}", chunks.len());
        return Err(Status::invalid_argument(message));
    }
    let size_bytes = chunks.iter().map(Digest::size_bytes).fold(0, u64::saturating_add);
    let most = backend.config.blob_size_bytes;
    if size_bytes > most {
        let message = format!("chunk_digests: {size_bytes} bytes are more than the {most} that a blob may have");
        return Err(Status::invalid_argument(message));
    }
    if let Some(expected) = expected.filter(|expected| expected.size_bytes() != size_bytes) {
        let message = format!("chunk_digests: have {size_bytes} bytes together, and blob {expected} has others");
        return Err(Status::invalid_argument(message));
    }
    // Extends the lifetimes of all of them, whatever comes of it.
    if let Some(missing) = backend.blobs.find_missing(chunks).await?.first() {
        return Err(Status::not_found(format!("chunk_digests: chunk {missing} is not there")));
    }
    if let Some(expected) = expected
        && backend.blobs.find_missing(&[expected]).await?.is_empty()
    {
        return Ok(expected);
    }
    let mut writer = match expected {
        Some(expected) => backend.blobs.write(expected).await?,
        None => backend.blobs.write_unnamed(function).await?,
    };
    for chunk in chunks {
        let mut pieces = backend.blobs.read(*chunk, 0, None).await?;
        while let Some(piece) = pieces.try_next().await? {
            writer.write(piece).await?;
        }
    }
    let blob = writer.commit().await?;
    // One list a blob: what others were told stays.
    if backend.action_cache.chunks(blob).await?.is_none() {
        backend.action_cache.set_chunks(blob, chunks).await?;
    }
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// Bytes that look random, and are the same every time.
    fn content(size: usize) -> Bytes {
        let blocks = (0_u64..).flat_map(|number| Sha256::digest(number.to_le_bytes()).to_vec());
        blocks.take(size).collect()
    }

    #[tokio::test]
    async fn what_is_cut_in_windows_is_cut_as_a_whole_and_put_together_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Backend::for_test(dir.path());
        let sizes = [1, LONGEST_SIZE_BYTES, LONGEST_SIZE_BYTES + 1, 3 * WINDOW_SIZE_BYTES + 12345];
        for (size, function) in sizes.into_iter().flat_map(|size| DigestFunction::ALL.map(|function| (size, function)))
        {
            let whole = content(size);
            let blob = function.digest(&whole);
            backend.blobs.put(blob, whole.clone()).await.expect("stored");
            let chunks = split(&backend, blob).await.expect("is cut");
            let expect: Vec<Digest> = cut(function, &whole, true).0.iter().map(|(digest, _)| *digest).collect();
            assert_eq!(chunks, if size <= LONGEST_SIZE_BYTES { vec![blob] } else { expect }, "{size}");
            assert_eq!(split(&backend, blob).await.expect("is known"), chunks);
            assert!(backend.blobs.find_missing(&chunks).await.expect("looks").is_empty());
            let twice: Vec<Digest> = chunks.iter().chain(&chunks).copied().collect();
            let doubled = function.digest(&[whole.clone(), whole].concat());
            assert_eq!(splice(&backend, function, Some(doubled), &twice).await.expect("is made"), doubled);
            assert_eq!(splice(&backend, function, None, &twice).await.expect("is made"), doubled);
            assert!(backend.blobs.find_missing(&[doubled]).await.expect("looks").is_empty());
        }
    }

    #[tokio::test]
    async fn what_the_chunks_are_not_is_not_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Backend::for_test(dir.path());
        let function = DigestFunction::Sha256;
        let chunk = Digest::of(b"chunk");
        backend.blobs.put(chunk, Bytes::from_static(b"chunk")).await.expect("stored");
        let wrong = Digest::of(b"other");
        let refused = splice(&backend, function, Some(wrong), &[chunk]).await.expect_err("is another blob");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(backend.blobs.find_missing(&[wrong]).await.expect("looks"), [wrong]);
        let refused = splice(&backend, function, Some(Digest::of(b"longer")), &[chunk]).await.expect_err("is longer");
        assert!(refused.message().contains("chunk_digests"), "{refused}");
        let refused = splice(&backend, function, None, &[chunk, wrong]).await.expect_err("is not there");
        assert_eq!(refused.code(), tonic::Code::NotFound);
        assert_eq!(split(&backend, wrong).await.expect_err("is not there").code(), tonic::Code::NotFound);
        assert_eq!(splice(&backend, function, None, &[]).await.expect("nothing"), Digest::EMPTY);
    }
}
