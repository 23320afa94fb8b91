//! The file system calls that move a replica: links, copies, directories, and their removal.

use super::{Difference, Node, Protection, Replica};
use crate::blob_cache::fixed_time;
use crate::directories::{Content, Directory};
use anyhow::Context as _;
use pumphouse_proto::digest::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// Files above this may share their inode with others of equal content: no header is that large.
const COPIED_SIZE_BYTES: u64 = 16 * 1024 * 1024;

impl Replica {
    /// Removes whatever is on disk below the root, which stays the same directory: mounts of it stay good.
    pub(super) fn clear(&mut self) -> anyhow::Result<Node> {
        let describe = || format!("clearing {}", self.path.display());
        fs::create_dir_all(&self.path).with_context(describe)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755)).with_context(describe)?;
        for entry in fs::read_dir(&self.path).with_context(describe)? {
            remove(&entry.with_context(describe)?.path()).with_context(describe)?;
        }
        if let Some(owner) = self.owner {
            std::os::unix::fs::chown(&self.path, Some(owner), Some(owner)).with_context(describe)?;
        }
        self.linked.clear();
        self.unpin_all();
        self.copies = 0;
        Ok(Node::default())
    }

    /// Moves the tree on disk from `root` to the difference's.
    pub(super) fn transform(&mut self, root: Node, difference: &Difference) -> anyhow::Result<Node> {
        let descriptor = open_directory(CWD, &self.path).with_context(|| format!("opening {}", self.path.display()))?;
        self.move_directory(descriptor.as_fd(), root, difference.root, &difference.directories)
            .with_context(|| format!("laying out input root {}", difference.root))
    }

    fn move_directory(
        &mut self,
        at: BorrowedFd<'_>,
        mut node: Node,
        digest: Digest,
        directories: &HashMap<Digest, Arc<Directory>>,
    ) -> anyhow::Result<Node> {
        if node.digest == Some(digest) {
            return Ok(node);
        }
        let new = directories.get(&digest).context("a directory was not read")?;
        let old = Arc::clone(&node.directory);
        self.remove_what_goes(at, &mut node, &old, new)?;
        self.add_what_comes(at, &mut node, &old, new)?;
        for (name, child_digest) in &new.directories {
            let child = node.children.remove(name);
            if child.is_none() {
                self.make_directory(at, name)?;
            } else if child.as_ref().is_some_and(|child| child.digest == Some(*child_digest)) {
                node.children.extend(child.map(|child| (name.clone(), child)));
                continue;
            }
            let descriptor = open_directory(at, name).with_context(|| format!("opening directory {name:?}"))?;
            let child =
                self.move_directory(descriptor.as_fd(), child.unwrap_or_default(), *child_digest, directories)?;
            node.children.insert(name.clone(), child);
        }
        rustix::fs::futimens(at, &fixed_time(0)).context("setting a directory's time")?;
        node.digest = Some(digest);
        node.directory = Arc::clone(new);
        Ok(node)
    }

    fn remove_what_goes(
        &mut self,
        at: BorrowedFd<'_>,
        node: &mut Node,
        old: &Directory,
        new: &Directory,
    ) -> anyhow::Result<()> {
        for file in &old.files {
            let stays = new.files.binary_search_by(|other| other.name.cmp(&file.name));
            if stays.is_ok_and(|position| new.files[position].content == file.content) {
                continue;
            }
            self.remove_file(at, node, &file.name, file.content)?;
        }
        for link in &old.symlinks {
            if new.symlinks.binary_search(link).is_err() {
                rustix::fs::unlinkat(at, &link.0, AtFlags::empty())
                    .with_context(|| format!("removing {:?}", link.0))?;
            }
        }
        for (name, _) in &old.directories {
            if new.directories.binary_search_by(|(other, _)| other.cmp(name)).is_err()
                && let Some(child) = node.children.remove(name)
            {
                self.remove_directory(at, name, child)?;
            }
        }
        Ok(())
    }

    fn add_what_comes(
        &mut self,
        at: BorrowedFd<'_>,
        node: &mut Node,
        old: &Directory,
        new: &Directory,
    ) -> anyhow::Result<()> {
        for file in &new.files {
            let was = old.files.binary_search_by(|other| other.name.cmp(&file.name));
            if was.is_ok_and(|position| old.files[position].content == file.content) {
                continue;
            }
            if !self.add_file(at, &file.name, file.content).with_context(|| format!("adding file {:?}", file.name))? {
                node.copies.push(file.name.clone());
            }
        }
        for link in &new.symlinks {
            if old.symlinks.binary_search(link).is_err() {
                rustix::fs::symlinkat(&link.1, at, &link.0).with_context(|| format!("adding link {:?}", link.0))?;
            }
        }
        Ok(())
    }

    /// Adds a file; false where it is a copy.
    fn add_file(&mut self, at: BorrowedFd<'_>, name: &str, content: Content) -> anyhow::Result<bool> {
        let may_share = content.digest.size_bytes() > COPIED_SIZE_BYTES;
        let is_linked = self.linked.contains(&content);
        if self.protection == Protection::Copies || content.digest.names_nothing() || is_linked && !may_share {
            self.add_copy(at, name, content)?;
            return Ok(false);
        }
        match rustix::fs::linkat(CWD, self.cache.path(&content), at, name, AtFlags::empty()) {
            Ok(()) => {
                self.linked.insert(content);
                Ok(true)
            }
            // A file system allows so many links to an inode, and no more.
            Err(Errno::MLINK) => {
                self.add_copy(at, name, content)?;
                Ok(false)
            }
            Err(error) => {
                if error == Errno::NOENT {
                    self.cache.forget(content);
                }
                Err(error).with_context(|| format!("linking blob {}", content.digest))
            }
        }
    }

    fn add_copy(&mut self, at: BorrowedFd<'_>, name: &str, content: Content) -> anyhow::Result<()> {
        let mode = Mode::from_raw_mode(if content.is_executable { 0o555 } else { 0o444 });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = fs::File::from(rustix::fs::openat(at, name, flags, mode)?);
        if !content.digest.names_nothing() {
            let mut source = fs::File::open(self.cache.path(&content)).context("opening a blob")?;
            let copied = io::copy(&mut source, &mut file).context("copying a blob")?;
            anyhow::ensure!(copied == content.digest.size_bytes(), "blob {} is torn", content.digest);
        }
        // The umask may have taken bits away.
        rustix::fs::fchmod(&file, mode)?;
        self.copies = self.copies.wrapping_add(1);
        Ok(rustix::fs::futimens(&file, &fixed_time(1 + self.copies % 0x1000_0000))?)
    }

    fn remove_file(&mut self, at: BorrowedFd<'_>, node: &mut Node, name: &str, content: Content) -> anyhow::Result<()> {
        rustix::fs::unlinkat(at, name, AtFlags::empty()).with_context(|| format!("removing {name:?}"))?;
        match node.copies.iter().position(|copy| copy == name) {
            Some(position) => {
                node.copies.swap_remove(position);
            }
            None => {
                self.linked.remove(&content);
            }
        }
        self.unpin(content);
        Ok(())
    }

    fn remove_directory(&mut self, at: BorrowedFd<'_>, name: &str, mut node: Node) -> anyhow::Result<()> {
        let descriptor = open_directory(at, name).with_context(|| format!("opening directory {name:?}"))?;
        let directory = std::mem::take(&mut node.directory);
        for file in &directory.files {
            self.remove_file(descriptor.as_fd(), &mut node, &file.name, file.content)?;
        }
        for (link, _) in &directory.symlinks {
            rustix::fs::unlinkat(&descriptor, link, AtFlags::empty()).with_context(|| format!("removing {link:?}"))?;
        }
        for (child_name, child) in std::mem::take(&mut node.children) {
            self.remove_directory(descriptor.as_fd(), &child_name, child)?;
        }
        rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR).with_context(|| format!("removing directory {name:?}"))
    }

    fn make_directory(&self, at: BorrowedFd<'_>, name: &str) -> anyhow::Result<()> {
        let made = rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755));
        made.with_context(|| format!("creating directory {name:?}"))?;
        // The umask may have taken bits away.
        rustix::fs::chmodat(at, name, Mode::from_raw_mode(0o755), AtFlags::empty())
            .with_context(|| format!("opening directory {name:?} to everybody"))?;
        if let Some(owner) = self.owner {
            let (uid, gid) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
            rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("giving away directory {name:?}"))?;
        }
        Ok(())
    }
}

/// Removes a file or a tree, also one whose directories an action has closed to their owner.
fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            reopen(path)?;
            fs::remove_dir_all(path)
        }
        outcome => outcome,
    }
}

fn reopen(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            reopen(&entry.path())?;
        }
    }
    Ok(())
}

fn open_directory(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}
