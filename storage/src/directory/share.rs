//! Files that others have hard links to, so that what both need is stored once.
//!
//! Everybody who has a link sees the file's one mode and one time of modification. So these are changed only as long as nobody
//! has, and the seal, which hangs on the time, with them; a crash in between costs a comparison with the name. What is evicted
//! or moved away loses its name here and stays with those who have others.

use super::{Directory, name};
use crate::error::StorageError;
use crate::record::{Entry, Key, Seal};
use pumphouse_proto::cas::{Appearance, Link};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

impl Directory {
    /// Makes `path`, where nothing is yet, a hard link to a file whose content was compared with its name.
    ///
    /// # Errors
    /// The file system says no.
    pub fn share(&self, key: &Key, appearance: Appearance, path: &Path) -> Result<Link, StorageError> {
        let name = name(key);
        let _stripe = self.stripe(key);
        let certain = self.index.peek(key).filter(Entry::is_certain);
        let Some((entry, seal)) = certain.and_then(|entry| Some((entry, entry.seal?))) else {
            return Ok(Link::Refused);
        };
        if entry.place().is_some() {
            return Ok(Link::Refused);
        }
        let mut seen = match self.volume.see(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Link::Refused),
            seen => seen.map_err(|error| self.io_error("open", &name, error))?,
        };
        if (seen.stat.size_bytes, seen.stat.modified) != (entry.size_bytes, seal.modified) {
            return Ok(Link::Refused);
        }
        if !seen.has(appearance) {
            if seen.links > 1 {
                return Ok(Link::Refused);
            }
            seen.change(appearance).map_err(|error| self.io_error("change the mode and time of", &name, error))?;
            self.confirm(key, Some(Seal { modified: seen.stat.modified, ..seal }));
        }
        match self.volume.link_to(&name, path) {
            Ok(()) => Ok(Link::Made),
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => Ok(Link::Refused),
            Err(error) => Err(self.io_error("link", &name, error)),
        }
    }

    /// Whether files can be linked into `directory`: it has to be on the same file system.
    pub fn can_link_into(&self, directory: &Path) -> bool {
        self.volume.can_link_into(directory)
    }

    /// How many files have turned out not to be what they should be since this was opened. Doesn't block.
    pub fn corrupt_files(&self) -> u64 {
        self.corrupt_files.load(Ordering::Relaxed)
    }
}
