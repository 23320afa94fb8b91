//! Which compiler a command line names: where it is, and whose flags it takes.
//!
//! A compiler is found as `execvp` would find it, except that programs which stand in for compilers (Pumphouse itself,
//! ccache, distcc, …) are passed over. What it is, its file's name says once symbolic links are resolved; a name
//! that says nothing (`tcc`, `mycompiler`) is refused, and so is a script, for what it would do is not known.
//!
//! Costs a `stat` for each directory of `PATH` up to the compiler's; the answer about a file is remembered by its identity.

use super::Family;
use super::name::{self, stem};
use super::search::{self, Kind, NotFound, SearchScope};
use crate::fallback::{Fallback, Reason};
use crate::files::stamp::watch::Watch;
use quick_cache::sync::Cache;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A compiler driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Absolute, symbolic links not resolved.
    pub(crate) path: PathBuf,
    /// What to run it as: see [`CompileCommand::program`](crate::command::CompileCommand::program).
    pub(crate) program: PathBuf,
    pub(crate) family: Family,
    /// Whether it takes `.c` for C++.
    pub(crate) is_cxx: bool,
}

/// Finds the compiler that `name` means in `place`.
///
/// # Errors
/// [`Reason::Compiler`] where there is none, or where it is not known what it is.
pub(crate) fn find(name: &OsStr, place: &SearchScope<'_>) -> Result<Compiler, Fallback> {
    let refuse = |detail: &str| Fallback::new(Reason::Compiler, format!("{}: {detail}", name.to_string_lossy()));
    let look = |path: &Path| identify(path).map(|identity| (identity.kind(), identity));
    match search::find(name, place, look) {
        Ok((path, Identity::Compiler(canonical))) => {
            let compiler = understand(path, &canonical).ok_or_else(|| refuse("not known"))?;
            let is_path = name.as_bytes().contains(&b'/') && !is_stand_in_at(name, place, &compiler.path);
            Ok(if is_path { Compiler { program: name.into(), ..compiler } } else { compiler })
        }
        Ok(_) => Err(refuse("a script")),
        Err(NotFound::Path(..)) => Err(refuse("not an executable file")),
        Err(NotFound::Name(_) | NotFound::Denied(_)) => Err(refuse("not found in PATH")),
    }
}

/// Whether the path `name` leads to a program in whose place another one is run, namely `found`.
fn is_stand_in_at(name: &OsStr, place: &SearchScope<'_>, found: &Path) -> bool {
    let named = search::lexical(&place.directory.join(name));
    named != found && identify(&named).is_ok_and(|identity| identity.kind() == Kind::StandIn)
}

/// Whether a path without symbolic links is this program, or another copy of it.
fn is_own(canonical: &Path) -> bool {
    static OWN: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::current_exe().and_then(|own| own.canonicalize()).ok());
    OWN.as_deref() == Some(canonical) || canonical.file_name().is_some_and(|name| name == "pumphouse")
}

/// What a file is when it is run.
#[derive(Debug, Clone)]
enum Identity {
    /// A program; with its path without symbolic links.
    Compiler(PathBuf),
    /// `#!`, or anything else that is not ELF.
    Script,
    /// One of the programs that stand in for compilers, or this very program.
    StandIn,
}

impl Identity {
    const fn kind(&self) -> Kind {
        match self {
            Self::Compiler(_) => Kind::Program,
            Self::Script => Kind::Wrapper,
            Self::StandIn => Kind::StandIn,
        }
    }
}

/// The answers so far, each with what it was taken of.
static IDENTITIES: LazyLock<Cache<PathBuf, Arc<(Watch, Identity)>>> = LazyLock::new(|| Cache::new(MAX_IDENTITIES));

/// How many answers are kept; a build names a handful of compilers.
const MAX_IDENTITIES: usize = 1024;

/// What the executable file at `path` is. Costs a `stat` where it is known.
///
/// # Errors
/// It can't be run.
fn identify(path: &Path) -> io::Result<Identity> {
    if let Some(known) = IDENTITIES.get(path).filter(|known| known.0.holds()) {
        return Ok(known.1.clone());
    }
    search::executable(path)?;
    let watch = Watch::of(path);
    let identity = look(path);
    IDENTITIES.insert(path.to_owned(), Arc::new((watch, identity.clone())));
    Ok(identity)
}

fn look(path: &Path) -> Identity {
    let Ok(canonical) = path.canonicalize() else { return Identity::Script };
    if is_own(&canonical) || search::is_stand_in(&canonical) {
        return Identity::StandIn;
    }
    if search::is_elf(&canonical) { Identity::Compiler(canonical) } else { Identity::Script }
}

/// What a driver is, by the name of its file; clang also goes by the name that it is called by.
fn understand(path: PathBuf, canonical: &Path) -> Option<Compiler> {
    let file = name::driver(canonical.file_name()?.as_bytes())?;
    let family = file.family?;
    let is_cxx = match family {
        Family::Gcc => file.is_cxx,
        Family::Clang => stem(path.file_name()?.as_bytes()).ends_with(b"++"),
    };
    // `clang-cl`, `clang-cpp`: another driver under the same file.
    let called = stem(path.file_name()?.as_bytes());
    if family == Family::Clang && (called.ends_with(b"-cl") || called.ends_with(b"cpp") || called.ends_with(b"-dxc")) {
        return None;
    }
    Some(Compiler { program: path.clone(), path, family, is_cxx })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn finds_the_real_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let base = directory.path();
        for name in ["links", "scripts"] {
            std::fs::create_dir(base.join(name)).expect("create");
        }
        // A stand-in under the compiler's name is passed over.
        std::fs::copy("/bin/true", base.join("ccache")).expect("copy");
        symlink("../ccache", base.join("links/gcc")).expect("link");
        symlink("/usr/bin/g++", base.join("links/mycompiler")).expect("link");
        std::fs::write(base.join("scripts/gcc"), "#!/bin/sh\n").expect("write");
        std::fs::set_permissions(base.join("scripts/gcc"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let find = |name: &str, path: &str| {
            let place = SearchScope { directory: base, path: Some(OsStr::new(path)), passed: None };
            find(OsStr::new(name), &place).map_err(|fallback| fallback.detail)
        };
        let gcc = Compiler {
            path: "/usr/bin/gcc".into(),
            program: "/usr/bin/gcc".into(),
            family: Family::Gcc,
            is_cxx: false,
        };
        assert_eq!(find("gcc", "links:/nowhere:/usr/bin"), Ok(gcc.clone()));
        assert_eq!(find("links/gcc", "/usr/bin"), Ok(gcc));
        assert_eq!(find("cc", "/usr/bin").expect("cc").family, Family::Gcc);
        assert!(find("c++", "/usr/bin").expect("c++").is_cxx);
        let own = find("./links/mycompiler", "").expect("a link of any name");
        assert_eq!((own.path, own.program), (base.join("links/mycompiler"), "./links/mycompiler".into()));
        assert_eq!((own.family, own.is_cxx), (Family::Gcc, true));
        assert_eq!(find("clang++", "/usr/bin").map(|found| (found.family, found.is_cxx)), Ok((Family::Clang, true)));
        assert_eq!(find("gcc", "scripts:/usr/bin"), Err("gcc: a script".into()));
        assert_eq!(find("gcc", "links"), Err("gcc: not found in PATH".into()));
        assert_eq!(find("/bin/true", ""), Err("/bin/true: not known".into()));
    }
}
