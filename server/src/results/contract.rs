//! What every store of results does, as tests that are run against each; and what a disk does beyond that.

use super::disk::DiskResultStore;
use super::encoding::header;
use super::memory::MemoryResultStore;
use super::{ResultKey, ResultStore, UNKNOWN_SIZE_BYTES};
use crate::config::Config;
use crate::scheduler::ActionKey;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::ActionResult;
use std::path::Path;
use std::sync::Arc;

fn action(instance_name: &str) -> ActionKey {
    ActionKey { instance_name: instance_name.into(), digest: Digest::of(b"action") }
}

fn in_instance(instance_name: &str) -> ResultKey {
    ResultKey::Action(action(instance_name))
}

/// An action whose digest has the same hash by another function.
fn by_blake3(instance_name: &str) -> ResultKey {
    let known = action(instance_name);
    ResultKey::Action(ActionKey { digest: known.digest.by(DigestFunction::Blake3), ..known })
}

fn by_hash(instance_name: &str, hash: [u8; 32]) -> ResultKey {
    ResultKey::ActionHash { instance_name: instance_name.into(), hash }
}

fn of_size(size_bytes: u64) -> ResultKey {
    let known = action("");
    ResultKey::Action(ActionKey { digest: Digest::new(*known.digest.hash(), size_bytes), ..known })
}

fn result(exit_code: i32) -> Arc<ActionResult> {
    Arc::new(ActionResult { exit_code, ..ActionResult::default() })
}

fn open(dir: &Path) -> DiskResultStore {
    let config = Config { dir: dir.to_owned(), free_disk_bytes: 0, ..Config::default() };
    DiskResultStore::open(&config).expect("opens")
}

async fn holds(store: &dyn ResultStore, key: &ResultKey, expect: Option<i32>) {
    assert_eq!(store.get(key).await.expect("reads"), expect.map(result), "{key:?}");
}

async fn put(store: &dyn ResultStore, key: &ResultKey, exit_code: i32) {
    store.put(key, result(exit_code)).await.expect("stored");
}

/// The whole contract.
async fn check(store: &dyn ResultStore) {
    each_key_has_its_own(store).await;
    a_size_is_part_of_what_is_asked_for_where_it_is_known(store).await;
    nobody_reaches_into_another_instance(store).await;
}

async fn each_key_has_its_own(store: &dyn ResultStore) {
    let digest = action("").digest;
    let keys = [
        in_instance(""),
        in_instance("a/b"),
        by_blake3(""),
        ResultKey::Name("action".into()),
        ResultKey::Chunks(digest),
        ResultKey::Asset(digest),
    ];
    for key in &keys {
        holds(store, key, None).await;
        store.remove(key).await.expect("nothing is removed");
    }
    for (key, number) in keys.iter().zip(1..) {
        put(store, key, 100).await;
        put(store, key, number).await;
    }
    for (key, number) in keys.iter().zip(1..) {
        holds(store, key, Some(number)).await;
    }
    assert_eq!(store.size().1, keys.len());
    for (key, number) in keys.iter().zip(1..) {
        holds(store, key, Some(number)).await;
        store.remove(key).await.expect("removed");
        holds(store, key, None).await;
    }
    assert_eq!(store.size(), (0, 0));
}

async fn a_size_is_part_of_what_is_asked_for_where_it_is_known(store: &dyn ResultStore) {
    let (known, hash) = (in_instance(""), by_hash("", *action("").digest.hash()));
    put(store, &known, 1).await;
    holds(store, &known, Some(1)).await;
    holds(store, &hash, Some(1)).await;
    for size_bytes in [UNKNOWN_SIZE_BYTES, action("").digest.size_bytes() + 1] {
        holds(store, &of_size(size_bytes), None).await;
    }
    put(store, &hash, 2).await;
    holds(store, &known, Some(2)).await;
    holds(store, &hash, Some(2)).await;
    store.remove(&known).await.expect("removed");
    holds(store, &hash, None).await;
}

async fn nobody_reaches_into_another_instance(store: &dyn ResultStore) {
    put(store, &in_instance("main"), 1).await;
    // The name of the other's record, and what it was made of, as hashes of actions.
    for hash in [in_instance("main").record_name(), *action("").digest.hash()] {
        let mine = by_hash("", hash);
        holds(store, &mine, None).await;
        put(store, &mine, 2).await;
        store.remove(&mine).await.expect("removed");
        holds(store, &in_instance("main"), Some(1)).await;
    }
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract_within_its_bound() {
    let store = MemoryResultStore::new(1_000_000);
    check(&store).await;
    for number in 0..10_000 {
        put(&store, &ResultKey::Name(number.to_string().into()), number).await;
    }
    let (size_bytes, results) = store.size();
    assert!((100_000..=1_000_000).contains(&size_bytes) && results < 5000, "{size_bytes} {results}");
}

#[tokio::test]
async fn the_disk_store_keeps_the_contract_and_what_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    check(&open(dir.path())).await;
    let store = open(dir.path());
    let hash = *action("by hash").digest.hash();
    let keys = [in_instance("a/b"), by_blake3("a/b"), by_hash("by hash", hash), ResultKey::Name("n".into())];
    for (key, number) in keys.iter().zip(1..) {
        put(&store, key, number).await;
    }
    drop(store);
    let store = open(dir.path());
    for (key, number) in keys.iter().zip(1..) {
        holds(&store, key, Some(number)).await;
    }
    holds(&store, &in_instance("a"), None).await;
    holds(&store, &of_size(UNKNOWN_SIZE_BYTES), None).await;
    let main = in_instance("main");
    holds(&store, &main, Some(1)).await;
    holds(&store, &by_hash("", main.record_name()), None).await;
    for key in keys.iter().chain([&main]) {
        store.remove(key).await.expect("removed");
    }
    check(&store).await;
}

#[tokio::test]
async fn torn_entries_are_absent() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = in_instance("");
    put(&open(dir.path()), &key, 1).await;
    let path = dir.path().join("action-cache/packs/0");
    let mut content = std::fs::read(&path).expect("the pack");
    let header = header(&key);
    let at = content.windows(header.len()).position(|window| window == header.as_bytes()).expect("the entry");
    content[at + header.len()..].fill(0xff);
    std::fs::write(&path, &content).expect("written");
    let store = open(dir.path());
    holds(&store, &key, None).await;
    put(&store, &key, 2).await;
    holds(&store, &key, Some(2)).await;
}
