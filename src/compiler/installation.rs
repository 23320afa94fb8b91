//! The directories in which clang looks for an installation of gcc, and for headers below a root that isn't the system's:
//! it says nothing of those that it does not find.
//!
//! **Source:** clang's Gnu.cpp (`GCCInstallationDetector::init`, `CollectLibDirsAndTriples`) and Linux.cpp
//! (`AddClangSystemIncludeArgs`, `addLibStdCxxIncludePaths`).

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Directories whose entries an answer of clang's driver depends on, absent ones among them, where flags name `roots` of
/// the system and `prefixes` of gcc's installations. Lists some of the directories.
pub(crate) fn directories(roots: &[PathBuf], prefixes: &[PathBuf]) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for root in roots {
        for place in ["usr/include", "usr/local/include"] {
            directories.extend([root.join(place), root.join(place).join("c++")]);
            directories.extend(children(&root.join(place)).filter(|path| is_of_a_target(path)));
        }
        directories.push(root.join("etc/env.d/gcc"));
        add_installations(root, &mut directories);
        add_installations(&root.join("usr"), &mut directories);
    }
    for prefix in prefixes {
        add_installations(prefix, &mut directories);
    }
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// Where below `prefix` an installation of gcc may be: a directory for each target, in it one for each version.
fn add_installations(prefix: &Path, directories: &mut Vec<PathBuf>) {
    for library in ["lib", "lib64", "lib32", "libx32"] {
        for place in ["gcc", "gcc-cross"] {
            let place = prefix.join(library).join(place);
            for target in children(&place) {
                directories.extend(children(&target).filter(|path| path.is_dir()));
                directories.push(target);
            }
            directories.push(place);
        }
    }
}

/// Whether a directory is named like a target: `x86_64-linux-gnu`.
fn is_of_a_target(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().contains(&b'-')) && path.is_dir()
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}
