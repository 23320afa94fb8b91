//! Results as files, replaced by renaming over them, and the most used of them in memory.
//!
//! A file holds the SHA-256 of what follows, then the instance's name and the action's digest, then the result. One that
//! is torn or is another action's counts as absent.

use crate::blobs::StoreError;
use crate::config::Config;
use crate::scheduler::ActionKey;
use prost::Message as _;
use pumphouse_proto::reapi::ActionResult;
use pumphouse_storage::{Directory, Key, Limits, SystemVolume, Temporaries, VolumeFile as _};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What share of the server's memory for caches results take.
const SHARE_OF_MEMORY: u64 = 4;

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<Key, Arc<ActionResult>> for BySize {
    fn weight(&self, _: &Key, result: &Arc<ActionResult>) -> u64 {
        /// Decoded messages take more room than encoded ones.
        const EXPANSION: u64 = 3;
        result.encoded_len() as u64 * EXPANSION + 256
    }
}

/// The results in one directory.
#[derive(Debug)]
pub(super) struct DiskActionCache {
    directory: Arc<Directory>,
    recent: Arc<Cache<Key, Arc<ActionResult>, BySize>>,
}

impl DiskActionCache {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let limits = Limits {
            size_bytes: config.action_cache_size_bytes,
            promised_lifetime: std::time::Duration::ZERO,
            free_disk_bytes: config.free_disk_bytes,
        };
        let volume = SystemVolume::open(&config.dir.join("action-cache"), Temporaries::Nameless)?;
        let directory = Directory::open(volume, limits)?;
        let size_bytes = config.memory_size_bytes / SHARE_OF_MEMORY;
        let recent = Arc::new(Cache::with_weighter((size_bytes / 1024) as usize, size_bytes, BySize));
        Ok(Self { directory, recent })
    }

    pub(super) async fn get(&self, action: &ActionKey) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let key = key_of(action);
        if self.directory.find_one(&key).is_none() && !self.directory.may_be_unknown(&key) {
            return Ok(None);
        }
        if let Some(result) = self.recent.get(&key) {
            return Ok(Some(result));
        }
        let (directory, recent, action) = (Arc::clone(&self.directory), Arc::clone(&self.recent), action.clone());
        blocking(move || {
            let Some((file, stat)) = directory.read(&key)? else { return Ok(None) };
            let mut content = vec![0; stat.size_bytes as usize];
            let read = file.read_full_at(&mut content, 0);
            read.map_err(|error| directory.write_error("read", "an entry", error))?;
            let Some(result) = decode(&action, &content) else {
                directory.quarantine(&key);
                return Ok(None);
            };
            let result = Arc::new(result);
            // Under no lock, so a newer result may have been put meanwhile: then that one is kept.
            let _ = recent.get_or_insert_with::<_, StoreError>(&key, || Ok(Arc::clone(&result)));
            Ok(Some(result))
        })
        .await
    }

    pub(super) async fn put(&self, action: &ActionKey, result: Arc<ActionResult>) -> Result<(), StoreError> {
        let key = key_of(action);
        let content = encode(action, &result);
        let (directory, recent) = (Arc::clone(&self.directory), Arc::clone(&self.recent));
        blocking(move || {
            let size_bytes = content.len() as u64;
            let mut reservation = directory.reservation(size_bytes)?;
            directory.reserve(&mut reservation, size_bytes)?;
            let mut temporary = directory.temporary()?;
            temporary.write(&content).map_err(|error| directory.write_error("write", "tmp", error))?;
            directory.replace(&key, &temporary)?;
            recent.insert(key, result);
            Ok(())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let called = tokio::task::spawn_blocking(call).await;
    called.map_err(|error| StoreError::Broken(error.to_string().into()))?
}

/// The file's name: the action's hash, mixed with the instance's name where there is one.
fn key_of(action: &ActionKey) -> Key {
    if action.instance_name.is_empty() {
        return *action.digest.hash();
    }
    let mut hasher = Sha256::new();
    hasher.update(action.digest.hash());
    hasher.update(action.instance_name.as_bytes());
    hasher.finalize().into()
}

fn header(action: &ActionKey) -> String {
    format!("{} {}\n", action.digest, action.instance_name)
}

fn encode(action: &ActionKey, result: &ActionResult) -> Vec<u8> {
    let header = header(action);
    let mut content = Vec::with_capacity(32 + header.len() + result.encoded_len());
    content.extend([0; 32]);
    content.extend(header.as_bytes());
    result.encode(&mut content).expect("a vector grows");
    let checksum = Sha256::digest(&content[32..]);
    content[..32].copy_from_slice(&checksum);
    content
}

fn decode(action: &ActionKey, content: &[u8]) -> Option<ActionResult> {
    let (checksum, rest) = content.split_at_checked(32)?;
    if Sha256::digest(rest)[..] != *checksum {
        return None;
    }
    ActionResult::decode(rest.strip_prefix(header(action).as_bytes())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::digest::Digest;

    fn action(instance_name: &str) -> ActionKey {
        ActionKey { instance_name: instance_name.into(), digest: Digest::of(b"action") }
    }

    fn result(exit_code: i32) -> Arc<ActionResult> {
        Arc::new(ActionResult { exit_code, ..ActionResult::default() })
    }

    fn open(dir: &std::path::Path) -> DiskActionCache {
        let config = Config { dir: dir.to_owned(), free_disk_bytes: 0, ..Config::default() };
        DiskActionCache::open(&config).expect("opens")
    }

    #[tokio::test]
    async fn results_are_replaced_and_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = open(dir.path());
        assert_eq!(cache.get(&action("")).await.expect("reads"), None);
        cache.put(&action(""), result(1)).await.expect("stored");
        cache.put(&action("a/b"), result(2)).await.expect("stored");
        cache.put(&action(""), result(3)).await.expect("replaced");
        assert_eq!(cache.get(&action("")).await.expect("reads"), Some(result(3)));
        drop(cache);
        let cache = open(dir.path());
        assert_eq!(cache.get(&action("")).await.expect("reads"), Some(result(3)));
        assert_eq!(cache.get(&action("a/b")).await.expect("reads"), Some(result(2)));
        assert_eq!(cache.get(&action("a")).await.expect("reads"), None);
    }

    #[tokio::test]
    async fn torn_entries_are_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path()).put(&action(""), result(1)).await.expect("stored");
        let hash = action("").digest.hash_hex();
        let path = dir.path().join("action-cache").join(&hash[..2]).join(&hash);
        let content = std::fs::read(&path).expect("the entry's file");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, &content[..content.len() - 1]).expect("written");
        let cache = open(dir.path());
        assert_eq!(cache.get(&action("")).await.expect("reads"), None);
        cache.put(&action(""), result(2)).await.expect("stored");
        assert_eq!(cache.get(&action("")).await.expect("reads"), Some(result(2)));
    }
}
