//! Blobs that are hard links to files of the server's store in this process, so that what both need is on the disk once.
//!
//! They stand in a directory of their own, which every start empties. There is a link for as long as somebody pins it: after
//! that the store's file is enough, and what the store evicts shall not stay on the disk for the worker's sake. So they don't
//! count towards the cache's limit. Where the store can't link, because the same file is in use with other execute bits, the
//! blob is a copy, to which the same holds.
//!
//! Invariant: a link is never written, and neither its mode nor its time is changed from here.

use super::publish::Temporary;
use super::{BlobCache, CONCURRENT_GROUPS, Pins};
use crate::blob_source::BlobSource;
use crate::directories::Content;
use crate::error::ExecutionError;
use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pumphouse_proto::cas::Link;
use pumphouse_proto::digest::Digest;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The directory of links.
pub(super) const LINKED: &str = "linked";

impl BlobCache {
    /// Whether a content is a link to a file of the store, if it is here.
    pub(super) fn is_linked(&self, content: Content) -> bool {
        content.digest.size_bytes() > self.linked_above_bytes
    }

    /// Brings in claimed blobs as links; gives those that the store lacks, and a pin on each of the others.
    pub(super) async fn link_all(
        self: &Arc<Self>,
        source: &BlobSource,
        contents: Vec<Content>,
    ) -> Result<(Vec<Digest>, Vec<Pins>), ExecutionError> {
        // A task of its own for each: what is half done when nobody waits any more comes to its end, and is given back.
        let link = |content: Content| async move {
            let linking = tokio::spawn(Arc::clone(self).link(source.clone(), content));
            let pins = linking.await.context("linking a blob")??;
            Ok::<_, ExecutionError>((content.digest, pins))
        };
        let linked = stream::iter(contents.into_iter().map(link)).buffer_unordered(CONCURRENT_GROUPS);
        let linked: Vec<(Digest, Option<Pins>)> = linked.try_collect().await?;
        let missing = linked.iter().filter(|(_, pins)| pins.is_none()).map(|(digest, _)| *digest).collect();
        Ok((missing, linked.into_iter().filter_map(|(_, pins)| pins).collect()))
    }

    /// Brings in one blob and pins it; none if the store lacks it.
    async fn link(self: Arc<Self>, source: BlobSource, content: Content) -> Result<Option<Pins>, ExecutionError> {
        let temporary = self.temporary();
        let link = match &source {
            BlobSource::InProcess(cas) => cas.link(content.digest, content.appearance(), temporary.path()).await?,
            BlobSource::Remote(_) => Link::Refused,
        };
        match link {
            Link::Made => {}
            Link::Missing => return Ok(None),
            Link::Refused => {
                if !self.download_large(source.cas(), content, &temporary).await? {
                    return Ok(None);
                }
            }
        }
        let named = tokio::task::spawn_blocking(move || {
            if link == Link::Refused {
                let file = fs::File::open(temporary.path()).context("opening a blob")?;
                content.dress(&file)?;
            }
            self.name_and_pin(content, &temporary)
        });
        Ok(Some(named.await.context("publishing a blob")??))
    }

    fn name_and_pin(self: &Arc<Self>, content: Content, temporary: &Temporary) -> anyhow::Result<Pins> {
        let path = self.path(&content);
        let mut index = self.lock();
        // Over a link that is no longer believed. One to the same file stays.
        fs::rename(temporary.path(), &path).with_context(|| format!("publishing {}", path.display()))?;
        let victims = index.insert(content);
        index.pin(content);
        drop(index);
        self.evict(&victims);
        Ok(Pins { cache: Arc::clone(self), contents: vec![content] })
    }

    /// Takes note of how many of the store's files were found to be corrupt: where that has grown, each link is made anew
    /// before its next use.
    pub fn heed_corruption(&self, corrupt_files: u64) {
        if self.corrupt_files.swap(corrupt_files, Ordering::Relaxed) != corrupt_files {
            tracing::warn!("a file of the store was corrupt: links to others are made anew");
            self.lock().doubt_links();
        }
    }

    /// How many corrupt files were taken note of.
    pub fn corrupt_files(&self) -> u64 {
        self.corrupt_files.load(Ordering::Relaxed)
    }
}
