//! Results as files, replaced by renaming over them, and the most used of them in memory.
//!
//! A file holds the SHA-256 of what follows, then the action's digest and the instance's name, then the result. One that
//! is torn or is another action's counts as absent. Where a result came by HTTP, whose paths name an action by its hash alone,
//! the size of the action is not known: it is written as 0, which no action has.

use crate::blobs::StoreError;
use crate::config::Config;
use crate::scheduler::ActionKey;
use prost::Message as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::ActionResult;
use pumphouse_storage::{Directory, Key, Limits, SystemVolume, Temporaries};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What share of the server's memory for caches results take.
const SHARE_OF_MEMORY: u64 = 4;

/// What stands for the size of an action that came without.
pub(super) const UNKNOWN_SIZE_BYTES: u64 = 0;

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<Key, Stored> for BySize {
    fn weight(&self, _: &Key, stored: &Stored) -> u64 {
        /// Decoded messages take more room than encoded ones.
        const EXPANSION: u64 = 3;
        stored.result.encoded_len() as u64 * EXPANSION + 256
    }
}

/// A result, and whose it is.
#[derive(Debug, Clone)]
struct Stored {
    action: ActionKey,
    result: Arc<ActionResult>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The result of an action.
    Action(&'a ActionKey),
    /// The result of the action of this instance that has the hash of this digest, whatever its size.
    Hash(&'a ActionKey),
}

impl<'a> Wanted<'a> {
    /// The function by which the digests in the result are made.
    pub(super) const fn function(self) -> DigestFunction {
        self.key().digest.function()
    }

    const fn key(self) -> &'a ActionKey {
        let (Self::Action(key) | Self::Hash(key)) = self;
        key
    }

    /// Whether what is known of `action` is what is asked for.
    fn is_met_by(self, action: &ActionKey) -> bool {
        let key = self.key();
        let is_same = action.instance_name == key.instance_name && action.digest.hash() == key.digest.hash();
        is_same
            && match self {
                Self::Hash(_) => true,
                Self::Action(_) => action.digest == key.digest || action.digest.size_bytes() == UNKNOWN_SIZE_BYTES,
            }
    }
}

/// The results in one directory.
#[derive(Debug)]
pub(super) struct DiskActionCache {
    directory: Arc<Directory>,
    recent: Arc<Cache<Key, Stored, BySize>>,
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

    pub(super) async fn get(&self, wanted: Wanted<'_>) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let key = key_of(wanted.key());
        let stored = self.stored(key, wanted.key()).await?;
        Ok(stored.filter(|stored| wanted.is_met_by(&stored.action)).map(|stored| stored.result))
    }

    async fn stored(&self, key: Key, action: &ActionKey) -> Result<Option<Stored>, StoreError> {
        if self.directory.find_one(&key).is_none() && !self.directory.may_be_unknown(&key) {
            return Ok(None);
        }
        if let Some(stored) = self.recent.get(&key) {
            return Ok(Some(stored));
        }
        let (directory, recent, action) = (Arc::clone(&self.directory), Arc::clone(&self.recent), action.clone());
        blocking(move || {
            let Some(content) = directory.content(&key)? else { return Ok(None) };
            let Some(rest) = checked(&content) else {
                directory.quarantine(&key);
                return Ok(None);
            };
            // What is whole, and another's, is that one's business.
            let Some(stored) = decode(&action, rest) else { return Ok(None) };
            // Under no lock, so a newer result may have been put meanwhile: then that one is kept.
            let _ = recent.get_or_insert_with::<_, StoreError>(&key, || Ok(stored.clone()));
            Ok(Some(stored))
        })
        .await
    }

    pub(super) async fn put(&self, action: &ActionKey, result: Arc<ActionResult>) -> Result<(), StoreError> {
        let key = key_of(action);
        let content = encode(action, &result);
        let stored = Stored { action: action.clone(), result };
        let (directory, recent) = (Arc::clone(&self.directory), Arc::clone(&self.recent));
        blocking(move || {
            let size_bytes = content.len() as u64;
            if directory.packs(size_bytes) {
                directory.replace_content(&key, &content)?;
                recent.insert(key, stored);
                return Ok(());
            }
            let mut reservation = directory.reservation(size_bytes)?;
            directory.reserve(&mut reservation, size_bytes)?;
            let mut temporary = directory.temporary()?;
            temporary.write(&content).map_err(|error| directory.write_error("write", "tmp", error))?;
            directory.replace(&key, &temporary)?;
            recent.insert(key, stored);
            Ok(())
        })
        .await
    }

    pub(super) async fn remove(&self, action: &ActionKey) -> Result<(), StoreError> {
        let key = key_of(action);
        let (directory, recent) = (Arc::clone(&self.directory), Arc::clone(&self.recent));
        blocking(move || {
            directory.remove(&key)?;
            recent.remove(&key);
            Ok(())
        })
        .await
    }

    /// The bytes of all results, and their number.
    pub(super) fn size(&self) -> (u64, usize) {
        (self.directory.size_bytes(), self.directory.len())
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let called = tokio::task::spawn_blocking(call).await;
    called.map_err(|error| StoreError::Broken(error.to_string().into()))?
}

/// The file's name: nobody can find an action of his own instance that has the name of another one's.
fn key_of(action: &ActionKey) -> Key {
    let mut hasher = Sha256::new();
    hasher.update(action.digest.hash());
    if let Some(function) = action.digest.function().segment() {
        hasher.update(function);
        // No name of an instance holds it.
        hasher.update([0]);
    }
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

/// What stands behind the checksum of a file that is whole.
fn checked(content: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = content.split_at_checked(32)?;
    (Sha256::digest(rest)[..] == *checksum).then_some(rest)
}

/// The result of `action` in a file, whatever size of it is said there; `None` for another one's.
fn decode(action: &ActionKey, rest: &[u8]) -> Option<Stored> {
    let rest = match action.digest.function().segment() {
        Some(function) => rest.strip_prefix(function.as_bytes())?.strip_prefix(b"/")?,
        None => rest,
    };
    let rest = rest.strip_prefix(action.digest.hash_hex().as_bytes())?.strip_prefix(b"/")?;
    let end = memchr::memchr(b' ', rest)?;
    let size_bytes = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let rest = rest[end + 1..].strip_prefix(action.instance_name.as_bytes())?.strip_prefix(b"\n")?;
    let result = Arc::new(ActionResult::decode(rest).ok()?);
    let digest = Digest::named(action.digest.function(), *action.digest.hash(), size_bytes);
    Some(Stored { action: ActionKey { digest, ..action.clone() }, result })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(cache.get(Wanted::Action(&action(""))).await.expect("reads"), None);
        cache.put(&action(""), result(1)).await.expect("stored");
        cache.put(&action("a/b"), result(2)).await.expect("stored");
        cache.put(&action(""), result(3)).await.expect("replaced");
        assert_eq!(cache.get(Wanted::Action(&action(""))).await.expect("reads"), Some(result(3)));
        drop(cache);
        let cache = open(dir.path());
        assert_eq!(cache.get(Wanted::Action(&action(""))).await.expect("reads"), Some(result(3)));
        assert_eq!(cache.get(Wanted::Action(&action("a/b"))).await.expect("reads"), Some(result(2)));
        assert_eq!(cache.get(Wanted::Action(&action("a"))).await.expect("reads"), None);
    }

    #[tokio::test]
    async fn a_size_is_part_of_what_is_asked_for_where_it_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let known = action("");
        let sized = |size_bytes| ActionKey { digest: Digest::new(*known.digest.hash(), size_bytes), ..known.clone() };
        for is_reopened in [false, true] {
            let mut cache = open(dir.path());
            cache.put(&known, result(1)).await.expect("stored");
            if is_reopened {
                drop(cache);
                cache = open(dir.path());
            }
            assert_eq!(cache.get(Wanted::Action(&known)).await.expect("reads"), Some(result(1)));
            for size_bytes in [0, known.digest.size_bytes() + 1] {
                assert_eq!(cache.get(Wanted::Action(&sized(size_bytes))).await.expect("reads"), None, "{size_bytes}");
                assert_eq!(cache.get(Wanted::Hash(&sized(size_bytes))).await.expect("reads"), Some(result(1)));
            }
            cache.put(&sized(UNKNOWN_SIZE_BYTES), result(2)).await.expect("stored");
            assert_eq!(cache.get(Wanted::Action(&known)).await.expect("reads"), Some(result(2)));
            cache.remove(&known).await.expect("removed");
            assert_eq!(cache.get(Wanted::Hash(&known)).await.expect("reads"), None);
        }
    }

    #[tokio::test]
    async fn nobody_reaches_into_another_instance() {
        let dir = tempfile::tempdir().expect("a directory");
        for is_reopened in [false, true] {
            let mut cache = open(dir.path());
            cache.put(&action("main"), result(1)).await.expect("stored");
            if is_reopened {
                drop(cache);
                cache = open(dir.path());
            }
            // The name of the other's file, and what it was made of, as hashes of actions.
            for hash in [key_of(&action("main")), *action("").digest.hash()] {
                let mine = ActionKey { digest: Digest::new(hash, UNKNOWN_SIZE_BYTES), ..action("") };
                assert_eq!(cache.get(Wanted::Hash(&mine)).await.expect("reads"), None);
                cache.put(&mine, result(2)).await.expect("stored");
                cache.remove(&mine).await.expect("removed");
                let others = cache.get(Wanted::Action(&action("main"))).await.expect("reads");
                assert_eq!(others, Some(result(1)));
            }
        }
    }

    #[tokio::test]
    async fn torn_entries_are_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path()).put(&action(""), result(1)).await.expect("stored");
        let path = dir.path().join("action-cache/packs/0");
        let mut content = std::fs::read(&path).expect("the pack");
        let header = header(&action(""));
        let at = content.windows(header.len()).position(|window| window == header.as_bytes()).expect("the entry");
        content[at + header.len()..].fill(0xff);
        std::fs::write(&path, &content).expect("written");
        let cache = open(dir.path());
        assert_eq!(cache.get(Wanted::Action(&action(""))).await.expect("reads"), None);
        cache.put(&action(""), result(2)).await.expect("stored");
        assert_eq!(cache.get(Wanted::Action(&action(""))).await.expect("reads"), Some(result(2)));
    }
}
