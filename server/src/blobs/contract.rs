//! What every store of blobs does, as tests that are run against each.

mod decorated;
mod on_disk;
mod unverified;

use super::disk::DiskBlobStore;
use super::memory::MemoryCachingStore;
use super::metered::MeteredStore;
use super::{BlobStore, StoreError};
use crate::config::Config;
use bytes::Bytes;
use futures::TryStreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use pumphouse_storage::Temporaries;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A configuration for tests.
pub(super) fn config(dir: &Path) -> Config {
    Config { dir: dir.to_owned(), free_disk_bytes: 0, ..Config::default() }
}

fn content(size: usize) -> Bytes {
    (0..size as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

async fn read(store: &dyn BlobStore, digest: Digest, offset: u64, limit: Option<u64>) -> Result<Bytes, StoreError> {
    let pieces: Vec<Bytes> = store.read(digest, offset, limit).await?.try_collect().await?;
    assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= STREAM_CHUNK_SIZE_BYTES));
    Ok(pieces.concat().into())
}

async fn write(store: &dyn BlobStore, digest: Digest, blob: &Bytes, piece: usize) -> Result<(), StoreError> {
    let mut writer = store.write(digest).await?;
    for start in (0..blob.len()).step_by(piece) {
        writer.write(blob.slice(start..blob.len().min(start + piece))).await?;
    }
    let stored = writer.commit().await?;
    assert_eq!(stored, digest);
    Ok(())
}

/// The whole contract.
async fn check(store: &dyn BlobStore) {
    the_empty_blob_is_always_there(store).await;
    what_is_put_is_there(store).await;
    what_is_written_is_there(store).await;
    what_has_no_name_yet_is_named_by_its_content(store).await;
    what_does_not_match_is_refused(store).await;
    an_upload_that_is_given_up_leaves_nothing(store).await;
    the_same_blob_may_be_stored_by_many(store).await;
    absent_blobs_are_not_found(store).await;
}

async fn the_empty_blob_is_always_there(store: &dyn BlobStore) {
    for empty in DigestFunction::ALL.map(DigestFunction::empty) {
        assert!(store.find_missing(&[empty]).await.expect("looks").is_empty());
        assert_eq!(store.get(empty).await.expect("reads"), "");
        assert_eq!(read(store, empty, 0, None).await.expect("reads"), "");
        store.put(empty, Bytes::new()).await.expect("stores");
        write(store, empty, &Bytes::new(), 1).await.expect("stores");
    }
}

async fn what_is_put_is_there(store: &dyn BlobStore) {
    let blobs: Vec<Bytes> = (1..60).map(|number| content(number * 1571)).collect();
    let named: Vec<(Digest, Bytes)> = blobs
        .iter()
        .zip(DigestFunction::ALL.into_iter().cycle())
        .map(|(blob, function)| (function.digest(blob), blob.clone()))
        .collect();
    let digests: Vec<Digest> = named.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(store.find_missing(&digests).await.expect("looks"), digests);
    assert!(store.put_many(named.clone()).await.iter().all(Result::is_ok));
    assert!(store.put_many(named).await.iter().all(Result::is_ok), "storing again does no harm");
    assert!(store.find_missing(&digests).await.expect("looks").is_empty());
    let read: Vec<Bytes> = store.get_many(&digests).await.into_iter().map(|blob| blob.expect("reads")).collect();
    assert!(read == blobs);
    let other_size = Digest::new(*digests[0].hash(), digests[0].size_bytes() + 1);
    assert_eq!(store.find_missing(&[other_size]).await.expect("looks"), [other_size]);
    assert!(matches!(store.get(other_size).await, Err(StoreError::NotFound(_))));
}

async fn what_is_written_is_there(store: &dyn BlobStore) {
    for size in [1, 1000, STREAM_CHUNK_SIZE_BYTES, STREAM_CHUNK_SIZE_BYTES + 1, 5_000_000] {
        let blob = content(size + 100).slice(100..);
        let (digest, size) = (Digest::of(&blob), size as u64);
        write(store, digest, &blob, 70_000).await.expect("stores");
        assert!(store.find_missing(&[digest]).await.expect("looks").is_empty());
        assert!(read(store, digest, 0, None).await.expect("reads") == blob);
        for (offset, limit) in [(0, 1), (size / 2, size), (size - 1, 1), (size, 1), (size / 3, size / 3 + 1)] {
            let end = size.min(offset + limit) as usize;
            let part = read(store, digest, offset, Some(limit)).await.expect("reads");
            assert!(part == blob.slice(offset as usize..end), "{size} {offset} {limit}");
        }
    }
}

async fn what_has_no_name_yet_is_named_by_its_content(store: &dyn BlobStore) {
    for size in [0, 1, 1_000_003] {
        let blob = content(size + 11).slice(11..);
        for function in [DigestFunction::ALL, DigestFunction::ALL].concat() {
            let mut writer = store.write_unnamed(function).await.expect("begins");
            for piece in blob.chunks(80_000) {
                writer.write(Bytes::copy_from_slice(piece)).await.expect("takes a piece");
            }
            let digest = function.digest(&blob);
            assert_eq!(writer.commit().await.expect("stores"), digest);
            assert!(read(store, digest, 0, None).await.expect("reads") == blob);
        }
        let digest = Digest::of(&blob);
        assert_eq!(store.digest_of(*digest.hash()).await.expect("looks"), Some(digest));
    }
    assert_eq!(store.digest_of([9; 32]).await.expect("looks"), None);
}

async fn what_does_not_match_is_refused(store: &dyn BlobStore) {
    let blob = content(700_001);
    let digest = Digest::of(&blob);
    let other = Bytes::from(vec![0; blob.len()]);
    let longer = Bytes::from([&blob[..], b"x"].concat());
    let refused = write(store, digest.by(DigestFunction::Blake3), &blob, 100_000).await;
    assert!(matches!(refused, Err(StoreError::Mismatch { .. })), "{refused:?}");
    for wrong in [other, longer, blob.slice(1..), Bytes::new()] {
        let refused = store.put(digest, wrong.clone()).await;
        assert!(matches!(refused, Err(StoreError::Mismatch { .. })), "{refused:?}");
        let refused = write(store, digest, &wrong, 100_000).await;
        assert!(matches!(refused, Err(StoreError::Mismatch { .. })), "{refused:?}");
    }
    assert_eq!(store.find_missing(&[digest]).await.expect("looks"), [digest]);
}

async fn an_upload_that_is_given_up_leaves_nothing(store: &dyn BlobStore) {
    let blob = content(900_001);
    let digest = Digest::of(&blob);
    let mut writer = store.write(digest).await.expect("begins");
    writer.write(blob.slice(..800_000)).await.expect("takes a piece");
    drop(writer);
    assert_eq!(store.find_missing(&[digest]).await.expect("looks"), [digest]);
    write(store, digest, &blob, 900_001).await.expect("stores");
}

async fn the_same_blob_may_be_stored_by_many(store: &dyn BlobStore) {
    let blob = content(300_007);
    let digest = Digest::of(&blob);
    let writes = (1..5).map(|number| write(store, digest, &blob, number * 50_000));
    let puts = (0..4).map(|_| store.put(digest, blob.clone()));
    let (written, put) = tokio::join!(futures::future::join_all(writes), futures::future::join_all(puts));
    assert!(written.iter().chain(&put).all(Result::is_ok), "{written:?} {put:?}");
    assert!(store.get(digest).await.expect("reads") == blob);
}

async fn absent_blobs_are_not_found(store: &dyn BlobStore) {
    for size in [3, 1_000_000] {
        let absent = Digest::new([7; 32], size);
        assert_eq!(store.find_missing(&[absent]).await.expect("looks"), [absent]);
        assert!(matches!(store.get(absent).await, Err(StoreError::NotFound(digest)) if digest == absent));
        assert!(matches!(store.read(absent, 0, None).await, Err(StoreError::NotFound(_))));
    }
}

#[tokio::test]
async fn the_disk_store_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    check(&DiskBlobStore::open(&config(dir.path())).expect("opens")).await;
}

#[tokio::test]
async fn the_disk_store_keeps_the_contract_without_nameless_files() {
    let dir = tempfile::tempdir().expect("a directory");
    check(&DiskBlobStore::open_with(&config(dir.path()), Temporaries::Named).expect("opens")).await;
    let scratch = std::fs::read_dir(dir.path().join("cas/tmp")).expect("a directory");
    assert_eq!(scratch.count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn the_memory_cache_keeps_the_contract() {
    for memory in [0, 10_000, 100_000_000] {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = DiskBlobStore::open(&config(dir.path())).expect("opens");
        check(&MemoryCachingStore::new(disk, memory)).await;
    }
}

#[tokio::test]
async fn the_metered_store_keeps_the_contract_and_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MeteredStore::new(DiskBlobStore::open(&config(dir.path())).expect("opens"));
    check(&store).await;
    let traffic = store.traffic();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert!(count(&traffic.looked_for) > count(&traffic.missing) && count(&traffic.missing) > 0);
    assert!(count(&traffic.bytes_read) > count(&traffic.blobs_read) && count(&traffic.blobs_read) > 0);
    assert!(count(&traffic.bytes_written) > count(&traffic.blobs_written) && count(&traffic.blobs_written) > 0);
    assert!(count(&traffic.failures) > 0);
}
