//! The files of a toolchain as a part of a file system: contents by digest, symbolic links as links, directories.
//!
//! Paths are [walked](walk) component by component, as the kernel does, so that every link on the way is recorded and every
//! directory that a `..` passes through exists again on the other side.

use super::digests::Digests;
use crate::compiler::trace::Looks;
use crate::compiler::trace::sights::{Changed, Sights, Validity};
use crate::files::stamp::Moment;
use crate::files::walk::{Step, Way, walk};
use crate::scan::closure::InputFile;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A part of the file system, growing.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<PathBuf, InputFile>,
    symlinks: BTreeMap<PathBuf, PathBuf>,
    directories: BTreeSet<PathBuf>,
    sights: Sights,
}

/// What a tree consists of, sorted by path; and what it depends on.
pub(super) struct Grown {
    pub(super) files: Vec<InputFile>,
    pub(super) symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    pub(super) directories: Vec<Arc<Path>>,
    pub(super) validity: Validity,
}

impl Tree {
    /// Adds the file or directory that the absolute `path` leads to, and the way to it. Gives its place.
    ///
    /// # Errors
    /// Where there is nothing, or it can't be read.
    pub(super) fn add(&mut self, path: &Path, digests: &Digests) -> io::Result<PathBuf> {
        let place = self.resolve(path)?;
        let metadata = std::fs::metadata(&place)?;
        if metadata.is_dir() {
            self.directories.insert(place.clone());
        } else if metadata.is_file() && !self.files.contains_key(&place) {
            self.sights.watch(&place);
            let file = InputFile {
                path: place.as_path().into(),
                digest: digests.of(&place)?,
                is_executable: metadata.permissions().mode() & 0o111 != 0,
            };
            self.files.insert(place.clone(), file);
        }
        Ok(place)
    }

    /// Makes the tree depend on what `path` leads to, without adding it: the entries of a directory, or an absence.
    pub(super) fn depend_on(&mut self, path: &Path) {
        self.sights.watch(path);
    }

    /// Makes the tree depend on all that a run looked for.
    ///
    /// # Errors
    /// Where some of it has changed since `began`, before the first question whose answer hangs on it.
    pub(super) fn depend_on_looks(&mut self, looks: &Looks, began: Moment) -> Result<(), Changed> {
        self.sights.add(looks)?;
        self.sights.stood_at(began)
    }

    /// Where `path` leads to, with each link on the way recorded.
    fn resolve(&mut self, path: &Path) -> io::Result<PathBuf> {
        let way = walk(path, |step| match step {
            Step::Leave(directory) => drop(self.directories.insert(directory.to_owned())),
            Step::Link(link) => self.sights.link(link),
            Step::Follow(link, target) => drop(self.symlinks.insert(link.to_owned(), target.to_owned())),
        });
        match way {
            Way::Leads(place, _) => Ok(place),
            Way::Missing(_) => Err(io::ErrorKind::NotFound.into()),
            Way::Barred(_, error) => Err(error.into()),
        }
    }

    /// The tree as it is.
    pub(super) fn finish(self) -> Grown {
        Grown {
            files: self.files.into_values().collect(),
            symlinks: self.symlinks.into_iter().map(|(from, to)| (from.into(), to.into())).collect(),
            directories: self.directories.into_iter().filter(|path| path != Path::new("/")).map(Arc::from).collect(),
            validity: self.sights.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn records_the_way() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let base = scratch.path().canonicalize().expect("canonical");
        std::fs::create_dir_all(base.join("real/bin")).expect("create");
        std::fs::create_dir_all(base.join("real/lib/deep")).expect("create");
        std::fs::write(base.join("real/bin/tool-1"), "x").expect("write");
        symlink("tool-1", base.join("real/bin/tool")).expect("link");
        symlink(base.join("real"), base.join("alias")).expect("link");
        symlink("loop", base.join("loop")).expect("link");
        while !crate::files::stamp::watch::Watch::link(&base.join("loop")).holds() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut tree = Tree::default();
        let digests = Digests::open(None);
        let place = tree.add(&base.join("alias/lib/deep/../../bin/tool"), &digests).expect("added");
        assert_eq!(place, base.join("real/bin/tool-1"));
        assert!(tree.add(&base.join("absent"), &digests).is_err());
        assert!(tree.add(&base.join("loop"), &digests).is_err());
        let grown = tree.finish();
        assert_eq!(grown.files.len(), 1);
        let text = |path: &Path| path.strip_prefix(&base).unwrap_or(path).display().to_string();
        let links: Vec<_> = grown.symlinks.iter().map(|(from, to)| (text(from), text(to))).collect();
        assert!(links.contains(&("alias".into(), "real".into())), "{links:?}");
        assert!(links.contains(&("real/bin/tool".into(), "tool-1".into())), "{links:?}");
        let directories: Vec<_> = grown.directories.iter().map(|path| text(path)).collect();
        assert_eq!(directories, ["real/lib", "real/lib/deep"]);
        assert!(grown.validity.holds(crate::files::since::Since::now()));
        std::fs::remove_file(base.join("real/bin/tool")).expect("remove");
        assert!(!grown.validity.holds(crate::files::since::Since::now()));
    }
}
