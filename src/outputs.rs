//! What a compile writes: where each output belongs, and how all of them appear there or none.
//!
//! An output is written beside its place under a temporary name and renamed when all are complete, or filled into the file
//! that is there, where the compiler does so. A place at which
//! that would differ from what a compiler does (it is a link, a device, read-only, or has no directory) is a
//! [`Fallback`]: the compiler itself deals with it.

mod resolve;
mod staging;

pub(crate) use staging::Staging;

use crate::command::{self, Writing};
use crate::fallback::{Fallback, Reason};
use resolve::Resolved;
use rustix::fs::{AtFlags, CWD, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The permissions with which compilers create their outputs.
const NEW_MODE: u32 = 0o666;

/// Where one output belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPath {
    /// Its path relative to the working directory, with `/` between components: its name in actions and results.
    pub name: String,
    /// Where it is written: absolute.
    pub path: PathBuf,
    /// The permissions with which it is created.
    pub mode: u32,
    /// The group that a new file gets, where it is not this process's own.
    pub group: Option<u32>,
    /// Whether the file that is there is filled anew, rather than replaced.
    pub keeps_file: bool,
    /// Whether a compile that succeeds writes it for certain.
    pub presence: Presence,
}

/// Whether an output is there after a compile that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Certain,
    /// Depending on flags, versions and content.
    Possible,
}

/// The places of all outputs of a compile, the object first, and what leads to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputPaths {
    list: Vec<OutputPath>,
    /// Symbolic links on the way to an output, with their targets.
    pub symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    /// Directories on the way that a `..` leaves again.
    pub directories: Vec<Arc<Path>>,
}

impl OutputPaths {
    /// Finds the places of `outputs` for a compile in `working_directory` (as `getcwd` gives it) whose file mode creation
    /// mask is `umask`, by a process of `group`, where that is not this process's. Costs a `stat` for each component of a
    /// directory, and one for each output.
    ///
    /// # Errors
    /// A place where renaming would not do what a compiler does.
    pub fn find(
        outputs: &command::Outputs,
        working_directory: &Path,
        umask: u32,
        group: Option<u32>,
    ) -> Result<Self, Fallback> {
        let mut found = Self::default();
        // All outputs of most compiles are in one directory.
        let mut last: Option<(PathBuf, PathBuf, u32)> = None;
        for output in outputs.all() {
            let name = output.file_name().ok_or_else(|| refuse(output, "names no file"))?;
            let parent = output.parent().unwrap_or(Path::new(""));
            let (directory, new_mode) = match &last {
                Some((written, directory, new_mode)) if written == parent => (directory.clone(), *new_mode),
                _ => {
                    let Resolved { directory, symlinks, left } =
                        resolve::resolve(working_directory, parent).map_err(|_| refuse(output, "has no directory"))?;
                    found.symlinks.extend(symlinks.into_iter().map(|(path, target)| (path.into(), target.into())));
                    found.directories.extend(left.into_iter().map(Into::into));
                    let new_mode = if has_default_acl(&directory) { NEW_MODE } else { NEW_MODE & !umask };
                    last = Some((parent.to_owned(), directory.clone(), new_mode));
                    (directory, new_mode)
                }
            };
            let path = directory.join(name);
            let is_object = *output == outputs.object;
            let Old { mode, keeps_file } = old(&path, new_mode, outputs.writing(output))?;
            let group = group.filter(|_| !hands_down_group(&directory));
            let name = relative(working_directory, &path)
                .ok_or_else(|| Fallback::new(Reason::PathNotText, path.to_string_lossy()))?;
            let is_certain = is_object || Some(output) == outputs.depfile.as_ref();
            let presence = if is_certain { Presence::Certain } else { Presence::Possible };
            if found.list.iter().any(|place| place.path == path) {
                return Err(refuse(output, "is two outputs"));
            }
            found.list.push(OutputPath { name, path, mode, group, keeps_file, presence });
        }
        Ok(found)
    }

    /// Each place, the object's first.
    pub fn iter(&self) -> std::slice::Iter<'_, OutputPath> {
        self.list.iter()
    }

    /// These outputs, to be written into `directory` instead.
    #[must_use]
    pub fn moved_to(&self, directory: &Path) -> Self {
        let moved = |(number, place): (usize, &OutputPath)| OutputPath {
            path: directory.join(number.to_string()),
            group: None,
            keeps_file: false,
            ..place.clone()
        };
        Self { list: self.list.iter().enumerate().map(moved).collect(), ..self.clone() }
    }

    /// The place of the output that results call `name`.
    pub fn get(&self, name: &str) -> Option<&OutputPath> {
        self.list.iter().find(|place| place.name == name)
    }
}

impl<'a> IntoIterator for &'a OutputPaths {
    type Item = &'a OutputPath;
    type IntoIter = std::slice::Iter<'a, OutputPath>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What a compiler makes of the file at a place.
struct Old {
    mode: u32,
    keeps_file: bool,
}

/// What a compiler would make of the file at `path`: its permissions are a new file's, `new_mode`, or those that are there.
fn old(path: &Path, new_mode: u32, writing: Writing) -> Result<Old, Fallback> {
    let new = Old { mode: new_mode, keeps_file: false };
    let stat = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(new),
        Err(error) => return Err(refuse(path, &io::Error::from(error).to_string())),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse(path, "is not a plain file"));
    }
    if stat.st_nlink != 1 {
        return Err(refuse(path, "has more than one name"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o200 == 0 {
        return Err(refuse(path, "can't be written"));
    }
    let keeps_file = match writing {
        Writing::Anew => false,
        Writing::InPlace => true,
        Writing::AnewUnlessEmpty => stat.st_size == 0,
    };
    Ok(if keeps_file { Old { mode: stat.st_mode & 0o777, keeps_file } } else { new })
}

/// Whether new files in `directory` get permissions from it, whatever the file mode creation mask is.
fn has_default_acl(directory: &Path) -> bool {
    rustix::fs::getxattr_query(directory, "system.posix_acl_default").is_ok_and(|size_bytes| size_bytes > 0)
}

/// Whether new files in `directory` get its group, whoever makes them.
fn hands_down_group(directory: &Path) -> bool {
    rustix::fs::stat(directory).is_ok_and(|stat| stat.st_mode & 0o2000 != 0)
}

/// The path from the directory `base` to `path`, both absolute and free of links.
fn relative(base: &Path, path: &Path) -> Option<String> {
    let mut base = base.components().peekable();
    let mut path = path.components().peekable();
    while base.peek().is_some() && base.peek() == path.peek() {
        base.next();
        path.next();
    }
    let mut parts: Vec<&str> = base.map(|_| "..").collect();
    for component in path {
        parts.push(component.as_os_str().to_str()?);
    }
    Some(parts.join("/"))
}

fn refuse(path: &Path, detail: &str) -> Fallback {
    Fallback::at(Reason::OutputPlace, detail, path, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn relative_paths_lead_from_base_to_path() {
        let check = |base: &str, path: &str, expect: &str| {
            assert_eq!(relative(Path::new(base), Path::new(path)).as_deref(), Some(expect));
        };
        check("/b", "/b/a.o", "a.o");
        check("/b", "/b/sub/a.o", "sub/a.o");
        check("/b/c", "/a.o", "../../a.o");
        check("/b/c", "/b/d/a.o", "../d/a.o");
        check("/", "/a.o", "a.o");
    }

    fn find(working_directory: &Path, object: &str) -> Result<OutputPaths, Fallback> {
        let outputs = command::Outputs {
            object: object.into(),
            depfile: Some(Path::new(object).with_extension("d")),
            object_writing: Writing::AnewUnlessEmpty,
            ..command::Outputs::default()
        };
        OutputPaths::find(&outputs, working_directory, 0o027, None)
    }

    #[test]
    fn places_follow_links_and_dots() {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        fs::create_dir_all(base.join("build/sub")).expect("created");
        fs::create_dir_all(base.join("far/deep")).expect("created");
        symlink("../far/deep", base.join("build/link")).expect("linked");
        let build = base.join("build");
        let names = |object: &str| {
            let places = find(&build, object).expect("found");
            let first = places.iter().next().expect("an object").clone();
            assert_eq!(
                first.path,
                base.join("build").join(&first.name).components().fold(PathBuf::new(), |mut path, component| {
                    if component.as_os_str() == ".." {
                        path.pop();
                    } else {
                        path.push(component);
                    }
                    path
                })
            );
            (first.name, places.symlinks.len(), places.directories.len())
        };
        assert_eq!(names("a.o"), ("a.o".to_owned(), 0, 0));
        assert_eq!(names("./sub//a.o"), ("sub/a.o".to_owned(), 0, 0));
        assert_eq!(names("link/a.o"), ("../far/deep/a.o".to_owned(), 1, 1));
        assert_eq!(names("sub/../a.o"), ("a.o".to_owned(), 0, 1));
        assert_eq!(names("link/../a.o"), ("../far/a.o".to_owned(), 1, 2));
        assert_eq!(names(base.join("far/a.o").to_str().expect("text")).0, "../far/a.o");
    }

    #[test]
    fn special_places_are_left_to_the_compiler() {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        let check = |object: &str| {
            assert_eq!(find(&base, object).expect_err(object).reason, Reason::OutputPlace, "{object}");
        };
        check("absent/a.o");
        fs::write(base.join("real.o"), "").expect("written");
        symlink("real.o", base.join("link.o")).expect("linked");
        check("link.o");
        fs::hard_link(base.join("real.o"), base.join("hard.o")).expect("linked");
        check("hard.o");
        fs::create_dir(base.join("directory.o")).expect("created");
        check("directory.o");
        fs::write(base.join("read-only.o"), "").expect("written");
        fs::set_permissions(base.join("read-only.o"), fs::Permissions::from_mode(0o444)).expect("set");
        check("read-only.o");
        check("same.d");
        check("..");
    }

    #[test]
    fn permissions_are_a_compilers() {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        for name in ["a.o", "a.d"] {
            fs::write(base.join(name), "").expect("written");
            fs::set_permissions(base.join(name), fs::Permissions::from_mode(0o606)).expect("set");
        }
        // An empty object is filled, as by `as`.
        let modes: Vec<u32> = find(&base, "a.o").expect("found").iter().map(|place| place.mode).collect();
        assert_eq!(modes, [0o606, 0o606]);
        fs::write(base.join("a.o"), "old").expect("written");
        let modes: Vec<u32> = find(&base, "a.o").expect("found").iter().map(|place| place.mode).collect();
        assert_eq!(modes, [0o640, 0o606]);
        let modes: Vec<u32> = find(&base, "b.o").expect("found").iter().map(|place| place.mode).collect();
        assert_eq!(modes, [0o640, 0o640]);
    }
}
