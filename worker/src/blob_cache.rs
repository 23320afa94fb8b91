//! The worker's blobs on disk: fetched once, verified as they enter, hard-linked into replicas.
//!
//! A blob is a file `ab/abcdef…-SIZE` (mode 0444) or `ab/abcdef…-SIZE.x` (mode 0555: an executable copy has its own
//! inode), with `.blake3` behind the size where the hash is that, and with a fixed time of modification. It appears under its name whole or not at all, and is never written again. Files of an
//! earlier run are hashed again before their first use: a crash may have torn them.
//!
//! Invariant: a blob that is pinned is on the disk. Replicas pin what they link, so evicting what nobody pins frees
//! space, and never takes what is in use. The cache may exceed its limit only by what is pinned.
//!
//! It does not know what blobs mean.

mod index;
mod publish;

use crate::directories::Content;
use crate::error::ExecutionError;
use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use index::{Index, Lookup};
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::cas_client::CasClient;
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
}

impl BlobCache {
    /// Opens the cache in `dir`, which is created if need be, with room for `limit_bytes`.
    /// What an earlier run left is found by [`Self::recover`].
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn open(dir: &Path, limit_bytes: u64) -> anyhow::Result<Arc<Self>> {
        let temporary = dir.join("tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).with_context(|| format!("clearing {}", temporary.display()))?;
        }
        fs::create_dir_all(&temporary).with_context(|| format!("creating {}", temporary.display()))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("setting the mode of {}", dir.display()))?;
        for byte in 0..=255_u8 {
            let shard = dir.join(format!("{byte:02x}"));
            fs::create_dir_all(&shard).with_context(|| format!("creating {}", shard.display()))?;
        }
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            index: Mutex::new(Index::new(limit_bytes)),
            in_flight: Mutex::default(),
            landed: Notify::new(),
            next_temporary: AtomicU64::new(0),
        }))
    }

    /// Finds the blobs of earlier runs, so that they count and can be evicted. Reads every directory of the cache:
    /// meant for a thread beside the work.
    pub fn recover(&self) {
        for shard in fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok) {
            for file in fs::read_dir(shard.path()).into_iter().flatten().filter_map(Result::ok) {
                let Ok(metadata) = file.metadata() else { continue };
                match content_of(file.file_name().as_bytes(), metadata.len()) {
                    Some(content) => {
                        let victims = self.lock().recover(content);
                        self.evict(&victims);
                    }
                    None if metadata.is_file() && shard.file_name() != "tmp" => {
                        let _ = fs::remove_file(file.path());
                    }
                    None => {}
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
        self.dir.join(&hash[..2]).join(format!("{hash}-{size_bytes}{function}{suffix}"))
    }

    /// Brings in those of `wanted` that aren't here, and pins each as often as it is named.
    /// The empty blob is never here and never missing.
    ///
    /// # Errors
    /// [`ExecutionError::Missing`] with all that the CAS lacks; a failed call; a full disk. Nothing stays pinned then.
    ///
    /// # Cancel safety
    /// When dropped, nothing of `wanted` stays pinned; what has arrived stays in the cache.
    pub async fn fetch(self: &Arc<Self>, cas: &CasClient, wanted: &[Content]) -> Result<Pins, ExecutionError> {
        let mut pins = Pins { cache: Arc::clone(self), contents: Vec::with_capacity(wanted.len()) };
        let mut rest: Vec<Content> = wanted.iter().copied().filter(|content| !content.digest.names_nothing()).collect();
        let mut missing = Vec::new();
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            let (claimed, others) = self.pin_and_claim(&mut pins, rest);
            rest = others;
            if !claimed.contents.is_empty() {
                missing.extend(self.bring_in(cas, &claimed.contents).await?);
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
        if missing.is_empty() { Ok(pins) } else { Err(ExecutionError::Missing(missing)) }
    }

    /// Gives back pins: one for each time that a content is named.
    pub fn unpin(&self, contents: &[Content]) {
        let mut index = self.lock();
        for content in contents {
            index.unpin(*content);
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

    /// Brings in claimed blobs; gives those that the CAS lacks.
    async fn bring_in(self: &Arc<Self>, cas: &CasClient, contents: &[Content]) -> Result<Vec<Digest>, ExecutionError> {
        let cache = Arc::clone(self);
        let candidates = contents.to_vec();
        let absent = tokio::task::spawn_blocking(move || cache.take_from_disk(&candidates))
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

    async fn download(self: &Arc<Self>, cas: &CasClient, group: Vec<Content>) -> Result<Vec<Digest>, ExecutionError> {
        let cache = Arc::clone(self);
        if let [content] = group[..]
            && content.digest.size_bytes() > STREAMED_SIZE_BYTES
        {
            let temporary = self.temporary();
            let file = std::fs::File::create(temporary.path()).context("making a file for a blob")?;
            if !cas.read_to_file(content.digest, file, temporary.path()).await? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_for_what_their_names_say() {
        let digest = Digest::of(b"blob");
        let hash = digest.hash_hex();
        let check = |name: &str, expect: Option<bool>| {
            let expect = expect.map(|is_executable| Content { digest, is_executable });
            assert_eq!(content_of(name.as_bytes(), 4), expect, "{name}");
        };
        check(&format!("{hash}-4"), Some(false));
        check(&format!("{hash}-4.x"), Some(true));
        check(&format!("{hash}-5"), None);
        check(&hash, None);
        check("tmp-4", None);
        check(&format!("{hash}-4.md5"), None);
        let other = Content { digest: digest.by(DigestFunction::Blake3), is_executable: true };
        assert_eq!(content_of(format!("{hash}-4.blake3.x").as_bytes(), 4), Some(other));
    }
}
