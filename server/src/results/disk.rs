//! Results as files, replaced by renaming over them, and the most used of them in memory.
//!
//! What is torn or is another key's counts as absent.

use super::memory::{Table, table};
use super::{RecordName, ResultKey, ResultStore, Stored, encoding};
use crate::blobs::StoreError;
use crate::config::Config;
use crate::settled::Settled;
use async_trait::async_trait;
use pumphouse_proto::reapi::ActionResult;
use pumphouse_storage::{Directory, Limits, SystemVolume, Temporaries};
use std::sync::Arc;
use std::time::Duration;

/// What share of the server's memory for caches results take.
const SHARE_OF_MEMORY: u64 = 4;

/// The results in one directory.
#[derive(Debug)]
pub struct DiskResultStore {
    directory: Arc<Directory>,
    recent: Arc<Table>,
    settled: Settled,
}

impl DiskResultStore {
    /// Opens or creates the store below `config.dir`. Blocks while the journal is read.
    ///
    /// # Errors
    /// Another server uses the directory, or the file system says no.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let limits = Limits {
            size_bytes: config.action_cache_size_bytes,
            promised_lifetime: Duration::ZERO,
            free_disk_bytes: config.free_disk_bytes,
        };
        let volume = SystemVolume::open(&config.dir.join("action-cache"), Temporaries::Nameless)?;
        let directory = Directory::open(volume, limits)?;
        let recent = Arc::new(table(config.memory_size_bytes / SHARE_OF_MEMORY));
        Ok(Self { settled: Settled::of(&directory), directory, recent })
    }

    async fn stored(&self, name: RecordName, key: &ResultKey) -> Result<Option<Stored>, StoreError> {
        let known = self.directory.find_one(&name);
        if known.is_none() && !self.directory.may_be_unknown(&name) {
            return Ok(None);
        }
        if let Some(stored) = self.recent.get(&name) {
            return Ok(Some(stored));
        }
        if known.is_none_or(|entry| !entry.is_confirmed) {
            self.settled.wait().await;
        }
        let (directory, recent, key) = (Arc::clone(&self.directory), Arc::clone(&self.recent), key.clone());
        blocking(move || {
            let Some(content) = directory.content(&name)? else { return Ok(None) };
            let Some(rest) = encoding::checked(&content) else {
                directory.quarantine(&name);
                return Ok(None);
            };
            // What is whole, and another's, is that one's business.
            let Some(stored) = encoding::decode(&key, rest) else { return Ok(None) };
            // Under no lock, so a newer result may have been put meanwhile: then that one is kept.
            let _ = recent.get_or_insert_with::<_, StoreError>(&name, || Ok(stored.clone()));
            Ok(Some(stored))
        })
        .await
    }
}

#[async_trait]
impl ResultStore for DiskResultStore {
    async fn get(&self, key: &ResultKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let stored = self.stored(key.record_name(), key).await?;
        Ok(stored.and_then(|stored| stored.answer(key)))
    }

    async fn put(&self, key: &ResultKey, result: Arc<ActionResult>) -> Result<(), StoreError> {
        let name = key.record_name();
        let content = encoding::encode(key, &result);
        let stored = Stored { key: key.clone(), result };
        let (directory, recent) = (Arc::clone(&self.directory), Arc::clone(&self.recent));
        blocking(move || {
            let size_bytes = content.len() as u64;
            if directory.packs(size_bytes) {
                directory.replace_content(&name, &content)?;
                recent.insert(name, stored);
                return Ok(());
            }
            let mut reservation = directory.reservation(size_bytes)?;
            directory.reserve(&mut reservation, size_bytes)?;
            let mut temporary = directory.temporary()?;
            temporary.write(&content).map_err(|error| directory.write_error("write", "tmp", error))?;
            directory.replace(&name, &temporary)?;
            recent.insert(name, stored);
            Ok(())
        })
        .await
    }

    async fn remove(&self, key: &ResultKey) -> Result<(), StoreError> {
        // Else what is found later would come back.
        self.settled.wait().await;
        let name = key.record_name();
        let (directory, recent) = (Arc::clone(&self.directory), Arc::clone(&self.recent));
        blocking(move || {
            directory.remove(&name)?;
            recent.remove(&name);
            Ok(())
        })
        .await
    }

    fn size(&self) -> (u64, usize) {
        (self.directory.size_bytes(), self.directory.len())
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let called = tokio::task::spawn_blocking(call).await;
    called.map_err(|error| StoreError::Broken(error.to_string().into()))?
}
