//! What has to be fetched to move a replica to another input root.

use super::{Node, Replica};
use crate::directories::{Content, Directory, DirectoryCache, File};
use crate::error::ExecutionError;
use pumphouse_proto::cas::Cas;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many files, directories and links one difference may have: a small tree of digests can stand for an immense one.
const ENTRIES: usize = 1_000_000;

/// The way from what a replica holds to another input root.
#[derive(Debug)]
pub struct Difference {
    /// The root directory to get to.
    pub(super) root: Digest,
    /// Every directory in it that the replica lacks.
    pub(super) directories: HashMap<Digest, Arc<Directory>>,
    /// Every file to add, once for each path.
    added: Vec<Content>,
}

impl Difference {
    /// Finds the difference, with one call for each level of directories that are new to this worker.
    ///
    /// # Errors
    /// The tree is malformed, too large, or incomplete: then all missing blobs are named, the files that no directory
    /// is known for excepted.
    pub async fn find(
        replica: &Replica,
        root: Digest,
        directories: &DirectoryCache,
        cas: &dyn Cas,
    ) -> Result<Self, ExecutionError> {
        let mut difference = Self { root, directories: HashMap::new(), added: Vec::new() };
        let mut missing = HashSet::new();
        let mut entries = 0;
        let mut level: Vec<(Option<&Node>, Digest)> = vec![(replica.root.as_ref(), root)];
        for _ in 0..limits::TREE_DEPTH {
            level.retain(|(node, digest)| !is_at(*node, *digest));
            if level.is_empty() {
                return difference.complete(missing, cas).await;
            }
            difference.read_level(&level, directories, cas, &mut missing).await?;
            let mut next = Vec::new();
            for (node, digest) in level {
                let Some(directory) = difference.directories.get(&digest) else { continue };
                let old = node.map(|node| &*node.directory);
                difference.added.extend(added_files(old, directory));
                for (name, child) in &directory.directories {
                    next.push((node.and_then(|node| node.children.get(name)), *child));
                }
                entries += directory.files.len() + directory.directories.len() + directory.symlinks.len();
            }
            if entries > ENTRIES {
                return Err(ExecutionError::TooLarge(format!("input root has more than {ENTRIES} entries")));
            }
            level = next;
        }
        Err(ExecutionError::Invalid(format!("input root is deeper than {} directories", limits::TREE_DEPTH)))
    }

    /// Every file to add, once for each path.
    pub fn added(&self) -> &[Content] {
        &self.added
    }

    async fn read_level(
        &mut self,
        level: &[(Option<&Node>, Digest)],
        directories: &DirectoryCache,
        cas: &dyn Cas,
        missing: &mut HashSet<Digest>,
    ) -> Result<(), ExecutionError> {
        let mut wanted: Vec<Digest> =
            level.iter().map(|(_, digest)| *digest).filter(|digest| !self.directories.contains_key(digest)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = directories.read(cas, &wanted).await?;
        missing.extend(wanted.into_iter().filter(|digest| !found.contains_key(digest)));
        self.directories.extend(found);
        Ok(())
    }

    /// Where directories are missing, finds out which files are, too, so that the client hears of all at once.
    async fn complete(self, mut missing: HashSet<Digest>, cas: &dyn Cas) -> Result<Self, ExecutionError> {
        if missing.is_empty() {
            return Ok(self);
        }
        let files: HashSet<Digest> = self.added.iter().map(|content| content.digest).collect();
        let files: Vec<Digest> = files.into_iter().filter(|digest| !digest.names_nothing()).collect();
        missing.extend(cas.find_missing(&files).await?);
        let mut missing: Vec<Digest> = missing.into_iter().collect();
        missing.sort_unstable();
        Err(ExecutionError::Missing(missing))
    }
}

fn is_at(node: Option<&Node>, digest: Digest) -> bool {
    node.is_some_and(|node| node.digest == Some(digest))
}

fn added_files(old: Option<&Directory>, new: &Directory) -> Vec<Content> {
    let is_old = |file: &&File| {
        old.is_some_and(|old| {
            old.files
                .binary_search_by(|other| other.name.as_str().cmp(&file.name))
                .is_ok_and(|position| old.files[position].content == file.content)
        })
    };
    new.files.iter().filter(|file| !is_old(file)).map(|file| file.content).collect()
}
