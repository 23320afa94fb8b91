//! Results of actions by the actions' digests, answered only where every blob that they name is there.
//!
//! **Source:** Remote Execution API v2, service `ActionCache`.

mod assets;
mod completeness;
mod inline;

use crate::blobs::{BlobStore, StoreError};
use crate::results::{ResultKey, ResultStore};
use crate::scheduler::{ActionKey, ResultSink};
pub use assets::{Asset, AssetKind};
use async_trait::async_trait;
use completeness::Completeness;
pub(crate) use inline::{InlineRequest, shrink};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, OutputFile};
use std::sync::Arc;

/// A cache of results before the blobs that they name.
pub struct ActionCache {
    results: Arc<dyn ResultStore>,
    blobs: Arc<dyn BlobStore>,
}

impl ActionCache {
    /// The results in one store, of blobs in the other.
    pub fn new(results: Arc<dyn ResultStore>, blobs: Arc<dyn BlobStore>) -> Self {
        Self { results, blobs }
    }

    /// The result of an action, if it is known and complete; its blobs stay for the promised lifetime.
    ///
    /// # Errors
    /// A store is broken, or can't answer now.
    pub async fn get(&self, action: &ActionKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.get_complete(&ResultKey::Action(action.clone())).await
    }

    async fn get_complete(&self, key: &ResultKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let Some(result) = self.results.get(key).await? else { return Ok(None) };
        let completeness = Completeness { blobs: self.blobs.as_ref() };
        Ok(completeness.is_complete(key.function(), &result).await?.then_some(result))
    }

    /// Remembers a result, in place of an earlier one.
    ///
    /// # Errors
    /// There is no room, or the store is broken, or can't answer now.
    pub async fn put(&self, action: &ActionKey, result: ActionResult) -> Result<(), StoreError> {
        self.put_under(&ResultKey::Action(action.clone()), result).await
    }

    async fn put_under(&self, key: &ResultKey, result: ActionResult) -> Result<(), StoreError> {
        self.results.put(key, Arc::new(result)).await
    }

    /// As [`Self::get`], of the action with a hash, whose size nobody says.
    ///
    /// # Errors
    /// A store is broken, or can't answer now.
    pub async fn get_by_hash(
        &self,
        instance_name: &str,
        hash: [u8; 32],
    ) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.get_complete(&action_hash(instance_name, hash)).await
    }

    /// As [`Self::put`], for the action with a hash, whose size nobody says.
    ///
    /// # Errors
    /// There is no room, or the store is broken, or can't answer now.
    pub async fn put_by_hash(
        &self,
        instance_name: &str,
        hash: [u8; 32],
        result: ActionResult,
    ) -> Result<(), StoreError> {
        self.put_under(&action_hash(instance_name, hash), result).await
    }

    /// Forgets the result of the action with a hash.
    ///
    /// # Errors
    /// The store is broken, or can't answer now.
    pub async fn remove_by_hash(&self, instance_name: &str, hash: [u8; 32]) -> Result<(), StoreError> {
        self.results.remove(&action_hash(instance_name, hash)).await
    }

    /// The blob that has a name, if it is there; it stays for the promised lifetime.
    ///
    /// # Errors
    /// A store is broken, or can't answer now.
    pub async fn named(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let result = self.get_complete(&ResultKey::Name(name.into())).await?;
        Ok(result.and_then(|result| Digest::try_from(&result.output_files.first()?.digest).ok()))
    }

    /// Gives a blob a name, which another one may have had.
    ///
    /// # Errors
    /// There is no room, or the store is broken, or can't answer now.
    pub async fn name(&self, name: &str, blob: Digest) -> Result<(), StoreError> {
        let file = OutputFile { digest: Some(blob.into()), ..OutputFile::default() };
        self.put_under(
            &ResultKey::Name(name.into()),
            ActionResult { output_files: vec![file], ..ActionResult::default() },
        )
        .await
    }

    /// Forgets which blob has a name.
    ///
    /// # Errors
    /// The store is broken, or can't answer now.
    pub async fn unname(&self, name: &str) -> Result<(), StoreError> {
        self.results.remove(&ResultKey::Name(name.into())).await
    }

    /// The chunks of which a blob is made, in order, if that is known and all of them are there; they stay for the promised
    /// lifetime.
    ///
    /// # Errors
    /// A store is broken, or can't answer now.
    pub async fn chunks(&self, blob: Digest) -> Result<Option<Vec<Digest>>, StoreError> {
        let Some(result) = self.get_complete(&ResultKey::Chunks(blob)).await? else { return Ok(None) };
        Ok(result.output_files.iter().map(|chunk| blob.function().read_field(&chunk.digest).ok()).collect())
    }

    /// Remembers the chunks of which a blob is made.
    ///
    /// # Errors
    /// There is no room, or the store is broken, or can't answer now.
    pub async fn set_chunks(&self, blob: Digest, chunks: &[Digest]) -> Result<(), StoreError> {
        let file = |chunk: &Digest| OutputFile { digest: Some(chunk.into()), ..OutputFile::default() };
        let output_files = chunks.iter().map(file).collect();
        self.put_under(&ResultKey::Chunks(blob), ActionResult { output_files, ..ActionResult::default() }).await
    }

    /// The bytes of all results, and their number.
    pub fn size(&self) -> (u64, usize) {
        self.results.size()
    }
}

fn action_hash(instance_name: &str, hash: [u8; 32]) -> ResultKey {
    ResultKey::ActionHash { instance_name: instance_name.into(), hash }
}

#[async_trait]
impl ResultSink for ActionCache {
    async fn store(&self, action: &ActionKey, response: &ExecuteResponse) {
        let Some(result) = response.result.clone() else { return };
        if let Err(error) = self.put(action, result).await {
            tracing::warn!(action = %action.digest, %error, "cannot cache the result of an action");
        }
    }
}
