//! From sorted entries to `Directory` messages.

use super::{Entries, Entry, Kind, conflict, not_text};
use crate::fallback::{Fallback, Reason};
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits;
use pumphouse_proto::reapi::{Directory, DirectoryNode, FileNode, SymlinkNode};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// An input root that is ready to be uploaded.
#[derive(Debug, Clone)]
pub(crate) struct BuiltRoot {
    /// The digest of the root directory's message.
    pub digest: Digest,
    /// Every directory's message, by its digest; one that stands twice in the tree may stand twice here.
    pub directories: Vec<(Digest, Bytes)>,
}

/// Builds the tree. Costs a SHA-256 over each directory's message.
///
/// # Errors
/// Two entries contradict each other, a path is not UTF-8, or the tree is too deep.
pub(crate) fn build(entries: &Entries) -> Result<BuiltRoot, Fallback> {
    let mut directories = Vec::new();
    let digest = build_level(&entries.0, 1, 1, &mut directories)?;
    Ok(BuiltRoot { digest, directories })
}

/// Builds the directory whose entries' names begin at byte `start` of their paths.
fn build_level(
    mut entries: &[Entry],
    start: usize,
    depth: usize,
    directories: &mut Vec<(Digest, Bytes)>,
) -> Result<Digest, Fallback> {
    let mut message = Directory::default();
    while let Some(first) = entries.first() {
        let Some(name) = component(&first.path, start) else {
            // The directory itself, which must exist and does.
            entries = &entries[1..];
            continue;
        };
        let count = entries.iter().take_while(|entry| component(&entry.path, start) == Some(name)).count();
        let (group, rest) = entries.split_at(count);
        entries = rest;
        let end = start + name.len();
        let text = str::from_utf8(name).map_err(|_| not_text(&first.path))?.to_owned();
        let is_here = first.path.as_os_str().len() == end;
        match &first.kind {
            Kind::File { digest, is_executable } if is_here => {
                only(group)?;
                message.files.push(FileNode {
                    name: text,
                    digest: Some(digest.into()),
                    is_executable: *is_executable,
                    node_properties: None,
                });
            }
            Kind::Symlink(target) if is_here => {
                only(group)?;
                let target = target.to_str().ok_or_else(|| not_text(&first.path))?.to_owned();
                message.symlinks.push(SymlinkNode { name: text, target, node_properties: None });
            }
            _ => {
                if depth >= limits::TREE_DEPTH {
                    return Err(Fallback::at(Reason::ScanLimit, "the path is too deep", first.path.as_ref(), 0));
                }
                if let Some(other) =
                    group.iter().find(|entry| entry.path.as_os_str().len() == end && entry.kind != Kind::Directory)
                {
                    return Err(conflict(&other.path));
                }
                let digest = build_level(group, end + 1, depth + 1, directories)?;
                message.directories.push(DirectoryNode { name: text, digest: Some(digest.into()) });
            }
        }
    }
    let encoded = Bytes::from(message.encode_to_vec());
    let digest = Digest::of(&encoded);
    directories.push((digest, encoded));
    Ok(digest)
}

/// The component of `path` that begins at byte `start`; none where the path ends before.
fn component(path: &Path, start: usize) -> Option<&[u8]> {
    let rest = path.as_os_str().as_bytes().get(start..)?;
    let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// Checks that a file or a link is alone at its path.
fn only(group: &[Entry]) -> Result<(), Fallback> {
    match group {
        [_] => Ok(()),
        _ => Err(conflict(&group[0].path)),
    }
}
