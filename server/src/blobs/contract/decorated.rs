//! What decorators do beyond the contract, before a store that believes everybody, loses, rots and fails.

use super::unverified::UnverifiedStore;
use super::{check, config, content, read, write};
use crate::blobs::disk::DiskBlobStore;
use crate::blobs::existence::ExistenceCachingStore;
use crate::blobs::memory::MemoryCachingStore;
use crate::blobs::metered::MeteredStore;
use crate::blobs::verifying::VerifyingStore;
use crate::blobs::{BlobStore, StoreError};
use bytes::Bytes;
use futures::StreamExt as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use std::sync::atomic::Ordering;
use std::time::Duration;

const PROMISED: Duration = Duration::from_secs(400);

type Stack = MeteredStore<MemoryCachingStore<ExistenceCachingStore<VerifyingStore<UnverifiedStore>>>>;

/// All decorators, as they stand before a store behind a network.
fn stack(store: &UnverifiedStore) -> Stack {
    let existence = ExistenceCachingStore::new(VerifyingStore::new(store.clone()), PROMISED);
    MeteredStore::new(MemoryCachingStore::new(existence, 1_000_000))
}

async fn missing(store: &dyn BlobStore, digest: Digest) -> bool {
    !store.find_missing(&[digest]).await.expect("looks").is_empty()
}

#[tokio::test]
async fn the_verifying_store_keeps_the_contract_for_one_that_does_not() {
    check(&VerifyingStore::new(UnverifiedStore::default())).await;
}

#[tokio::test]
async fn the_existence_caching_store_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = DiskBlobStore::open(&config(dir.path())).expect("opens");
    check(&ExistenceCachingStore::new(disk, PROMISED)).await;
    check(&ExistenceCachingStore::new(VerifyingStore::new(UnverifiedStore::default()), Duration::ZERO)).await;
}

#[tokio::test]
async fn all_of_them_together_keep_the_contract() {
    check(&stack(&UnverifiedStore::default())).await;
}

#[tokio::test]
async fn what_is_wrong_is_never_given_whole_and_is_missing_until_it_is_brought_again() {
    for function in DigestFunction::ALL {
        what_is_wrong_is_found(function).await;
    }
}

async fn what_is_wrong_is_found(function: DigestFunction) {
    let (inner, size) = (UnverifiedStore::default(), 1_000_000);
    let store = VerifyingStore::new(inner.clone());
    let blob = content(size);
    let digest = function.digest(&blob);
    let mut flipped = blob.to_vec();
    flipped[size - 1] ^= 1;
    let longer = [&blob[..], b"x"].concat();
    for wrong in [flipped, longer, blob[1..].to_vec(), Vec::new()] {
        for way in 0..3 {
            store.put(digest, blob.clone()).await.expect("stores");
            assert!(!missing(&store, digest).await);
            inner.replace(digest, wrong.clone());
            match way {
                0 => assert!(matches!(store.get(digest).await, Err(StoreError::Corrupt(_)))),
                1 => {
                    let pieces: Vec<_> = store.read(digest, 0, None).await.expect("begins").collect().await;
                    let (last, given) = pieces.split_last().expect("one piece");
                    assert!(matches!(last, Err(StoreError::Corrupt(_))), "{last:?}");
                    let given: usize = given.iter().map(|piece| piece.as_ref().expect("a piece").len()).sum();
                    assert!(given < size, "the last piece is held back");
                }
                // A part that is as it should be, of a blob that isn't.
                _ => {
                    let part = read(&store, digest, 10, Some(20)).await;
                    assert!(matches!(part, Err(StoreError::Corrupt(_))), "{part:?}");
                }
            }
            assert!(missing(&store, digest).await, "{way}");
            assert_eq!(store.digest_of(*digest.hash()).await.expect("looks"), None);
        }
    }
    write(&store, digest, &blob, 100_000).await.expect("stores");
    assert!(!missing(&store, digest).await);
    assert!(read(&store, digest, 3, Some(500_000)).await.expect("reads") == blob.slice(3..500_003));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_to_be_there_is_not_asked_for_again_for_a_while() {
    let inner = UnverifiedStore::default();
    let store = ExistenceCachingStore::new(inner.clone(), PROMISED);
    assert!(store.promised_lifetime() < PROMISED && !store.promised_lifetime().is_zero());
    let [put, written, found, absent] = [b"1", b"2", b"3", b"4"].map(|blob| Digest::of(blob));
    store.put(put, Bytes::from_static(b"1")).await.expect("stores");
    write(&store, written, &Bytes::from_static(b"2"), 1).await.expect("stores");
    inner.replace(found, "3");
    let all = [absent, put, written, found];
    assert_eq!(store.find_missing(&all).await.expect("looks"), [absent]);
    assert_eq!(inner.take_looked_for(), 2, "what was stored is known");
    assert_eq!(store.find_missing(&all).await.expect("looks"), [absent]);
    assert_eq!(inner.take_looked_for(), 1, "what is absent is asked for each time");
    inner.replace(absent, "4");
    assert!(store.find_missing(&all).await.expect("looks").is_empty());
    // Not for as long as the store promised it.
    tokio::time::advance(PROMISED.saturating_sub(store.promised_lifetime())).await;
    for digest in all {
        inner.lose(&digest);
    }
    assert_eq!(store.find_missing(&all).await.expect("looks"), all);
}

#[tokio::test]
async fn what_turns_out_to_be_absent_or_corrupt_is_forgotten_at_once() {
    let inner = UnverifiedStore::default();
    let store = ExistenceCachingStore::new(VerifyingStore::new(inner.clone()), PROMISED);
    let blob = content(600_000);
    let digest = Digest::of(&blob);
    for way in 0..4 {
        store.put(digest, blob.clone()).await.expect("stores");
        assert!(!missing(&store, digest).await);
        if way < 2 {
            inner.lose(&digest);
        } else {
            inner.replace(digest, vec![0; blob.len()]);
        }
        match way {
            0 | 2 => drop(store.get(digest).await.expect_err("is not there")),
            _ => drop(read(&store, digest, 0, None).await.expect_err("is not there")),
        }
        assert!(missing(&store, digest).await, "{way}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_answer_is_told_from_one_that_has_nothing() {
    let inner = UnverifiedStore::default();
    let store = stack(&inner);
    let digest = Digest::of(b"blob");
    for failure in [StoreError::Unavailable("try again".into()), StoreError::Broken("mend it".into())] {
        let is_it = |error: StoreError| error.to_string() == failure.to_string();
        inner.fail(Some(failure.clone()));
        assert!(is_it(store.find_missing(&[digest]).await.expect_err("fails")));
        assert!(is_it(store.get(digest).await.expect_err("fails")));
        assert!(is_it(store.put(digest, Bytes::from_static(b"blob")).await.expect_err("fails")));
        assert!(is_it(read(&store, Digest::of(&content(100_000)), 0, None).await.expect_err("fails")));
        assert!(is_it(write(&store, digest, &Bytes::from_static(b"blob"), 4).await.expect_err("fails")));
        assert!(is_it(store.digest_of(*digest.hash()).await.expect_err("fails")));
        inner.fail(None);
        assert!(missing(&store, digest).await, "nothing of that is remembered");
    }
    assert_eq!(store.traffic().failures.load(Ordering::Relaxed), 8);
}
