//! A small tree of files as a value: written to disk, changed, and printed as the shell commands that make it again.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What stands at one path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(PathBuf),
    /// Another name of the file at this path of the tree.
    HardLink(PathBuf),
    /// A directory that must exist though nothing need be in it.
    Directory,
}

/// A tree of nodes by their paths from the tree's root. Directories on the way are implied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The nodes.
    pub nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Puts a file.
    pub fn file(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.nodes.insert(path.into(), Node::File(bytes.into()));
        self
    }

    /// Puts a symbolic link.
    pub fn symlink(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.nodes.insert(path.into(), Node::Symlink(target.into()));
        self
    }

    /// Puts another name of a file.
    pub fn hard_link(&mut self, path: impl Into<PathBuf>, original: impl Into<PathBuf>) -> &mut Self {
        self.nodes.insert(path.into(), Node::HardLink(original.into()));
        self
    }

    /// Puts a directory.
    pub fn directory(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.nodes.insert(path.into(), Node::Directory);
        self
    }

    /// Makes what is below `root` equal to the tree, touching only what differs from `before`.
    ///
    /// Nodes that can't be made (a file below a file, a link to what is gone) are left out, as a user's `cp` would.
    ///
    /// # Errors
    /// Where something that stands in the way can't be removed.
    pub fn write(&self, root: &Path, before: &Self) -> Result<()> {
        for (path, node) in before.nodes.iter().rev() {
            if self.nodes.get(path) != Some(node) || matches!(node, Node::HardLink(_)) {
                remove(&root.join(path))?;
            }
        }
        let is_link = |node: &Node| matches!(node, Node::HardLink(_));
        for wanted in [false, true] {
            for (path, node) in self.nodes.iter().filter(|(_, node)| is_link(node) == wanted) {
                if is_link(node) || before.nodes.get(path) != Some(node) || !exists(&root.join(path)) {
                    node.make(root, &root.join(path))?;
                }
            }
        }
        Ok(())
    }

    /// The commands of a shell that make the tree in its working directory.
    pub fn to_shell(&self) -> String {
        let mut text = String::new();
        for wanted in [false, true] {
            for (path, node) in self.nodes.iter().filter(|(_, node)| matches!(node, Node::HardLink(_)) == wanted) {
                let quoted = quote(path.as_os_str().as_bytes());
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                if let Some(parent) = parent {
                    let _ = write!(text, "mkdir -p {}; ", quote(parent.as_os_str().as_bytes()));
                }
                let _ = match node {
                    Node::File(bytes) => writeln!(text, "printf %b {} > {quoted}", quote(&escape(bytes))),
                    Node::Symlink(target) => writeln!(text, "ln -s {} {quoted}", quote(target.as_os_str().as_bytes())),
                    Node::HardLink(target) => writeln!(text, "ln {} {quoted}", quote(target.as_os_str().as_bytes())),
                    Node::Directory => writeln!(text, "mkdir -p {quoted}"),
                };
            }
        }
        text
    }
}

impl Node {
    fn make(&self, root: &Path, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent()
            && fs::create_dir_all(parent).is_err()
        {
            return Ok(());
        }
        let made = match self {
            Self::File(bytes) => fs::write(path, bytes),
            Self::Symlink(target) => std::os::unix::fs::symlink(target, path),
            Self::HardLink(original) => fs::hard_link(root.join(original), path),
            Self::Directory => fs::create_dir_all(path),
        };
        match made {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                Err(error).with_context(|| format!("make {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("remove {}", path.display()))
}

/// One word of a shell.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=+,:".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Bytes as `printf %b` takes them.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in bytes {
        match byte {
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            b'\r' => text.extend(b"\\r"),
            b'\\' => text.extend(b"\\\\"),
            b' '..=b'~' => text.push(byte),
            _ => text.extend(format!("\\0{byte:03o}").bytes()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_written_changed_and_printed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut tree = Tree::default();
        tree.file("a/b.h", "one").symlink("l", "a").hard_link("c.h", "a/b.h").directory("empty");
        tree.write(root, &Tree::default()).unwrap();
        assert_eq!(fs::read(root.join("l/b.h")).unwrap(), b"one");
        let mut changed = tree.clone();
        changed.file("a/b.h", "two").file("l/x.h", "in a real directory now");
        changed.nodes.remove(Path::new("l"));
        changed.write(root, &tree).unwrap();
        assert_eq!(fs::read(root.join("c.h")).unwrap(), b"two", "the other name follows");
        assert!(fs::symlink_metadata(root.join("l")).unwrap().is_dir());

        let copy = tempfile::tempdir().unwrap();
        tree.file("odd\n'.h", b"\0\xff\\ \"'%d\r\n".to_vec());
        let status =
            std::process::Command::new("bash").arg("-c").arg(tree.to_shell()).current_dir(copy.path()).status();
        assert!(status.unwrap().success());
        assert_eq!(fs::read(copy.path().join("odd\n'.h")).unwrap(), b"\0\xff\\ \"'%d\r\n");
        assert_eq!(fs::read_link(copy.path().join("l")).unwrap(), Path::new("a"));
    }
}
