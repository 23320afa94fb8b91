//! Results of actions by the actions' digests, answered only where every blob that they name is there.
//!
//! **Source:** Remote Execution API v2, service `ActionCache`.

mod assets;
mod completeness;
mod disk;
mod inline;

use crate::blobs::{BlobStore, StoreError};
use crate::config::Config;
use crate::scheduler::{ActionKey, ResultStore};
pub use assets::{Asset, AssetKind};
use async_trait::async_trait;
use completeness::Completeness;
use disk::{DiskActionCache, UNKNOWN_SIZE_BYTES, Wanted};
pub(crate) use inline::{InlineRequest, shrink};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, OutputFile};
use std::sync::Arc;

/// The instance of named blobs. Names with control characters are refused where clients give them.
const NAMES: &str = "\0names";

/// The instance of lists of chunks.
const CHUNKS: &str = "\0chunks";

/// A cache of results before the blobs that they name.
pub struct ActionCache {
    results: DiskActionCache,
    blobs: Arc<dyn BlobStore>,
}

impl ActionCache {
    /// Opens or creates the cache below `config.dir`. Blocks while the journal is read.
    ///
    /// # Errors
    /// Another server uses the directory, or the file system says no.
    pub fn open(config: &Config, blobs: Arc<dyn BlobStore>) -> anyhow::Result<Self> {
        Ok(Self { results: DiskActionCache::open(config)?, blobs })
    }

    /// The result of an action, if it is known and complete; its blobs stay for the promised lifetime.
    ///
    /// # Errors
    /// A store is broken.
    pub async fn get(&self, action: &ActionKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.get_complete(Wanted::Action(action)).await
    }

    async fn get_complete(&self, wanted: Wanted<'_>) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let Some(result) = self.results.get(wanted).await? else { return Ok(None) };
        let completeness = Completeness { blobs: self.blobs.as_ref() };
        Ok(completeness.is_complete(wanted.function(), &result).await?.then_some(result))
    }

    /// Remembers a result, in place of an earlier one.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    pub async fn put(&self, action: &ActionKey, result: ActionResult) -> Result<(), StoreError> {
        self.results.put(action, Arc::new(result)).await
    }

    /// As [`Self::get`], of the action with a hash, whose size nobody says.
    ///
    /// # Errors
    /// A store is broken.
    pub async fn get_by_hash(
        &self,
        instance_name: &str,
        hash: [u8; 32],
    ) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.get_complete(Wanted::Hash(&unsized_key(instance_name, hash))).await
    }

    /// As [`Self::put`], for the action with a hash, whose size nobody says.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    pub async fn put_by_hash(
        &self,
        instance_name: &str,
        hash: [u8; 32],
        result: ActionResult,
    ) -> Result<(), StoreError> {
        self.put(&unsized_key(instance_name, hash), result).await
    }

    /// Forgets the result of the action with a hash.
    ///
    /// # Errors
    /// The store is broken.
    pub async fn remove_by_hash(&self, instance_name: &str, hash: [u8; 32]) -> Result<(), StoreError> {
        self.results.remove(&unsized_key(instance_name, hash)).await
    }

    /// The blob that has a name, if it is there; it stays for the promised lifetime.
    ///
    /// # Errors
    /// A store is broken.
    pub async fn named(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let result = self.get(&name_key(name)).await?;
        Ok(result.and_then(|result| Digest::try_from(&result.output_files.first()?.digest).ok()))
    }

    /// Gives a blob a name, which another one may have had.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    pub async fn name(&self, name: &str, blob: Digest) -> Result<(), StoreError> {
        let file = OutputFile { digest: Some(blob.into()), ..OutputFile::default() };
        self.put(&name_key(name), ActionResult { output_files: vec![file], ..ActionResult::default() }).await
    }

    /// Forgets which blob has a name.
    ///
    /// # Errors
    /// The store is broken.
    pub async fn unname(&self, name: &str) -> Result<(), StoreError> {
        self.results.remove(&name_key(name)).await
    }

    /// The chunks of which a blob is made, in order, if that is known and all of them are there; they stay for the promised
    /// lifetime.
    ///
    /// # Errors
    /// A store is broken.
    pub async fn chunks(&self, blob: Digest) -> Result<Option<Vec<Digest>>, StoreError> {
        let Some(result) = self.get(&chunks_key(blob)).await? else { return Ok(None) };
        Ok(result.output_files.iter().map(|chunk| blob.function().read_field(&chunk.digest).ok()).collect())
    }

    /// Remembers the chunks of which a blob is made.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    pub async fn set_chunks(&self, blob: Digest, chunks: &[Digest]) -> Result<(), StoreError> {
        let file = |chunk: &Digest| OutputFile { digest: Some(chunk.into()), ..OutputFile::default() };
        let output_files = chunks.iter().map(file).collect();
        self.put(&chunks_key(blob), ActionResult { output_files, ..ActionResult::default() }).await
    }

    /// The bytes of all results, and their number.
    pub fn size(&self) -> (u64, usize) {
        self.results.size()
    }
}

fn unsized_key(instance_name: &str, hash: [u8; 32]) -> ActionKey {
    ActionKey { instance_name: instance_name.into(), digest: Digest::new(hash, UNKNOWN_SIZE_BYTES) }
}

/// The key of a named blob: a result of an instance that no client can name.
fn name_key(name: &str) -> ActionKey {
    ActionKey { instance_name: NAMES.into(), digest: Digest::of(name.as_bytes()) }
}

fn chunks_key(blob: Digest) -> ActionKey {
    ActionKey { instance_name: CHUNKS.into(), digest: blob }
}

#[async_trait]
impl ResultStore for ActionCache {
    async fn store(&self, action: &ActionKey, response: &ExecuteResponse) {
        let Some(result) = response.result.clone() else { return };
        if let Err(error) = self.put(action, result).await {
            tracing::warn!(action = %action.digest, %error, "cannot cache the result of an action");
        }
    }
}
