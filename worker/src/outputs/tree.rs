//! Output directories as `Tree` messages, and as `Directory` messages where a client wants these.
//!
//! **Source:** Remote Execution API v2, messages `Tree` and `OutputDirectory` (`is_topologically_sorted`),
//! `Command.output_directory_format`.

use super::{Outputs, read_link};
use crate::error::ExecutionError;
use crate::in_root;
use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::cas_client::{Source, Upload};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits;
use pumphouse_proto::reapi::command::OutputDirectoryFormat;
use pumphouse_proto::reapi::{Directory, DirectoryNode, FileNode, SymlinkNode, Tree};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

/// How many files, directories and links an output directory may have.
const ENTRIES: usize = 1_000_000;

/// A tree on its way.
#[derive(Default)]
struct Walk {
    /// Directories after all that they contain.
    finished: Vec<Directory>,
    seen: HashSet<Digest>,
    entries: usize,
}

/// What names an output directory, as the client wants it.
#[derive(Debug, Default)]
pub(super) struct Digests {
    pub(super) tree: Option<Digest>,
    /// Of its own `Directory`, which names those below it.
    pub(super) root: Option<Digest>,
}

impl Outputs {
    /// Reads a directory and all below it.
    pub(super) fn add_directory(
        &mut self,
        directory: BorrowedFd<'_>,
        format: OutputDirectoryFormat,
    ) -> Result<Digests, ExecutionError> {
        let mut walk = Walk::default();
        let root = self.walk(directory, 0, &mut walk)?;
        // Each directory stands before those that it contains.
        walk.finished.reverse();
        let mut digests = Digests::default();
        if format != OutputDirectoryFormat::TreeOnly {
            for directory in [&root].into_iter().chain(&walk.finished) {
                let encoded = Bytes::from(directory.encode_to_vec());
                let digest = self.function.digest(&encoded);
                digests.root.get_or_insert(digest);
                if !digest.names_nothing() {
                    self.uploads.push(Upload { digest, source: Source::Bytes(encoded) });
                }
            }
        }
        if format != OutputDirectoryFormat::DirectoryOnly {
            digests.tree = Some(self.add_tree(root, walk)?);
        }
        Ok(digests)
    }

    fn add_tree(&mut self, root: Directory, walk: Walk) -> Result<Digest, ExecutionError> {
        let tree = Tree { root: Some(root), children: walk.finished };
        let encoded = Bytes::from(tree.encode_to_vec());
        let digest = self.function.digest(&encoded);
        if digest.size_bytes() > limits::METADATA_BLOB_SIZE_BYTES {
            return Err(ExecutionError::TooLarge(format!(
                "description of an output directory has {} bytes, more than {}",
                digest.size_bytes(),
                limits::METADATA_BLOB_SIZE_BYTES
            )));
        }
        self.uploads.push(Upload { digest, source: Source::Bytes(encoded) });
        Ok(digest)
    }

    fn walk(&mut self, at: BorrowedFd<'_>, depth: usize, walk: &mut Walk) -> Result<Directory, ExecutionError> {
        if depth > limits::TREE_DEPTH {
            return Err(ExecutionError::TooLarge(format!("output directory is deeper than {}", limits::TREE_DEPTH)));
        }
        let mut message = Directory::default();
        for (name, file_type) in list(at)? {
            walk.entries += 1;
            if walk.entries > ENTRIES {
                return Err(ExecutionError::TooLarge(format!("output directory has more than {ENTRIES} entries")));
            }
            let path = Path::new(&name);
            match file_type {
                FileType::RegularFile => {
                    let (digest, is_executable) = self.add_file(at, path)?;
                    message.files.push(FileNode {
                        name,
                        digest: Some(digest.into()),
                        is_executable,
                        node_properties: None,
                    });
                }
                FileType::Directory => {
                    let child = match open_directory(at, path) {
                        // The sandbox's own mounts are not the command's work.
                        Err(Errno::XDEV) => continue,
                        opened => opened.with_context(|| format!("opening output {name:?}"))?,
                    };
                    let child = self.walk(child.as_fd(), depth + 1, walk)?;
                    let digest = self.function.digest(&child.encode_to_vec());
                    if walk.seen.insert(digest) {
                        walk.finished.push(child);
                    }
                    message.directories.push(DirectoryNode { name, digest: Some(digest.into()) });
                }
                FileType::Symlink => {
                    let target = read_link(at, path)?;
                    message.symlinks.push(SymlinkNode { name, target, node_properties: None });
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

fn open_directory(at: BorrowedFd<'_>, path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    match in_root::open_entry(at, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        // The worker owns the directory, but the command took its own right to read away.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, path, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            in_root::open_entry(at, path, OFlags::RDONLY | OFlags::DIRECTORY)
        }
        outcome => outcome,
    }
}

/// The names in a directory, sorted, with what they are.
fn list(at: BorrowedFd<'_>) -> Result<Vec<(String, FileType)>, ExecutionError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(at).context("reading an output directory")? {
        let entry = entry.context("reading an output directory")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let text = name
            .to_str()
            .map_err(|_| ExecutionError::Refused(format!("name of output {name:?} is not UTF-8")))?
            .to_owned();
        let file_type = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).context("looking at an output")?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        names.push((text, file_type));
    }
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}
