//! The directories in which clang looks for an installation of gcc, and for headers below a root that isn't the system's:
//! it says nothing of those that it does not find.
//!
//! **Source:** clang's Gnu.cpp (`GCCInstallationDetector::init`, `CollectLibDirsAndTriples`) and Linux.cpp
//! (`AddClangSystemIncludeArgs`, `addLibStdCxxIncludePaths`).

use super::Family;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The flags that name such a root, and those that name an installation's prefix.
const ROOTS: [&[u8]; 2] = [b"--sysroot", b"-isysroot"];
const PREFIXES: [&[u8]; 3] = [b"--gcc-toolchain", b"-gcc-toolchain", b"--gcc-install-dir"];

/// Directories whose entries the answer of a driver of `family` under `arguments` depends on, absent ones among them.
/// Relative operands start from `working_directory`. Lists some of the directories.
pub(crate) fn directories(arguments: &[OsString], family: Family, working_directory: &Path) -> Vec<PathBuf> {
    if family != Family::Clang {
        return Vec::new();
    }
    let mut directories = Vec::new();
    for root in operands(arguments, working_directory, &ROOTS) {
        for place in ["usr/include", "usr/local/include"] {
            directories.extend([root.join(place), root.join(place).join("c++")]);
            directories.extend(children(&root.join(place)).filter(|path| is_of_a_target(path)));
        }
        directories.push(root.join("etc/env.d/gcc"));
        add_installations(&root, &mut directories);
        add_installations(&root.join("usr"), &mut directories);
    }
    for prefix in operands(arguments, working_directory, &PREFIXES) {
        add_installations(&prefix, &mut directories);
    }
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// The operands of `flags` among the driver's arguments, joined or separate, from the working directory.
fn operands(arguments: &[OsString], working_directory: &Path, flags: &[&[u8]]) -> Vec<PathBuf> {
    let mut operands = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(rest) = flags.iter().find_map(|flag| argument.as_bytes().strip_prefix(*flag)) else { continue };
        let operand = match rest {
            [] => arguments.next().map(|next| next.as_bytes()),
            [b'=', operand @ ..] | operand => Some(operand),
        };
        operands.extend(operand.map(|path| working_directory.join(OsStr::from_bytes(path))));
    }
    operands
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
