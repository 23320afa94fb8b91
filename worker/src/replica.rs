//! A slot's input root on disk, moved from one action's Merkle tree to the next one's by their difference.
//!
//! Files are hard links into the blob cache; subtrees whose digest stays are not looked at. So a warm action costs what
//! changed, and an unchanged one costs nothing.
//!
//! Invariants:
//! * [`Replica::root`] is what the directory on disk holds, or none where that is not known; then it is cleared first.
//!   Actions see the replica through a read-only mount, so nothing but this module changes it.
//! * Two paths of one tree never share an inode, even where their contents are equal: compilers take files with one
//!   inode, or with equal content and time, for one file, and `#pragma once` would skip the second. So the first file
//!   of a content is a link, and each further one is a copy with a time of its own.
//! * Every linked blob is pinned in the cache.

mod difference;
mod layout;

pub use difference::Difference;

use crate::blob_cache::{BlobCache, Pins};
use crate::directories::{Content, Directory};
use pumphouse_proto::digest::Digest;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How files and directories come to be what an action can read and not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// The sandbox shows the replica read-only: links, kept from action to action.
    ReadOnlyMount,
    /// Actions run as a user who owns none of the files: links, laid out anew for each action.
    OtherUser,
    /// Nothing protects them: copies, laid out anew for each action.
    Copies,
}

/// The input root of one slot.
#[derive(Debug)]
pub struct Replica {
    path: PathBuf,
    cache: Arc<BlobCache>,
    protection: Protection,
    /// Who owns the directories: the user that actions run as.
    owner: Option<u32>,
    root: Option<Node>,
    /// The contents whose inode in the cache is linked somewhere in this replica.
    linked: HashSet<Content>,
    /// How often each blob is pinned for this replica.
    pinned: HashMap<Content, u32>,
    copies: u32,
    /// How many corrupt files of the store were known when links were last believed.
    corrupt_files: u64,
}

/// A directory on disk.
#[derive(Debug, Default)]
struct Node {
    digest: Option<Digest>,
    directory: Arc<Directory>,
    children: BTreeMap<String, Node>,
    /// The files that are copies, not links.
    copies: Vec<String>,
}

impl Replica {
    /// A replica at `path`, which is created or cleared at first use.
    pub fn new(path: &Path, cache: Arc<BlobCache>, protection: Protection, owner: Option<u32>) -> Self {
        Self {
            path: path.to_owned(),
            corrupt_files: cache.corrupt_files(),
            cache,
            protection,
            owner,
            root: None,
            linked: HashSet::new(),
            pinned: HashMap::new(),
            copies: 0,
        }
    }

    /// Which input root it holds, if that is known.
    pub fn root(&self) -> Option<Digest> {
        self.root.as_ref().and_then(|root| root.digest)
    }

    /// How many of `root`'s directories it holds already.
    pub fn likeness(&self, root: &Directory) -> usize {
        let Some(own) = &self.root else { return 0 };
        let is_same = |(name, digest): &&(String, Digest)| {
            own.children.get(name).is_some_and(|child| child.digest == Some(*digest))
        };
        root.directories.iter().filter(is_same).count()
    }

    /// An action is about to run in the tree. Where nothing keeps it from changing what is there, the tree is laid out
    /// anew for the next one.
    pub fn spend(&mut self) {
        if self.protection != Protection::ReadOnlyMount {
            self.root = None;
        }
    }

    /// Where a file of the store was found to be corrupt since, to which there may be a link here, the tree is laid out anew.
    pub fn heed_corruption(&mut self) {
        let known = self.cache.corrupt_files();
        if std::mem::replace(&mut self.corrupt_files, known) != known {
            self.root = None;
        }
    }

    /// Removes what is on disk, whatever it is, and leaves an empty root. Blocks.
    ///
    /// # Errors
    /// The file system refuses. The replica is invalid then, and cleared again before its next use.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.root = None;
        self.root = Some(self.clear()?);
        Ok(())
    }

    /// Moves the tree on disk to `difference`'s, whose blobs `pins` hold. Blocks.
    ///
    /// # Errors
    /// The file system refuses. The replica is invalid then.
    pub fn apply(&mut self, difference: &Difference, pins: Pins) -> anyhow::Result<()> {
        let from = self.root.take();
        let root = match from {
            Some(root) => root,
            None => self.clear()?,
        };
        for content in pins.take() {
            *self.pinned.entry(content).or_default() += 1;
        }
        let root = self.transform(root, difference)?;
        self.root = Some(root);
        Ok(())
    }

    /// One path less has this content.
    fn unpin(&mut self, content: Content) {
        if let Some(count) = self.pinned.get_mut(&content) {
            *count -= 1;
            if *count == 0 {
                self.pinned.remove(&content);
            }
            self.cache.unpin(&[content]);
        }
    }

    fn unpin_all(&mut self) {
        for (content, count) in std::mem::take(&mut self.pinned) {
            for _ in 0..count {
                self.cache.unpin(&[content]);
            }
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.unpin_all();
    }
}
