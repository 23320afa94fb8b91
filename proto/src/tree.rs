//! Merkle trees of directories: built canonical, and checked to be canonical where they come from elsewhere.
//!
//! A tree's root digest depends on nothing but the paths, contents, execute bits and link targets in it: no time, no
//! owner, no order of insertion.
//!
//! **Source:** Remote Execution API v2, messages `Directory`, `FileNode`, `SymlinkNode`.

use crate::digest::{Digest, InvalidDigest};
use crate::entries::{self, TooManyEntries};
use crate::limits;
use crate::reapi::{Directory, DirectoryNode, FileNode, SymlinkNode};
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A directory that is being filled.
#[derive(Debug, Default, Clone)]
pub struct TreeBuilder {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    File { digest: Digest, is_executable: bool },
    Symlink { target: String },
    Directory(TreeBuilder),
    Subtree(Digest),
}

/// A tree that is ready to be uploaded.
#[derive(Debug, Clone)]
pub struct MerkleTree {
    /// The digest of the root directory's message.
    pub root: Digest,
    /// Every directory's message by its digest, subtrees that were given by digest excepted.
    pub directories: BTreeMap<Digest, Bytes>,
}

/// Why a path can't join a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeConflict {
    /// Two different things have one path.
    #[error("{0:?} is two different things in one tree")]
    Different(String),
    /// The path is empty, or one of its components is `.` or `..` or empty.
    #[error("{0:?} is not a relative path of plain components")]
    Path(String),
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file at `path`, relative to the root, with `/` between components.
    ///
    /// # Errors
    /// The path is malformed, or something else is there.
    pub fn file(&mut self, path: &str, digest: Digest) -> Result<(), TreeConflict> {
        self.insert(path, Node::File { digest, is_executable: false })
    }

    /// Adds a file at `path` that may be executed.
    ///
    /// # Errors
    /// As [`TreeBuilder::file`].
    pub fn executable(&mut self, path: &str, digest: Digest) -> Result<(), TreeConflict> {
        self.insert(path, Node::File { digest, is_executable: true })
    }

    /// Adds a symbolic link at `path` whose target is `target`, as `readlink` gives it.
    ///
    /// # Errors
    /// The path is malformed, or something else is there.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), TreeConflict> {
        self.insert(path, Node::Symlink { target: target.to_owned() })
    }

    /// Adds a directory at `path`, which may be there already; the empty path is the root.
    ///
    /// # Errors
    /// The path is malformed, or something else is there.
    pub fn directory(&mut self, path: &str) -> Result<(), TreeConflict> {
        if path.is_empty() { Ok(()) } else { self.insert(path, Node::Directory(Self::new())) }
    }

    /// Adds a whole subtree at `path` by the digest of its root, which stays opaque: nothing can be added below it.
    ///
    /// # Errors
    /// The path is malformed, or something is there.
    pub fn subtree(&mut self, path: &str, root: Digest) -> Result<(), TreeConflict> {
        self.insert(path, Node::Subtree(root))
    }

    /// Encodes and hashes every directory.
    pub fn build(&self) -> MerkleTree {
        let mut directories = BTreeMap::new();
        let root = self.build_into(&mut directories);
        MerkleTree { root, directories }
    }

    fn build_into(&self, directories: &mut BTreeMap<Digest, Bytes>) -> Digest {
        let mut message = Directory::default();
        for (name, node) in &self.nodes {
            let name = name.clone();
            match node {
                Node::File { digest, is_executable } => message.files.push(FileNode {
                    name,
                    digest: Some(digest.into()),
                    is_executable: *is_executable,
                    node_properties: None,
                }),
                Node::Symlink { target } => {
                    message.symlinks.push(SymlinkNode { name, target: target.clone(), node_properties: None });
                }
                Node::Directory(builder) => {
                    let digest = builder.build_into(directories);
                    message.directories.push(DirectoryNode { name, digest: Some(digest.into()) });
                }
                Node::Subtree(digest) => {
                    message.directories.push(DirectoryNode { name, digest: Some(digest.into()) });
                }
            }
        }
        let encoded = Bytes::from(message.encode_to_vec());
        let digest = Digest::of(&encoded);
        directories.insert(digest, encoded);
        digest
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), TreeConflict> {
        let mut builder = self;
        let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
        if !is_plain(name) {
            return Err(TreeConflict::Path(path.to_owned()));
        }
        for component in parents.into_iter().flat_map(|parents| parents.split('/')) {
            if !is_plain(component) {
                return Err(TreeConflict::Path(path.to_owned()));
            }
            builder = builder.child(component).ok_or_else(|| TreeConflict::Different(path.to_owned()))?;
        }
        match builder.nodes.entry(name.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(node);
                Ok(())
            }
            Entry::Occupied(present) if present.get().absorbs(&node) => Ok(()),
            Entry::Occupied(_) => Err(TreeConflict::Different(path.to_owned())),
        }
    }

    fn child(&mut self, name: &str) -> Option<&mut Self> {
        if !self.nodes.contains_key(name) {
            self.nodes.insert(name.to_owned(), Node::Directory(Self::new()));
        }
        match self.nodes.get_mut(name) {
            Some(Node::Directory(builder)) => Some(builder),
            _ => None,
        }
    }
}

impl Node {
    /// Whether adding `other` where `self` stands changes nothing.
    fn absorbs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { digest, is_executable }, Self::File { digest: other, is_executable: other_executable }) => {
                digest == other && is_executable == other_executable
            }
            (Self::Symlink { target }, Self::Symlink { target: other }) => target == other,
            (Self::Directory(_), Self::Directory(other)) => other.nodes.is_empty(),
            (Self::Subtree(digest), Self::Subtree(other)) => digest == other,
            _ => false,
        }
    }
}

/// Why a `Directory` is not canonical.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirectory {
    /// A name is empty, `.`, `..`, or contains a slash or a NUL.
    #[error("directory entry {0:?} is not a plain name")]
    Name(String),
    /// A list is not sorted, or a name stands twice.
    #[error("directory entry {0:?} is out of order or stands twice")]
    Order(String),
    /// A digest is malformed.
    #[error("directory entry {0:?}: {1}")]
    Digest(String, InvalidDigest),
    /// A symbolic link has no target.
    #[error("symbolic link {0:?} has no target")]
    Target(String),
    /// The message can't be decoded.
    #[error("directory {0} can't be decoded: {1}")]
    Encoding(Digest, String),
    /// The message lists more than any sensible one.
    #[error("directory {0}: {1}")]
    Entries(Digest, TooManyEntries),
    /// The tree is deeper than [`limits::TREE_DEPTH`].
    #[error("tree is deeper than {} levels", limits::TREE_DEPTH)]
    Depth,
}

impl From<InvalidDirectory> for tonic::Status {
    fn from(error: InvalidDirectory) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Checks that a directory is canonical: plain names, each list sorted, no name twice, digests well formed.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(directory: &Directory) -> Result<(), InvalidDirectory> {
    check_names(directory.files.iter().map(|node| node.name.as_str()))?;
    check_names(directory.directories.iter().map(|node| node.name.as_str()))?;
    check_names(directory.symlinks.iter().map(|node| node.name.as_str()))?;
    let mut names: Vec<&str> = directory.files.iter().map(|node| node.name.as_str()).collect();
    names.extend(directory.directories.iter().map(|node| node.name.as_str()));
    names.extend(directory.symlinks.iter().map(|node| node.name.as_str()));
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(InvalidDirectory::Order(pair[0].to_owned()));
    }
    let files = directory.files.iter().map(|node| (&node.name, &node.digest));
    let directories = directory.directories.iter().map(|node| (&node.name, &node.digest));
    for (name, digest) in files.chain(directories) {
        Digest::try_from(digest).map_err(|error| InvalidDirectory::Digest(name.clone(), error))?;
    }
    match directory.symlinks.iter().find(|node| node.target.is_empty()) {
        Some(node) => Err(InvalidDirectory::Target(node.name.clone())),
        None => Ok(()),
    }
}

/// Decodes a directory's blob and checks it.
///
/// # Errors
/// The blob is not a canonical `Directory`.
pub fn decode(digest: Digest, blob: Bytes) -> Result<Directory, InvalidDirectory> {
    entries::check_directory(&blob).map_err(|error| InvalidDirectory::Entries(digest, error))?;
    let directory = Directory::decode(blob).map_err(|error| InvalidDirectory::Encoding(digest, error.to_string()))?;
    check(&directory)?;
    Ok(directory)
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), InvalidDirectory> {
    let mut previous: Option<&str> = None;
    for name in names {
        if !is_plain(name) {
            return Err(InvalidDirectory::Name(name.to_owned()));
        }
        if previous.is_some_and(|previous| previous >= name) {
            return Err(InvalidDirectory::Order(name.to_owned()));
        }
        previous = Some(name);
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_insertion_does_not_matter() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut one = TreeBuilder::new();
        one.file("x/a", a).expect("free");
        one.executable("x/b", b).expect("free");
        one.directory("x").expect("a directory");
        let mut other = TreeBuilder::new();
        other.directory("x").expect("free");
        other.executable("x/b", b).expect("free");
        other.file("x/a", a).expect("free");
        other.file("x/a", a).expect("the same again");
        let (one, other) = (one.build(), other.build());
        assert_eq!(one.root, other.root);
        for blob in one.directories.values() {
            check(&Directory::decode(blob.clone()).expect("decodes")).expect("canonical");
        }
    }

    #[test]
    fn conflicts_are_named() {
        let mut tree = TreeBuilder::new();
        tree.file("x", Digest::EMPTY).expect("free");
        assert_eq!(tree.directory("x"), Err(TreeConflict::Different("x".to_owned())));
        assert_eq!(tree.file("x/y", Digest::EMPTY), Err(TreeConflict::Different("x/y".to_owned())));
        for path in ["", "/x", "a//b", "a/../b", ".", "a/"] {
            assert_eq!(tree.file(path, Digest::EMPTY), Err(TreeConflict::Path(path.to_owned())));
        }
    }

    #[test]
    fn directories_that_are_not_canonical_are_refused() {
        let file =
            |name: &str| FileNode { name: name.to_owned(), digest: Some(Digest::EMPTY.into()), ..FileNode::default() };
        let files =
            |names: &[&str]| Directory { files: names.iter().map(|name| file(name)).collect(), ..Directory::default() };
        assert_eq!(check(&files(&["a", "b"])), Ok(()));
        assert_eq!(check(&files(&["b", "a"])), Err(InvalidDirectory::Order("a".to_owned())));
        assert_eq!(check(&files(&["a", "a"])), Err(InvalidDirectory::Order("a".to_owned())));
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(check(&files(&[name])), Err(InvalidDirectory::Name(name.to_owned())));
        }
        let mut twice = files(&["a"]);
        twice.symlinks.push(SymlinkNode { name: "a".to_owned(), target: "t".to_owned(), node_properties: None });
        assert_eq!(check(&twice), Err(InvalidDirectory::Order("a".to_owned())));
        let bare =
            Directory { files: vec![FileNode { name: "a".to_owned(), ..FileNode::default() }], ..Directory::default() };
        assert_eq!(check(&bare), Err(InvalidDirectory::Digest("a".to_owned(), InvalidDigest::Missing)));
    }
}
