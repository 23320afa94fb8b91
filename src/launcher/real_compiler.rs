//! Which program an invocation means, this one left out.

use super::Invocation;
use crate::compiler::name;
use crate::compiler::search::{self, Kind, NotFound, PASSED_VARIABLE, SearchScope};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What an invocation asks for.
#[derive(Debug)]
pub(super) enum Target {
    /// A compiler, by its name or by that of the file to which its links lead.
    Compiler,
    /// Anything else: the program to run.
    Program(PathBuf),
}

/// What `invocation` asks for. Costs nothing for the name of a compiler.
///
/// # Errors
/// There is no such program.
pub(super) fn target(invocation: &Invocation) -> Result<Target, NotFound> {
    if is_compiler(Path::new(&invocation.compiler)) {
        return Ok(Target::Compiler);
    }
    // No program but a compiler stands in for another one of its name, so none is passed over.
    let look = |path: &Path| search::executable(path).map(|_| (Kind::Program, ()));
    let (path, ()) = with_place(None, |place| search::find(&invocation.compiler, place, look))?;
    // Whatever is called otherwise may be a link to one.
    Ok(if path.canonicalize().is_ok_and(|file| is_compiler(&file)) { Target::Compiler } else { Target::Program(path) })
}

fn is_compiler(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name::driver(name.as_bytes()).is_some())
}

/// The compiler that `written` means: neither this program nor a wrapper that has led here.
///
/// # Errors
/// There is none.
pub(super) fn compiler(written: &OsStr) -> Result<PathBuf, NotFound> {
    let own = Identity::of_running_program().ok();
    let look = |path: &Path| {
        let metadata = search::executable(path)?;
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        Ok((if own == Some(identity) { Kind::StandIn } else { kind(path) }, ()))
    };
    let passed = std::env::var_os(PASSED_VARIABLE);
    with_place(passed.as_deref(), |place| search::find(written, place, look)).map(|(path, ())| path)
}

/// Whether a compiler at `path` that is called `name`, without a path, takes itself for the one that it is when it looks
/// through `PATH`: nothing else of its name comes before it.
pub(super) fn finds_itself(name: &OsStr, path: &Path) -> bool {
    let look = |path: &Path| search::executable(path).map(|_| (Kind::Program, ()));
    path.is_absolute()
        && !name.as_bytes().contains(&b'/')
        && with_place(None, |place| search::find(name, place, look)).is_ok_and(|(first, ())| first == path)
}

fn kind(path: &Path) -> Kind {
    match path.canonicalize() {
        // Another copy of this program, which would not know this one for itself.
        Ok(file) if file.file_name() == Some(OsStr::new("pumphouse")) => Kind::StandIn,
        Ok(file) if search::is_stand_in(&file) || !search::is_elf(&file) => Kind::Wrapper,
        _ => Kind::Program,
    }
}

fn with_place<T>(passed: Option<&OsStr>, search: impl FnOnce(&SearchScope<'_>) -> T) -> T {
    let path: Option<OsString> = std::env::var_os("PATH");
    search(&SearchScope { directory: Path::new("."), path: path.as_deref(), passed })
}

/// Which file a program is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of the running program. Below a `chroot` without `/proc`, that of the file that was started under its name.
    fn of_running_program() -> io::Result<Self> {
        let started = || Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
        std::fs::metadata("/proc/self/exe")
            .or_else(|_| std::fs::metadata(started()))
            .map(|metadata| Self { device: metadata.dev(), inode: metadata.ino() })
    }
}
