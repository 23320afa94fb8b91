//! The worker's blobs on disk: fetched once, verified as they enter, hard-linked into replicas.
//!
//! A blob is a file `ab/abcdef…-SIZE` (mode 0444) or `ab/abcdef…-SIZE.x` (mode 0555: an executable copy has its own
//! inode), with `.blake3` behind the size where the hash is that, and with a fixed time of modification. It appears under its name whole or not at all, and is never written again. Files of an
//! earlier run are hashed again before their first use: a crash may have torn them.
//!
//! Invariant: a blob that is pinned is on the disk. Replicas pin what they link, so evicting what nobody pins frees
//! space, and never takes what is in use. The cache may exceed its limit only by what is pinned.
//!
//! Where the server's store is in the same process, large blobs are links into it ([`links`]).
//!
//! It does not know what blobs mean.

mod index;
mod links;
mod publish;
#[cfg(test)]
mod tests;

use crate::blob_source::BlobSource;
use crate::directories::Content;
use crate::error::ExecutionError;
use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use index::{Fate, Index, Lookup};
use links::LINKED;
use parking_lot::{Mutex, MutexGuard};
use publish::Temporary;
use pumphouse_proto::cas::{Cas, LocalCas};
use pumphouse_proto::digest::{Digest, DigestFunction};
use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Notify;

pub(crate) use publish::fixed_time;

/// Blobs above this go from the network to the disk in pieces; smaller ones come in batches through memory.
const STREAMED_SIZE_BYTES: u64 = 1024 * 1024;

/// How much of small blobs is in memory at a time for one fetch.
const GROUP_SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// How many groups or large blobs one fetch has under way at a time.
const CONCURRENT_GROUPS: usize = 4;

/// A directory of blobs with a limit. Shared by all slots.
#[derive(Debug)]
pub struct BlobCache {
    dir: PathBuf,
    index: Mutex<Index>,
    /// What some fetch is bringing in at the moment; others wait for it.
    in_flight: Mutex<HashSet<Content>>,
    landed: Notify,
    next_temporary: AtomicU64,
    /// Larger blobs are links into the server's store.
    linked_above_bytes: u64,
    /// How many of the store's files were corrupt when links were last believed.
    corrupt_files: AtomicU64,
}

impl BlobCache {
    /// Opens the cache in `dir`, which is created if need be, with room for `limit_bytes` besides links into `local_cas`, where
    /// the server's is in this process. What an earlier run left is found by [`Self::recover`].
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn open(dir: &Path, limit_bytes: u64, local_cas: Option<&dyn LocalCas>) -> anyhow::Result<Arc<Self>> {
        for name in ["tmp", LINKED] {
            let temporary = dir.join(name);
            if temporary.exists() {
                fs::remove_dir_all(&temporary).with_context(|| format!("clearing {}", temporary.display()))?;
            }
            fs::create_dir_all(&temporary).with_context(|| format!("creating {}", temporary.display()))?;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("setting the mode of {}", dir.display()))?;
        for byte in 0..=255_u8 {
            let shard = dir.join(format!("{byte:02x}"));
            fs::create_dir_all(&shard).with_context(|| format!("creating {}", shard.display()))?;
        }
        let linked_above_bytes = local_cas.map(|cas| cas.linked_above_bytes(&dir.join(LINKED)));
        if linked_above_bytes == Some(None) {
            tracing::warn!(dir = %dir.display(), "the store is on another file system: what actions read is stored twice");
        }
        let linked_above_bytes = linked_above_bytes.flatten().unwrap_or(u64::MAX);
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            index: Mutex::new(Index::new(limit_bytes, linked_above_bytes)),
            in_flight: Mutex::default(),
            landed: Notify::new(),
            next_temporary: AtomicU64::new(0),
            linked_above_bytes,
            corrupt_files: AtomicU64::new(local_cas.map_or(0, LocalCas::corrupt_files)),
        }))
    }

    /// Finds the blobs of earlier runs, so that they count and can be evicted. Reads every directory of the cache:
    /// meant for a thread beside the work.
    pub fn recover(&self) {
        let shards = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        for shard in shards.filter(|shard| shard.file_name() != LINKED) {
            for file in fs::read_dir(shard.path()).into_iter().flatten().filter_map(Result::ok) {
                let Ok(metadata) = file.metadata() else { continue };
                match content_of(file.file_name().as_bytes(), metadata.len()) {
                    Some(content) if !self.is_linked(content) => {
                        let victims = self.lock().recover(content);
                        self.evict(&victims);
                    }
                    _ if metadata.is_file() && shard.file_name() != "tmp" => {
                        let _ = fs::remove_file(file.path());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Where the file of `content` is. It is there as long as it is pinned.
    pub fn path(&self, content: &Content) -> PathBuf {
        let hash = content.digest.hash_hex();
        let size_bytes = content.digest.size_bytes();
        let function = content.digest.function().segment().map_or(String::new(), |function| format!(".{function}"));
        let suffix = if content.is_executable { ".x" } else { "" };
        let directory = if self.is_linked(*content) { LINKED } else { &hash[..2] };
        self.dir.join(directory).join(format!("{hash}-{size_bytes}{function}{suffix}"))
    }

    /// Brings in those of `wanted` that aren't here, and pins each as often as it is named.
    /// The empty blob is never here and never missing.
    ///
    /// # Errors
    /// [`ExecutionError::Missing`] with all that the CAS lacks; a failed call; a full disk. Nothing stays pinned then.
    ///
    /// # Cancel safety
    /// When dropped, nothing of `wanted` stays pinned; what has arrived stays in the cache, but for links.
    pub async fn fetch(self: &Arc<Self>, source: &BlobSource, wanted: &[Content]) -> Result<Pins, ExecutionError> {
        let mut pins = Pins { cache: Arc::clone(self), contents: Vec::with_capacity(wanted.len()) };
        let mut rest: Vec<Content> = wanted.iter().copied().filter(|content| !content.digest.names_nothing()).collect();
        let mut missing = Vec::new();
        // Until all of them are pinned as often as they are named.
        let mut links = Vec::new();
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            let (claimed, others) = self.pin_and_claim(&mut pins, rest);
            rest = others;
            if !claimed.contents.is_empty() {
                let (linked, copied) = claimed.contents.iter().partition(|content| self.is_linked(**content));
                missing.extend(self.bring_in(source.cas(), copied).await?);
                let (unlinked, arrived) = self.link_all(source, linked).await?;
                missing.extend(unlinked);
                links.extend(arrived);
                let lacking: HashSet<Digest> = missing.iter().copied().collect();
                rest.extend(claimed.duplicates.iter().copied());
                rest.retain(|content| !lacking.contains(&content.digest));
                continue;
            }
            if rest.is_empty() {
                break;
            }
            landed.await;
        }
        if missing.is_empty() {
            return Ok(pins);
        }
        // One that is wanted with and without execute bits was missing twice.
        missing.sort_unstable();
        missing.dedup();
        Err(ExecutionError::Missing(missing))
    }

    /// Gives back pins: one for each time that a content is named.
    pub fn unpin(&self, contents: &[Content]) {
        let mut index = self.lock();
        for content in contents {
            if index.unpin(*content) == Fate::Goes {
                let _ = fs::remove_file(self.path(content));
            }
        }
    }

    /// Drops a blob whose file turned out to be gone or damaged.
    pub fn forget(&self, content: Content) {
        let mut index = self.lock();
        index.forget(content);
        let _ = fs::remove_file(self.path(&content));
    }

    /// Pins what is here, claims what nobody is bringing in, and gives back what somebody else is.
    fn pin_and_claim(self: &Arc<Self>, pins: &mut Pins, wanted: Vec<Content>) -> (Claim, Vec<Content>) {
        let mut claim = Claim { cache: Arc::clone(self), contents: Vec::new(), duplicates: Vec::new() };
        let mut others = Vec::new();
        let mut mine = HashSet::new();
        let mut index = self.lock();
        let mut in_flight = self.in_flight.lock();
        for content in wanted {
            if mine.contains(&content) {
                claim.duplicates.push(content);
            } else if index.pin(content) == Lookup::Present {
                pins.contents.push(content);
            } else if in_flight.insert(content) {
                mine.insert(content);
                claim.duplicates.push(content);
                claim.contents.push(content);
            } else {
                others.push(content);
            }
        }
        (claim, others)
    }

    /// Brings in claimed blobs as files of the cache's own; gives those that the CAS lacks.
    async fn bring_in(self: &Arc<Self>, cas: &dyn Cas, contents: Vec<Content>) -> Result<Vec<Digest>, ExecutionError> {
        if contents.is_empty() {
            return Ok(Vec::new());
        }
        let cache = Arc::clone(self);
        let absent = tokio::task::spawn_blocking(move || cache.take_from_disk(&contents))
            .await
            .context("looking for blobs on the disk")??;
        let (large, small): (Vec<Content>, Vec<Content>) =
            absent.into_iter().partition(|content| content.digest.size_bytes() > STREAMED_SIZE_BYTES);
        let mut groups: Vec<Vec<Content>> = large.into_iter().map(|content| vec![content]).collect();
        let mut group = Vec::new();
        let mut group_size_bytes = 0;
        for content in small {
            group_size_bytes += content.digest.size_bytes();
            group.push(content);
            if group_size_bytes > GROUP_SIZE_BYTES {
                groups.push(std::mem::take(&mut group));
                group_size_bytes = 0;
            }
        }
        groups.push(group);
        let missing: Vec<Vec<Digest>> =
            stream::iter(groups.into_iter().filter(|group| !group.is_empty()).map(|group| self.download(cas, group)))
                .buffer_unordered(CONCURRENT_GROUPS)
                .try_collect()
                .await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn download(self: &Arc<Self>, cas: &dyn Cas, group: Vec<Content>) -> Result<Vec<Digest>, ExecutionError> {
        let cache = Arc::clone(self);
        if let [content] = group[..]
            && content.digest.size_bytes() > STREAMED_SIZE_BYTES
        {
            let temporary = self.temporary();
            if !self.download_large(cas, content, &temporary).await? {
                return Ok(vec![content.digest]);
            }
            let published = tokio::task::spawn_blocking(move || cache.adopt(content, &temporary));
            published.await.context("publishing a blob")??;
            return Ok(Vec::new());
        }
        let mut digests: Vec<Digest> = group.iter().map(|content| content.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let blobs = cas.read_all(&digests).await?;
        let missing = digests.into_iter().filter(|digest| !blobs.contains_key(digest)).collect();
        let published = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            for content in group {
                if let Some(blob) = blobs.get(&content.digest) {
                    cache.store(content, blob)?;
                }
            }
            Ok(())
        });
        published.await.context("publishing blobs")??;
        Ok(missing)
    }

    /// Brings a blob to a file that has no name yet; false if the CAS lacks it.
    async fn download_large(
        &self,
        cas: &dyn Cas,
        content: Content,
        temporary: &Temporary,
    ) -> Result<bool, ExecutionError> {
        let file = fs::File::create(temporary.path()).context("making a file for a blob")?;
        Ok(cas.read_to_file(content.digest, file, temporary.path()).await?)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

/// Blobs that are held on the disk. Given back when dropped, unless taken over.
#[derive(Debug)]
pub struct Pins {
    cache: Arc<BlobCache>,
    contents: Vec<Content>,
}

impl Pins {
    /// Hands the pins over to the caller, who gives them back with [`BlobCache::unpin`].
    pub fn take(mut self) -> Vec<Content> {
        std::mem::take(&mut self.contents)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.cache.unpin(&self.contents);
    }
}

/// Blobs that this fetch brings in, each once, and every mention of them.
#[derive(Debug)]
struct Claim {
    cache: Arc<BlobCache>,
    contents: Vec<Content>,
    duplicates: Vec<Content>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.contents.is_empty() {
            return;
        }
        let mut in_flight = self.cache.in_flight.lock();
        for content in &self.contents {
            in_flight.remove(content);
        }
        drop(in_flight);
        self.cache.landed.notify_waiters();
    }
}

/// The content that a file stands for, if its name is one of ours and its size is what the name says.
fn content_of(name: &[u8], size_bytes: u64) -> Option<Content> {
    let name = std::str::from_utf8(name).ok()?;
    let (name, is_executable) = name.strip_suffix(".x").map_or((name, false), |name| (name, true));
    let (name, function) = match name.rsplit_once('.') {
        Some((name, segment)) => (name, DigestFunction::of_segment(segment)?),
        None => (name, DigestFunction::Sha256),
    };
    let (hash, size) = name.split_once('-')?;
    let digest = Digest::parse(hash, size_bytes).ok()?.by(function);
    (size.parse() == Ok(size_bytes)).then_some(Content { digest, is_executable })
}
