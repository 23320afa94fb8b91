//! Where a directory really is, and which symbolic links lead there.

use crate::files::own_paths;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// How many symbolic links are followed, as many as the kernel does.
const LINK_LIMIT: usize = 40;

/// A directory, and the way to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Absolute, free of links.
    pub(super) directory: PathBuf,
    /// The links that were followed, at their own resolved places, with their targets.
    pub(super) symlinks: Vec<(PathBuf, PathBuf)>,
    /// The directories that a `..` left.
    pub(super) left: Vec<PathBuf>,
}

/// Walks from `base` (absolute, free of links) along `path`.
///
/// # Errors
/// A component is not there, is no directory, or the links don't end.
pub(super) fn resolve(base: &Path, path: &Path) -> io::Result<Resolved> {
    let mut resolved = Resolved { directory: base.to_owned(), ..Resolved::default() };
    let mut rest: Vec<OsString> = components(path);
    while let Some(component) = rest.pop() {
        if component == "/" {
            resolved.directory = PathBuf::from("/");
        } else if component == ".." {
            resolved.left.push(resolved.directory.clone());
            resolved.directory.pop();
        } else {
            if own_paths::is_process(resolved.directory.as_os_str().as_bytes(), component.as_bytes()) {
                return Err(io::Error::other("another process's in each process"));
            }
            let next = resolved.directory.join(&component);
            let metadata = std::fs::symlink_metadata(&next)?;
            if metadata.is_symlink() {
                if resolved.symlinks.len() >= LINK_LIMIT {
                    return Err(io::Error::other("too many symbolic links"));
                }
                let target = std::fs::read_link(&next)?;
                rest.extend(components(&target));
                resolved.symlinks.push((next, target));
            } else if metadata.is_dir() {
                resolved.directory = next;
            } else {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
    }
    Ok(resolved)
}

/// The components that matter, the last first.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|component| *component != Component::CurDir)
        .map(|component| component.as_os_str().to_owned())
        .collect()
}
