//! The files that a compile reads: the scanner's answer, and the input of the Merkle tree.
//!
//! * [`record`]: what a replay saw of the file system, in the order of seeing
//! * [`assemble`]: from that to the answer

pub(super) mod assemble;
pub(crate) mod record;

pub use crate::files::file::InputFile;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Everything of the file system that a compile's result depends on, besides the toolchain's own programs.
///
/// All paths are absolute and *lexical*: `.` and empty components are dropped; `..` is resolved only through what is a
/// real directory on the client, never across a symbolic link. Each list is sorted by path and free of duplicates.
/// Every directory on the way to an entry is implied; a directory on the way that is a symbolic link on the client
/// stands in `symlinks`, and the entries behind it stand at its resolved place.
///
/// The scanner gives the *same* `Arc<Closure>` again where nothing has changed, so what is derived from one can be
/// kept by the pointer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// Files whose contents are read: the source, headers, `.incbin`, profiles, ….
    /// Shared with all closures that hold the same content.
    pub files: Vec<Arc<InputFile>>,
    /// Files that are only probed or read without being included (`__has_include`, `.incbin`, …): a subset of `files`
    /// by path, so that users can tell them apart.
    pub probed: Vec<Arc<Path>>,
    /// Headers (and the source) that the compiler knows by another name than `path`, with that name as spelled: the
    /// first absolute one where there is one, else the first. What `__FILE__` and messages say.
    pub names: Vec<(Arc<Path>, Arc<Path>)>,
    /// Files that an operand in a source names by an absolute path (`#include "/x.h"`, `.incbin "/x"`): a subset of
    /// `files` by path. A search directory or a source that is absolute doesn't count.
    pub absolute: Vec<Arc<Path>>,
    /// Symbolic links on the way to any entry, with their targets as `readlink` gives them.
    pub symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    /// Directories that must exist though no file in them may be read: each existing directory of the search path, those
    /// that a `..` passes through, and the working directory.
    pub directories: Vec<Arc<Path>>,
    /// Paths that were looked for and are not there, and whose appearance would change the answer.
    pub absent: Absences,
    /// Whether the text of `__DATE__`, `__TIME__` or `__TIMESTAMP__` is used anywhere (by name, in a live group or a
    /// macro): such a result isn't cached unless `SOURCE_DATE_EPOCH` fixes it.
    pub time_dependent: bool,
}

/// Paths that are not there, sorted and without duplicates; put in order when they are first looked at.
#[derive(Default, Clone)]
pub struct Absences {
    parts: Vec<Arc<[Arc<Path>]>>,
    sorted: OnceLock<Box<[Arc<Path>]>>,
}

impl Absences {
    /// The paths of all `parts`.
    pub(crate) const fn new(parts: Vec<Arc<[Arc<Path>]>>) -> Self {
        Self { parts, sorted: OnceLock::new() }
    }

    /// About how many bytes it takes, the paths aside.
    pub(crate) const fn bytes(&self) -> usize {
        self.parts.len() * 16
    }
}

impl From<Vec<Arc<Path>>> for Absences {
    fn from(paths: Vec<Arc<Path>>) -> Self {
        Self::new(vec![Arc::from(paths)])
    }
}

impl Deref for Absences {
    type Target = [Arc<Path>];

    fn deref(&self) -> &Self::Target {
        self.sorted.get_or_init(|| {
            let mut paths: Vec<Arc<Path>> = self.parts.iter().flat_map(|part| part.iter().cloned()).collect();
            paths.sort_unstable_by(|one, two| compare_paths(one, two));
            paths.dedup();
            paths.into_boxed_slice()
        })
    }
}

impl<'a> IntoIterator for &'a Absences {
    type Item = &'a Arc<Path>;
    type IntoIter = std::slice::Iter<'a, Arc<Path>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Arc<Path>> for Absences {
    fn from_iter<I: IntoIterator<Item = Arc<Path>>>(paths: I) -> Self {
        Self::new(vec![paths.into_iter().collect()])
    }
}

impl PartialEq for Absences {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Absences {}

impl fmt::Debug for Absences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// The order of [`Path`], for absolute paths without empty components, found faster.
pub(crate) fn compare_paths(one: &Path, two: &Path) -> Ordering {
    let (one, two) = (one.as_os_str().as_bytes(), two.as_os_str().as_bytes());
    let chunks = one.chunks_exact(8).zip(two.chunks_exact(8)).take_while(|(one, two)| one == two).count() * 8;
    let (one, two) = (&one[chunks..], &two[chunks..]);
    let differ = one.iter().zip(two).position(|(one, two)| one != two);
    match differ {
        // The end of a component comes before all that it could go on with.
        Some(at) => (one[at] != b'/').cmp(&(two[at] != b'/')).then(one[at].cmp(&two[at])),
        None => one.len().cmp(&two.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::compare_paths;
    use std::path::Path;

    #[test]
    fn orders_paths_as_the_standard_library_does() {
        let paths = [
            "/",
            "/a",
            "/a.h",
            "/a/b",
            "/a/b.h",
            "/a-b/c",
            "/ab",
            "/usr/include/x86_64/a.h",
            "/usr/include/x86_64-y/a.h",
            "/usr/include/x",
        ];
        for one in paths.map(Path::new) {
            for two in paths.map(Path::new) {
                assert_eq!(compare_paths(one, two), one.cmp(two), "of {one:?} and {two:?}");
            }
        }
    }
}
