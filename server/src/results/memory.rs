//! Results in memory alone, bounded: what is used least makes room, and an end forgets all.
//!
//! Behind [`DiskResultStore`](super::disk::DiskResultStore) the same table keeps what is used most.

use super::{RecordName, ResultKey, ResultStore, Stored};
use crate::blobs::StoreError;
use async_trait::async_trait;
use prost::Message as _;
use pumphouse_proto::entries;
use pumphouse_proto::reapi::ActionResult;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// What a result costs besides its message.
const OVERHEAD_BYTES: u64 = 256;

/// What a file, directory or link of a result costs besides its text.
const ENTRY_BYTES: u64 = 200;

/// How large a result is for the table's first guess at how many there will be.
const EXPECTED_SIZE_BYTES: u64 = 1024;

/// Results by their names.
pub(super) type Table = Cache<RecordName, Stored, BySize>;

/// Weighs results by the memory that they take.
#[derive(Debug, Clone)]
pub(super) struct BySize;

impl Weighter<RecordName, Stored> for BySize {
    fn weight(&self, _: &RecordName, stored: &Stored) -> u64 {
        let entries = entries::of_result(&stored.result) as u64;
        stored.result.encoded_len() as u64 + entries * ENTRY_BYTES + OVERHEAD_BYTES
    }
}

/// A table of up to `size_bytes`.
pub(super) fn table(size_bytes: u64) -> Table {
    Cache::with_weighter((size_bytes / EXPECTED_SIZE_BYTES) as usize, size_bytes, BySize)
}

/// The results in a table.
#[derive(Debug)]
pub struct MemoryResultStore {
    table: Table,
}

impl MemoryResultStore {
    /// Keeps up to `size_bytes` of results.
    pub fn new(size_bytes: u64) -> Self {
        Self { table: table(size_bytes) }
    }
}

#[async_trait]
impl ResultStore for MemoryResultStore {
    async fn get(&self, key: &ResultKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        Ok(self.table.get(&key.record_name()).and_then(|stored| stored.answer(key)))
    }

    async fn put(&self, key: &ResultKey, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.table.insert(key.record_name(), Stored { key: key.clone(), result });
        Ok(())
    }

    async fn remove(&self, key: &ResultKey) -> Result<(), StoreError> {
        self.table.remove(&key.record_name());
        Ok(())
    }

    fn size(&self) -> (u64, usize) {
        (self.table.weight(), self.table.len())
    }
}
