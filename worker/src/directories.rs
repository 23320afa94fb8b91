//! The directories of input roots, decoded, checked, and kept in memory by digest.
//!
//! **Source:** Remote Execution API v2, message `Directory`.

use crate::error::ExecutionError;
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::cas::Cas;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::{reapi, tree};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One directory, each list sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its files.
    pub files: Vec<File>,
    /// Its directories: names and digests.
    pub directories: Vec<(String, Digest)>,
    /// Its symbolic links: names and targets.
    pub symlinks: Vec<(String, String)>,
}

/// A file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What it holds and whether it can be run.
    pub content: Content,
}

/// What a file is to those who read it: files of equal content are interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// Its bytes.
    pub digest: Digest,
    /// Its execute bits.
    pub is_executable: bool,
}

impl Directory {
    fn decode(digest: Digest, blob: bytes::Bytes) -> Result<Self, ExecutionError> {
        let function = digest.function();
        let message: reapi::Directory = tree::decode(digest, blob)?;
        let mut directory = Self::default();
        for node in message.files {
            let content = Content { digest: function.read_field(&node.digest)?, is_executable: node.is_executable };
            directory.files.push(File { name: node.name, content });
        }
        for node in message.directories {
            directory.directories.push((node.name, function.read_field(&node.digest)?));
        }
        for node in message.symlinks {
            if node.target.contains('\0') {
                return Err(ExecutionError::Invalid(format!("target of symbolic link {:?} contains a NUL", node.name)));
            }
            directory.symlinks.push((node.name, node.target));
        }
        Ok(directory)
    }
}

/// Directories that were read from the CAS before, the least recently used forgotten first.
#[derive(Debug)]
pub struct DirectoryCache {
    state: Mutex<State>,
    limit_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Digest, (Arc<Directory>, u64)>,
    order: BTreeMap<u64, Digest>,
    clock: u64,
    size_bytes: u64,
}

impl DirectoryCache {
    /// An empty cache for directories whose messages have `limit_bytes` together; in memory they take a few times that.
    pub fn new(limit_bytes: u64) -> Self {
        Self { state: Mutex::default(), limit_bytes }
    }

    /// Gives those of `digests` that there are, here or in the CAS. One call for all that aren't here.
    ///
    /// # Errors
    /// A call failed, or a directory is not canonical.
    pub async fn read(
        &self,
        cas: &dyn Cas,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, Arc<Directory>>, ExecutionError> {
        let mut found = HashMap::with_capacity(digests.len());
        let mut absent = Vec::new();
        {
            let mut state = self.lock();
            for &digest in digests {
                match state.touch(digest) {
                    Some(directory) => {
                        found.insert(digest, directory);
                    }
                    None if digest.names_nothing() => {
                        found.insert(digest, Arc::default());
                    }
                    None => absent.push(digest),
                }
            }
        }
        if let Some(digest) =
            absent.iter().find(|digest| digest.size_bytes() > pumphouse_proto::limits::METADATA_BLOB_SIZE_BYTES)
        {
            return Err(ExecutionError::Invalid(format!("directory {digest} is too large")));
        }
        if !absent.is_empty() {
            for (digest, blob) in cas.read_all(&absent).await? {
                let directory = Arc::new(Directory::decode(digest, blob)?);
                self.lock().insert(digest, Arc::clone(&directory), self.limit_bytes);
                found.insert(digest, directory);
            }
        }
        Ok(found)
    }

    /// Takes a directory in that came by itself.
    ///
    /// # Errors
    /// It is not canonical.
    pub fn take(&self, digest: Digest, blob: &bytes::Bytes) -> Result<(), ExecutionError> {
        if self.lock().touch(digest).is_none() {
            let directory = Arc::new(Directory::decode(digest, blob.clone())?);
            self.lock().insert(digest, directory, self.limit_bytes);
        }
        Ok(())
    }

    /// Gives a directory if it is here.
    pub fn peek(&self, digest: Digest) -> Option<Arc<Directory>> {
        self.lock().entries.get(&digest).map(|(directory, _)| Arc::clone(directory))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn touch(&mut self, digest: Digest) -> Option<Arc<Directory>> {
        self.clock += 1;
        let (directory, used) = self.entries.get_mut(&digest)?;
        self.order.remove(used);
        *used = self.clock;
        self.order.insert(self.clock, digest);
        Some(Arc::clone(directory))
    }

    fn insert(&mut self, digest: Digest, directory: Arc<Directory>, limit_bytes: u64) {
        self.clock += 1;
        if let Some((_, used)) = self.entries.insert(digest, (directory, self.clock)) {
            self.order.remove(&used);
        } else {
            self.size_bytes += digest.size_bytes();
        }
        self.order.insert(self.clock, digest);
        while self.size_bytes > limit_bytes {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.entries.remove(&oldest);
            self.size_bytes -= oldest.size_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_directory_is_forgotten() {
        let mut state = State::default();
        let digest = |text: &str| Digest::of(text.as_bytes());
        for text in ["aaaa", "bbbb"] {
            state.insert(digest(text), Arc::default(), 10);
        }
        assert!(state.touch(digest("aaaa")).is_some());
        state.insert(digest("cccc"), Arc::default(), 10);
        assert!(state.touch(digest("bbbb")).is_none());
        assert!(state.touch(digest("aaaa")).is_some());
        assert_eq!((state.size_bytes, state.entries.len(), state.order.len()), (8, 2, 2));
    }
}
