//! A path's walk, component by component, as the kernel does it, with a record of all that it depends on.
//!
//! **Source:** `path_resolution(7)`.

use crate::fallback::{Fallback, Reason};
use crate::files::directory::{Directory, Entry};
use crate::files::file::SourceFile;
use crate::files::generation::Generation;
use crate::files::own_paths;
use crate::files::{FileStore, MAX_SYMLINKS_IN_A_PATH, View, as_path};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// What stands at the end of a path.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// A regular file.
    File(Arc<SourceFile>),
    /// A directory.
    Directory(Arc<Directory>),
    /// Nothing.
    Absent,
    /// A device, a FIFO or a socket, at this path.
    Special(Arc<Path>),
}

/// What walks depended on and passed through.
#[derive(Debug, Default, Clone)]
pub struct Trail {
    /// The directories in which a name was looked up, with their generations then.
    pub directories: Vec<(Arc<Directory>, Generation)>,
    /// The symbolic links that were followed, with their targets.
    pub symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    /// Directories that a `..` left: they must exist.
    pub left: Vec<Arc<Directory>>,
}

impl Trail {
    fn consult(&mut self, directory: &Arc<Directory>, view: View, store: &FileStore) {
        let known = self.directories.iter().rev().any(|(known, _)| known.id() == directory.id());
        if !known {
            self.directories.push((Arc::clone(directory), directory.generation(view, store)));
        }
    }

    /// Adds what `other` holds.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.directories.extend(other.directories);
        self.symlinks.extend(other.symlinks);
        self.left.extend(other.left);
    }

    /// Whether every answer that the trail depends on still stands in `view`.
    pub fn is_current(&self, view: View, store: &FileStore) -> bool {
        self.directories.iter().all(|(directory, generation)| directory.generation(view, store) == *generation)
    }
}

impl FileStore {
    /// Follows `path`, from `start` where it is relative, and every symbolic link on the way.
    ///
    /// # Errors
    /// [`Reason::Unreadable`] where the system refuses a look, and where links form a loop.
    pub fn resolve(
        &self,
        start: &Arc<Directory>,
        path: &[u8],
        view: View,
        trail: &mut Trail,
    ) -> Result<Resolution, Fallback> {
        let mut links = 0;
        self.walk(Arc::clone(start), path, view, trail, &mut links)
    }

    /// The directory in which a process works, at `path` from the root.
    ///
    /// # Errors
    /// As [`FileStore::resolve`], and [`Reason::Unreadable`] where there is none.
    pub(crate) fn working_directory(
        &self,
        path: &Path,
        view: View,
        trail: &mut Trail,
    ) -> Result<Arc<Directory>, Fallback> {
        match self.resolve(self.root(), path.as_os_str().as_bytes(), view, trail)? {
            Resolution::Directory(directory) => Ok(directory),
            _ => Err(Fallback::at(Reason::Unreadable, "the working directory is not there", path, 0)),
        }
    }

    fn walk(
        &self,
        start: Arc<Directory>,
        path: &[u8],
        view: View,
        trail: &mut Trail,
        links: &mut u32,
    ) -> Result<Resolution, Fallback> {
        let mut at = if path.starts_with(b"/") { Arc::clone(self.root()) } else { start };
        let must_be_directory = path.ends_with(b"/");
        let mut components =
            path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").peekable();
        while let Some(name) = components.next() {
            if name == b".." {
                trail.left.push(Arc::clone(&at));
                at = at.parent(self);
                continue;
            }
            if own_paths::is_process(at.path().as_os_str().as_bytes(), name) {
                return Err(Fallback::at(Reason::HostDependent, "another process's in each process", as_path(path), 0));
            }
            let is_last = components.peek().is_none();
            let entry = at.look_up(name, view, self);
            trail.consult(&at, view, self);
            let place = match entry {
                Entry::Absent => return Ok(Resolution::Absent),
                Entry::Unreadable => return Err(at.unreadable(name)),
                Entry::File(file) => Resolution::File(file),
                Entry::Directory(directory) => Resolution::Directory(directory),
                Entry::Special => Resolution::Special(at.path_of(name)),
                Entry::Symlink(target) => {
                    *links += 1;
                    if *links > MAX_SYMLINKS_IN_A_PATH {
                        return Err(Fallback::at(Reason::Unreadable, "too many symbolic links", as_path(path), 0));
                    }
                    trail.symlinks.push((at.path_of(name), Arc::clone(&target)));
                    self.walk(Arc::clone(&at), target.as_os_str().as_bytes(), view, trail, links)?
                }
            };
            match place {
                Resolution::Directory(directory) => at = directory,
                found
                    if is_last
                        && !(must_be_directory && matches!(found, Resolution::File(_) | Resolution::Special(_))) =>
                {
                    return Ok(found);
                }
                _ => return Ok(Resolution::Absent),
            }
        }
        if at.identity(view, self).is_none() {
            return Ok(Resolution::Absent);
        }
        trail.consult(&at, view, self);
        Ok(Resolution::Directory(at))
    }
}
