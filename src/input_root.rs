//! The input root: everything that a compile reads, as a Merkle tree of `Directory` messages at the same absolute paths
//! as on this machine.
//!
//! It takes what others found and reads no file: a [`Closure`], a toolchain's entries, and the links and directories on the
//! way to the outputs. Equal entries give equal bytes; entries that contradict each other are a [`Fallback`], for they can
//! only come of files that change.
//!
//! **Source:** Remote Execution API v2, message `Directory`.

mod build;

pub(crate) use build::{BuiltRoot, build};

use crate::fallback::{Fallback, Reason};
use crate::scan::closure::{Closure, InputFile};
use pumphouse_proto::digest::Digest;
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// One thing of an input root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it is: absolute, symbolic links resolved up to the last component.
    path: Arc<Path>,
    /// What it is.
    kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File { digest: Digest, is_executable: bool },
    Symlink(Arc<Path>),
    Directory,
}

/// Entries in the order of a walk through their tree, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entries(Vec<Entry>);

impl Entries {
    /// The entries of files, symbolic links (with their targets) and directories that must exist, in any order.
    pub(crate) fn new<'a>(
        files: impl IntoIterator<Item = &'a InputFile>,
        symlinks: impl IntoIterator<Item = &'a (Arc<Path>, Arc<Path>)>,
        directories: impl IntoIterator<Item = &'a Arc<Path>>,
    ) -> Self {
        let mut entries = Vec::new();
        entries.extend(files.into_iter().map(|file| Entry {
            path: Arc::clone(&file.path),
            kind: Kind::File { digest: file.digest, is_executable: file.is_executable },
        }));
        entries.extend(
            symlinks
                .into_iter()
                .map(|(path, target)| Entry { path: Arc::clone(path), kind: Kind::Symlink(Arc::clone(target)) }),
        );
        entries.extend(directories.into_iter().map(|path| Entry { path: Arc::clone(path), kind: Kind::Directory }));
        entries.sort_by(|one, other| compare(&one.path, &other.path));
        entries.dedup();
        Self(entries)
    }

    /// The entries of a closure.
    pub(crate) fn of_closure(closure: &Closure) -> Self {
        Self::new(closure.files.iter().map(|file| &**file), &closure.symlinks, &closure.directories)
    }

    /// These entries and `other`'s. Costs a comparison for each.
    #[must_use]
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let mut merged = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(one), Some(other)) => compare(&one.path, &other.path),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Self(merged),
            };
            let next = if order == Ordering::Greater { right.next() } else { left.next() };
            if let Some(entry) = next.filter(|entry| merged.last() != Some(*entry)) {
                merged.push(entry.clone());
            }
        }
    }

    /// Every file's path and digest.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Arc<Path>, Digest)> {
        self.0.iter().filter_map(|entry| match entry.kind {
            Kind::File { digest, .. } => Some((&entry.path, digest)),
            _ => None,
        })
    }
}

/// The order of a depth-first walk: by components, so that whatever is below a directory stands together behind it.
fn compare(one: &Path, other: &Path) -> Ordering {
    let (one, other) = (one.as_os_str().as_bytes(), other.as_os_str().as_bytes());
    let common = one.iter().zip(other).take_while(|(left, right)| left == right).count();
    let weight = |bytes: &[u8]| match bytes.get(common) {
        None => 0,
        Some(b'/') => 1,
        Some(byte) => u16::from(*byte) + 2,
    };
    weight(one).cmp(&weight(other))
}

fn conflict(path: &Path) -> Fallback {
    Fallback::at(Reason::Changing, "is two different things", path, 0)
}

fn not_text(path: &Path) -> Fallback {
    Fallback::at(Reason::PathNotText, "the name is not UTF-8", path, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::tree::TreeBuilder;

    fn path(text: &str) -> Arc<Path> {
        Path::new(text).into()
    }

    fn file(text: &str) -> InputFile {
        InputFile { path: path(text), digest: Digest::of(text.as_bytes()), is_executable: text.contains("bin") }
    }

    #[test]
    fn a_root_is_what_the_tree_builder_makes() {
        let files: Vec<InputFile> = [
            "/usr/include/a.h",
            "/usr/include/a-b/c.h",
            "/usr/include/a/c.h",
            "/usr/bin/gcc",
            "/b.c",
            "/usr/includes.h",
        ]
        .map(file)
        .into();
        let symlinks = [(path("/usr/include/link"), path("../x")), (path("/lib"), path("usr/lib"))];
        let directories = [path("/usr/include/a"), path("/empty/deep"), path("/usr")];
        let entries = Entries::new(&files, &symlinks, &directories);
        let root = build(&entries).expect("built");
        let mut expect = TreeBuilder::new();
        for file in &files {
            let path = file.path.to_str().expect("text").trim_start_matches('/');
            let add = if file.is_executable { TreeBuilder::executable } else { TreeBuilder::file };
            add(&mut expect, path, file.digest).expect("added");
        }
        expect.symlink("usr/include/link", "../x").expect("added");
        expect.symlink("lib", "usr/lib").expect("added");
        expect.directory("empty/deep").expect("added");
        let expect = expect.build();
        assert_eq!(root.digest, expect.root);
        let directories: std::collections::BTreeMap<_, _> = root.directories.into_iter().collect();
        assert_eq!(directories, expect.directories);
    }

    #[test]
    fn merging_is_the_same_as_building_at_once() {
        let [one, two, three] = ["/a/b.h", "/a-x/b.h", "/usr/c.h"].map(file);
        let left = Entries::new([&one, &three], [], &[path("/a")]);
        let right = Entries::new([&two, &three], [], &[path("/usr")]);
        assert_eq!(left.merged(&right), Entries::new([&one, &two, &three], [], &[path("/a"), path("/usr")]));
        assert_eq!(left.merged(&Entries::default()), left);
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |files: &[InputFile], symlinks: &[(Arc<Path>, Arc<Path>)], expect: Reason| {
            assert_eq!(build(&Entries::new(files, symlinks, [])).expect_err("refused").reason, expect);
        };
        let changed = InputFile { digest: Digest::EMPTY, ..file("/a.h") };
        check(&[file("/a.h"), changed], &[], Reason::Changing);
        check(&[file("/a.h"), file("/a.h/b.h")], &[], Reason::Changing);
        check(&[file("/a/b.h")], &[(path("/a"), path("c"))], Reason::Changing);
        let bytes: Arc<Path> = Path::new(std::ffi::OsStr::from_bytes(b"/\xff.h")).into();
        check(&[InputFile { path: bytes, ..file("/a.h") }], &[], Reason::PathNotText);
    }
}
