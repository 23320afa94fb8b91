//! Compressed copies of files, symbolic links and placeholders below the client roots, made once and sent many times.
//!
//! What stands at a path that a client was told of is never changed: a client that is slow to send finds what it was
//! promised. A file's next content therefore goes below the next client root, and so does whatever can't stand where
//! something else stands already (a directory that has become a symbolic link, say). Since distcc's client takes the
//! root off each path by itself, one answer may name paths of several roots.
//!
//! What it does not know: compiles, and why a file is sent.
//!
//! Invariants: a path is given only after its file is complete; nothing is ever written through a symbolic link.

use crate::include_server::client_root::ClientRoots;
use crate::include_server::lzo;
use crate::scan::closure::InputFile;
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::digest::Digest;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// The largest file that is sent, in bytes. It is compressed in memory here and decompressed in memory by the server.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
/// In how many client roots a path may have stood before all are given up for new ones.
pub(super) const MAX_ROOTS: usize = 32;

/// The name of an empty file that makes distcc's server create its directory. The client knows it by this name.
const PLACEHOLDER: &str = "forcing_technique_271828";
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why something can't be provided.
#[derive(Debug, Error)]
pub(super) enum MirrorError {
    /// The file is not what the scanner saw.
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The file can't be sent.
    #[error("{}: {detail}", path.display())]
    Refused {
        /// The client's file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Something below the client roots can't be made.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// What it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A copy of a file.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// Where it is: what the client is told.
    pub(super) path: Arc<[u8]>,
    /// Whether the file says `#pragma once` or the like.
    pub(super) is_once_only: bool,
    /// Whether it was made just now.
    pub(super) is_new: bool,
    /// Its compressed length.
    pub(super) bytes: u64,
}

/// All copies.
#[derive(Debug)]
pub(super) struct Mirror {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    client_roots: ClientRoots,
    roots: Vec<Root>,
    /// The roots that were given up the last time: clients may still read them.
    retired: Vec<PathBuf>,
    workshop: PathBuf,
    unfinished: u64,
    files: HashMap<Name, Vec<Version>>,
    links: HashMap<Arc<Path>, Vec<Link>>,
    placeholders: HashMap<Arc<Path>, Arc<[u8]>>,
}

/// A client root, and what was made below it, by the path in the client's file system.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    directories: HashSet<PathBuf>,
    occupied: HashSet<PathBuf>,
}

/// The client's file, and whether its copy begins with its name.
type Name = (Arc<Path>, bool);

/// A link's target and its copy.
type Link = (Arc<Path>, Arc<[u8]>);

#[derive(Debug)]
struct Version {
    digest: Digest,
    /// The name that the copy begins with.
    named: Option<Box<[u8]>>,
    copy: Copy,
}

impl Mirror {
    /// A mirror with a first client root.
    ///
    /// # Errors
    /// When a directory can't be made.
    pub(super) fn new(mut client_roots: ClientRoots) -> anyhow::Result<Self> {
        let workshop = client_roots.make()?;
        let first = Root::new(client_roots.make()?);
        Ok(Self {
            state: Mutex::new(State {
                client_roots,
                roots: vec![first],
                retired: Vec::new(),
                workshop,
                unfinished: 0,
                files: HashMap::new(),
                links: HashMap::new(),
                placeholders: HashMap::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Gives all copies up: what is asked for next is made anew. Clients can still read what they were told of before,
    /// until this is called once more.
    ///
    /// # Errors
    /// When no new client root can be made; then nothing has changed.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        self.state().flush()
    }

    /// Whether the newest client root is still there: other programs clean `/tmp` as well.
    pub(super) fn is_intact(&self) -> bool {
        let root = self.state().roots.last().expect("there always is one").path.clone();
        root.is_dir()
    }

    /// Removes everything.
    pub(super) fn clean_out(&self) {
        self.state().client_roots.clean_out();
    }

    /// A compressed copy of `file` as the scanner saw it; it begins with a `#line` that names it, where it has to be
    /// known by another name than the one by which a server opens it.
    ///
    /// Costs a look into a table where the copy is there, else reading, hashing, compressing and writing the file.
    ///
    /// # Errors
    /// When the file has changed since, is too large, or the copy can't be written.
    pub(super) fn file(&self, file: &InputFile, named: Option<&[u8]>) -> Result<Copy, MirrorError> {
        let name = (Arc::clone(&file.path), named.is_some());
        if let Some(known) = self.state().known_file(&name, &file.digest, named) {
            return Ok(known);
        }
        let content = read(&file.path, &file.digest)?;
        let is_once_only = is_once_only(&content);
        let compressed = match named {
            Some(named) => lzo::compress(&with_name(&content, named)),
            None => lzo::compress(&content),
        };
        let workpiece = self.state().workpiece();
        let write = |source| MirrorError::Write { path: workpiece.clone(), source };
        std::fs::write(&workpiece, &compressed).map_err(write)?;
        let mut place = file.path.as_os_str().as_bytes().to_vec();
        place.extend_from_slice(if named.is_some() { b".lzo.abs" } else { b".lzo" });
        let place = PathBuf::from(OsString::from_vec(place));
        let mut state = self.state();
        if let Some(known) = state.known_file(&name, &file.digest, named) {
            // Somebody was faster.
            let _ = std::fs::remove_file(&workpiece);
            return Ok(known);
        }
        let path = state.put(&place, |target| std::fs::rename(&workpiece, target))?;
        let copy = Copy { path, is_once_only, is_new: true, bytes: compressed.len() as u64 };
        let version = Version { digest: file.digest, named: named.map(Box::from), copy: copy.clone() };
        state.files.entry(name).or_default().push(version);
        Ok(copy)
    }

    /// A symbolic link like the client's at `path`.
    ///
    /// # Errors
    /// When it can't be made, or the client would mistake its name.
    pub(super) fn symlink(&self, path: &Arc<Path>, target: &Arc<Path>) -> Result<Arc<[u8]>, MirrorError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.ends_with(b".lzo") || bytes.ends_with(b".abs") {
            let detail = "distcc's client doesn't send a symbolic link whose name ends like this".to_owned();
            return Err(MirrorError::Refused { path: path.to_path_buf(), detail });
        }
        let mut state = self.state();
        let known = state.links.get(path).and_then(|links| links.iter().find(|(known, _)| known == target));
        if let Some((_, copy)) = known {
            return Ok(Arc::clone(copy));
        }
        let copy = state.put(path, |place| std::os::unix::fs::symlink(target, place))?;
        state.links.entry(Arc::clone(path)).or_default().push((Arc::clone(target), Arc::clone(&copy)));
        Ok(copy)
    }

    /// An empty file whose directory is `directory`.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn placeholder(&self, directory: &Arc<Path>) -> Result<Arc<[u8]>, MirrorError> {
        let mut state = self.state();
        if let Some(known) = state.placeholders.get(directory) {
            return Ok(Arc::clone(known));
        }
        let create = |place: &Path| std::fs::OpenOptions::new().write(true).create_new(true).open(place).map(drop);
        let copy = state.put(&directory.join(PLACEHOLDER), create)?;
        state.placeholders.insert(Arc::clone(directory), Arc::clone(&copy));
        Ok(copy)
    }
}

impl State {
    fn flush(&mut self) -> anyhow::Result<()> {
        let workshop = self.client_roots.make()?;
        let first = Root::new(self.client_roots.make()?);
        for root in std::mem::take(&mut self.retired) {
            self.client_roots.discard(&root);
        }
        self.retired.push(std::mem::replace(&mut self.workshop, workshop));
        self.retired.extend(std::mem::replace(&mut self.roots, vec![first]).into_iter().map(|root| root.path));
        self.files.clear();
        self.links.clear();
        self.placeholders.clear();
        Ok(())
    }

    fn known_file(&self, name: &Name, digest: &Digest, named: Option<&[u8]>) -> Option<Copy> {
        let versions = self.files.get(name)?;
        let known = versions.iter().find(|known| known.digest == *digest && known.named.as_deref() == named)?;
        Some(Copy { is_new: false, ..known.copy.clone() })
    }

    /// A path of its own for a file in the making.
    fn workpiece(&mut self) -> PathBuf {
        self.unfinished += 1;
        self.workshop.join(self.unfinished.to_string())
    }

    /// Has `make` make something at `path` below the first client root where nothing is in its way.
    fn put(&mut self, path: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<Arc<[u8]>, MirrorError> {
        let index = match self.roots.iter().position(|root| root.is_free(path)) {
            Some(index) => index,
            None => self.add_root(path)?,
        };
        let root = &mut self.roots[index];
        let place = below(&root.path, path);
        let write = |source| MirrorError::Write { path: place.clone(), source };
        root.make_parents(path).map_err(write)?;
        make(&place).map_err(write)?;
        root.occupied.insert(path.to_owned());
        Ok(place.as_os_str().as_bytes().into())
    }

    fn add_root(&mut self, path: &Path) -> Result<usize, MirrorError> {
        let fail = |error: anyhow::Error| MirrorError::Refused {
            path: path.to_owned(),
            detail: format!("no client root for it: {error:#}"),
        };
        if self.roots.len() >= MAX_ROOTS {
            // Files in the making still lie in the old workshop, which stays until the next time.
            self.flush().map_err(fail)?;
            return Ok(0);
        }
        self.roots.push(Root::new(self.client_roots.make().map_err(fail)?));
        Ok(self.roots.len() - 1)
    }
}

impl Root {
    fn new(path: PathBuf) -> Self {
        Self { path, directories: HashSet::from([PathBuf::from("/")]), occupied: HashSet::new() }
    }

    /// Whether a file or link can be made at `path`.
    fn is_free(&self, path: &Path) -> bool {
        let Some(parent) = path.parent() else { return false };
        if self.occupied.contains(path) || self.directories.contains(path) {
            return false;
        }
        self.directories.contains(parent) || parent.ancestors().all(|directory| !self.occupied.contains(directory))
    }

    fn make_parents(&mut self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.directories.contains(parent) {
            return Ok(());
        }
        std::fs::create_dir_all(below(&self.path, parent))?;
        for directory in parent.ancestors() {
            if !self.directories.insert(directory.to_owned()) {
                break;
            }
        }
        Ok(())
    }
}

/// The place of the absolute `path` below `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    let mut place = root.as_os_str().as_bytes().to_vec();
    place.extend_from_slice(path.as_os_str().as_bytes());
    PathBuf::from(OsStr::from_bytes(&place))
}

/// The file's content, which must be what `digest` says.
fn read(path: &Path, digest: &Digest) -> Result<Vec<u8>, MirrorError> {
    let refused = |detail: String| MirrorError::Refused { path: path.to_owned(), detail };
    if digest.size_bytes() > MAX_FILE_BYTES {
        return Err(refused(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MirrorError::Changed(path.to_owned())),
        Err(error) => return Err(refused(error.to_string())),
    };
    if Digest::of(&content) != *digest {
        return Err(MirrorError::Changed(path.to_owned()));
    }
    Ok(content)
}

/// `content` after a line that tells the compiler the file's name. A mark of UTF-8 counts only at a file's start.
fn with_name(content: &[u8], name: &[u8]) -> Vec<u8> {
    let content = content.strip_prefix(UTF8_MARK).unwrap_or(content);
    let mut named = Vec::with_capacity(content.len() + name.len() + 12);
    named.extend_from_slice(b"#line 1 \"");
    for byte in name {
        if matches!(byte, b'"' | b'\\') {
            named.push(b'\\');
        }
        named.push(*byte);
    }
    named.extend_from_slice(b"\"\n");
    named.extend_from_slice(content);
    named
}

/// Whether a file asks to be included only once; rather yes than no.
fn is_once_only(content: &[u8]) -> bool {
    const WORD: &[u8] = b"ragma";
    let says_once = memchr::memmem::find_iter(content, WORD).any(|at| {
        let mut rest = &content[at + WORD.len()..];
        while let [b' ' | b'\t' | b'(' | b'"', after @ ..] = rest {
            rest = after;
        }
        rest.starts_with(b"once")
    });
    says_once || memchr::memmem::find(content, b"import").is_some()
}

#[cfg(test)]
mod tests;
