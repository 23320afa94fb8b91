//! Where a path leads, told step by step by the disk as it is now: nothing is remembered.

use crate::files::MAX_SYMLINKS_IN_A_PATH;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The end of a walk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It leads to this place, free of symbolic links, where that stands.
    Leads(PathBuf, FileType),
    /// This place on it is not there, or no directory where it had to be one.
    Missing(PathBuf),
    /// This place on it can't be looked at or passed.
    Barred(PathBuf, Errno),
}

/// A step of a walk.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A `..` leaves this directory.
    Leave(&'a Path),
    /// A symbolic link stands here, which is read next.
    Link(&'a Path),
    /// The link leads to this target.
    Follow(&'a Path, &'a Path),
}

/// Goes where the absolute `path` leads, as the kernel does, and tells `note` of each link on the way and of the directories
/// that a `..` leaves. Costs a `lstat` for each name.
pub(crate) fn walk(path: &Path, mut note: impl FnMut(Step<'_>)) -> Way {
    let mut pending = components(path);
    let mut at = PathBuf::from("/");
    let mut kind = FileType::Directory;
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if kind != FileType::Directory {
            return Way::Missing(at);
        }
        if name == ".." {
            note(Step::Leave(&at));
            at.pop();
            continue;
        }
        let next = at.join(name);
        kind = match rustix::fs::lstat(&next) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT | Errno::NOTDIR) => return Way::Missing(next),
            Err(error) => return Way::Barred(next, error),
        };
        if kind != FileType::Symlink {
            at = next;
            continue;
        }
        note(Step::Link(&next));
        links += 1;
        let target = match std::fs::read_link(&next) {
            Ok(target) => target,
            Err(error) => return Way::Barred(next, Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        if links > MAX_SYMLINKS_IN_A_PATH {
            return Way::Barred(next, Errno::LOOP);
        }
        note(Step::Follow(&next, &target));
        kind = FileType::Directory;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for component in components(&target).into_iter().rev() {
            pending.push_front(component);
        }
    }
    Way::Leads(at, kind)
}

/// The names and `..` of a path, from its root or its beginning.
fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_lead_where_the_kernel_goes() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let base = scratch.path().canonicalize().expect("canonical");
        std::fs::create_dir_all(base.join("real/deep")).expect("create");
        std::fs::write(base.join("real/file"), "x").expect("write");
        for (link, target) in [("alias", "real"), ("far", "alias/deep"), ("loop", "loop"), ("gone", "nothing")] {
            symlink(target, base.join(link)).expect("link");
        }
        symlink(base.join("real/file"), base.join("real/absolute")).expect("link");
        let check = |path: &str, expect: Way, steps: &[&str]| {
            let mut told = Vec::new();
            let short = |path: &Path| path.strip_prefix(&base).unwrap_or(path).display().to_string();
            let way = walk(&base.join(path), |step| match step {
                Step::Leave(directory) => told.push(format!("{} ..", short(directory))),
                Step::Link(_) => {}
                Step::Follow(link, target) => told.push(format!("{} -> {}", short(link), short(target))),
            });
            let expect = match expect {
                Way::Leads(to, kind) => Way::Leads(base.join(to), kind),
                Way::Missing(at) => Way::Missing(base.join(at)),
                Way::Barred(at, error) => Way::Barred(base.join(at), error),
            };
            assert_eq!((way, told), (expect, steps.iter().map(ToString::to_string).collect()), "{path}");
        };
        check("real/file", Way::Leads("real/file".into(), FileType::RegularFile), &[]);
        check("real/./deep", Way::Leads("real/deep".into(), FileType::Directory), &[]);
        check("alias/file", Way::Leads("real/file".into(), FileType::RegularFile), &["alias -> real"]);
        check(
            "far/../file",
            Way::Leads("real/file".into(), FileType::RegularFile),
            &["far -> alias/deep", "alias -> real", "real/deep .."],
        );
        check(
            "alias/absolute",
            Way::Leads("real/file".into(), FileType::RegularFile),
            &["alias -> real", "real/absolute -> real/file"],
        );
        check("real/file/x", Way::Missing("real/file".into()), &[]);
        check("alias/x/y", Way::Missing("real/x".into()), &["alias -> real"]);
        check("gone", Way::Missing("nothing".into()), &["gone -> nothing"]);
        let turns = vec!["loop -> loop"; MAX_SYMLINKS_IN_A_PATH as usize];
        check("loop", Way::Barred("loop".into(), Errno::LOOP), &turns);
    }
}
