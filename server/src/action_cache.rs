//! Results of actions by the actions' digests, answered only where every blob that they name is there.
//!
//! **Source:** Remote Execution API v2, service `ActionCache`.

mod completeness;
mod disk;
mod inline;

use crate::blobs::{BlobStore, StoreError};
use crate::config::Config;
use crate::scheduler::{ActionKey, ResultStore};
use async_trait::async_trait;
use completeness::Completeness;
use disk::DiskActionCache;
pub(crate) use inline::{InlineRequest, shrink};
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse};
use std::sync::Arc;

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
        let Some(result) = self.results.get(action).await? else { return Ok(None) };
        let completeness = Completeness { blobs: self.blobs.as_ref() };
        Ok(completeness.is_complete(&result).await?.then_some(result))
    }

    /// Remembers a result, in place of an earlier one.
    ///
    /// # Errors
    /// There is no room, or the store is broken.
    pub async fn put(&self, action: &ActionKey, result: ActionResult) -> Result<(), StoreError> {
        self.results.put(action, Arc::new(result)).await
    }
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
