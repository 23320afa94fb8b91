//! Which file a program's name means: the one that `execvp` would run, with what only stands in for it passed over.
//!
//! Launcher and daemon both ask here. A path means the file there, and nothing else where that is absent. Only a path that leads
//! to Pumphouse itself means another program: the next one of its name on `PATH`, after the link's own directory.
//!
//! A wrapper (ccache, a script) that skips itself may come back to Pumphouse, which skips itself as well: so that they don't go
//! round for ever, a launcher names what it ran to those that come after it, in [`PASSED_VARIABLE`].
//!
//! **Source:** exec(3).

use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The variable in which launchers name the compilers that they ran, separated by colons, to the launchers that these start.
pub(crate) const PASSED_VARIABLE: &str = "PUMPHOUSE_PASSED";

/// What `execvp` searches where there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Programs that stand in for a compiler when they are called by its name.
const STAND_INS: [&str; 7] = ["ccache", "distcc", "sccache", "icecc", "colorgcc", "buildcache", "firebuild"];

/// Where names are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchScope<'a> {
    /// Where relative paths start.
    pub(crate) directory: &'a Path,
    /// The value of `PATH`, where it is set.
    pub(crate) path: Option<&'a OsStr>,
    /// The value of [`PASSED_VARIABLE`], where it is set.
    pub(crate) passed: Option<&'a OsStr>,
}

/// What a program is to the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is sought, as far as can be told.
    Program,
    /// A program that may start another one of its own name: a known stand-in, or a script.
    Wrapper,
    /// One that is always passed over.
    StandIn,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFound {
    /// The path does not lead to one.
    #[error("{}: {}", .0.display(), words(.1))]
    Path(PathBuf, io::Error),
    /// The directories of `PATH` have none of that name.
    #[error("{}: command not found", .0.display())]
    Name(PathBuf),
    /// The one in the directories of `PATH` may not be run.
    #[error("{}: Permission denied", .0.display())]
    Denied(PathBuf),
}

impl NotFound {
    /// What a shell ends with for it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Path(_, error) if error.kind() == io::ErrorKind::NotFound => 127,
            Self::Name(_) => 127,
            Self::Path(..) | Self::Denied(_) => 126,
        }
    }
}

/// What a shell says for an error.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Finds the program that `written` means, a path or a name: its path, and what `look` says of it. `look` fails for what can't
/// be run. The path is absolute where `written`, or the part of `PATH`, or the place's directory is; links are not resolved.
pub(crate) fn find<T>(
    written: &OsStr,
    place: &SearchScope<'_>,
    mut look: impl FnMut(&Path) -> io::Result<(Kind, T)>,
) -> Result<(PathBuf, T), NotFound> {
    let mut link = None;
    if written.as_bytes().contains(&b'/') {
        let path = place.spelled(Path::new(written));
        match look(&path) {
            Ok((Kind::StandIn, _)) => link = path.parent().map(Path::to_owned),
            Ok((_, found)) => return Ok((path, found)),
            Err(error) => return Err(NotFound::Path(written.into(), error)),
        }
    }
    let name = Path::new(written).file_name().unwrap_or(written);
    let mut denied = false;
    let mut reserve = None;
    for directory in place.directories(link.as_deref()) {
        let path = directory.join(name);
        match look(&path) {
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
            Ok((Kind::StandIn, _)) => {}
            Ok((kind, found)) => match (kind, place.times_passed(&path)) {
                // A compiler proper may once start another compile by its own name; what comes back again is a wrapper.
                (_, 0) | (Kind::Program, 1) => return Ok((path, found)),
                (Kind::Program, _) if reserve.is_none() => reserve = Some((path, found)),
                _ => {}
            },
        }
    }
    reserve.ok_or_else(|| if denied { NotFound::Denied(name.into()) } else { NotFound::Name(name.into()) })
}

impl SearchScope<'_> {
    fn spelled(&self, path: &Path) -> PathBuf {
        if self.directory == Path::new(".") { path.to_owned() } else { lexical(&self.directory.join(path)) }
    }

    /// The directories of `PATH` in the order in which they are searched: from the one after `link` on, if it is there.
    fn directories(&self, link: Option<&Path>) -> Vec<PathBuf> {
        let search = self.path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes();
        // An empty entry is the working directory.
        let entries = search.split(|&byte| byte == b':');
        let mut directories: Vec<PathBuf> =
            entries.map(|entry| lexical(&self.directory.join(OsStr::from_bytes(entry)))).collect();
        let position = link.and_then(|link| directories.iter().position(|directory| *directory == lexical(link)));
        if let Some(position) = position {
            directories.rotate_left(position + 1);
        }
        directories
    }

    /// How often launchers before have run the program at `path`.
    fn times_passed(&self, path: &Path) -> usize {
        let Some(passed) = self.passed.filter(|passed| !passed.is_empty()) else { return 0 };
        let Ok(path) = std::path::absolute(path) else { return 0 };
        passed.as_bytes().split(|&byte| byte == b':').filter(|entry| *entry == path.as_os_str().as_bytes()).count()
    }
}

/// The value of [`PASSED_VARIABLE`] for what the program at `path` starts.
pub(crate) fn passed_on(passed: Option<OsString>, path: &Path) -> OsString {
    let mut list = passed.unwrap_or_default().into_vec();
    if !list.is_empty() {
        list.push(b':');
    }
    list.extend_from_slice(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).as_os_str().as_bytes());
    OsString::from_vec(list)
}

/// What `stat` says of the file at `path`, if this user can run it.
///
/// # Errors
/// It is absent, no regular file, or may not be run (also because nothing on its file system may).
pub(crate) fn executable(path: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !metadata.is_file() {
        return Err(Errno::ACCESS.into());
    }
    access(path, Access::EXEC_OK)?;
    Ok(metadata)
}

/// Whether the file at a path without symbolic links is one of the programs that stand in for compilers.
pub(crate) fn is_stand_in(canonical: &Path) -> bool {
    canonical.file_name().is_some_and(|name| STAND_INS.iter().any(|&stand_in| name == stand_in))
}

/// Whether the file is a program that the kernel runs by itself, not a script.
pub(crate) fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// `path` without `.` and empty components.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// Looks for `written` in a directory with `a/gcc` and `c/gcc`, links to Pumphouse in `ours`, a script in `b` and a file that
    /// can't be run in `d`.
    fn found(written: &str, path: Option<&str>, passed: &[&str]) -> Result<String, u8> {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path();
        for (directory, mode) in [("a", 0o755), ("b", 0o755), ("c", 0o755), ("d", 0o644), ("ours", 0o755)] {
            let file = base.join(directory).join("gcc");
            std::fs::create_dir(base.join(directory)).expect("made");
            std::fs::write(&file, "").expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        symlink("ours/gcc", base.join("link")).expect("linked");
        let passed: Vec<_> = passed.iter().map(|path| base.join(path)).collect();
        let passed = std::env::join_paths(passed).expect("no colons");
        let look = |path: &Path| {
            executable(path)?;
            let kind = match path.canonicalize()?.parent().and_then(Path::file_name).and_then(OsStr::to_str) {
                Some("ours") => Kind::StandIn,
                Some("b") => Kind::Wrapper,
                _ => Kind::Program,
            };
            Ok((kind, ()))
        };
        let place = SearchScope { directory: base, path: path.map(OsStr::new), passed: Some(&passed) };
        find(OsStr::new(written), &place, look)
            .map(|(path, ())| path.strip_prefix(base).unwrap_or(&path).display().to_string())
            .map_err(|error| error.exit_code())
    }

    #[test]
    fn names_are_found_as_a_shell_finds_them() {
        let check = |written: &str, path: Option<&str>, expect: Result<&str, u8>| {
            assert_eq!(found(written, path, &[]), expect.map(str::to_owned), "{written} in {path:?}");
        };
        check("gcc", Some("ours:a:c"), Ok("a/gcc"));
        check("gcc", Some("nowhere:d:c"), Ok("c/gcc"));
        check("gcc", Some("d"), Err(126));
        check("gcc", Some("nowhere"), Err(127));
        check("sh", None, Ok("/bin/sh"));
        check("sh", Some(""), Err(127));
        check("a/gcc", Some("c"), Ok("a/gcc"));
        check("./a/gcc", Some("c"), Ok("a/gcc"));
        // What is absent is not replaced.
        check("./gcc", Some("a"), Err(127));
        check("/opt/absent/gcc", Some("a"), Err(127));
        check("d/gcc", Some("a"), Err(126));
        check("a", Some("a"), Err(127));
        check("./a", Some("a"), Err(126));
        // A link to this program is another's place: the search goes on after it.
        check("ours/gcc", Some("a:ours:c"), Ok("c/gcc"));
        check("ours/gcc", Some("a:ours"), Ok("a/gcc"));
        check("ours/gcc", Some("a"), Ok("a/gcc"));
    }

    #[test]
    fn what_was_passed_is_not_run_again() {
        let check = |passed: &[&str], path: &str, expect: Result<&str, u8>| {
            assert_eq!(found("gcc", Some(path), passed), expect.map(str::to_owned), "{passed:?} in {path}");
        };
        check(&["b/gcc"], "b:a", Ok("a/gcc"));
        check(&["b/gcc"], "b", Err(127));
        // A compiler may start one compile under its own name.
        check(&["a/gcc"], "a:c", Ok("a/gcc"));
        check(&["a/gcc", "a/gcc"], "a:c", Ok("c/gcc"));
        check(&["a/gcc", "a/gcc"], "a", Ok("a/gcc"));
    }
}
