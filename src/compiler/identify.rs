//! Which compiler a command line names: where it is, and whose flags it takes.
//!
//! A compiler is found as `execvp` would find it, except that programs which stand in for compilers (Pumphouse itself,
//! ccache, distcc, …) are passed over. What it is, its file's name says once symbolic links are resolved; a name
//! that says nothing (`tcc`, `mycompiler`) is refused, and so is a script, for what it would do is not known.
//!
//! Costs a `stat` for each directory of `PATH` up to the compiler's; the answer about a file is remembered by its identity.

use super::Family;
use crate::fallback::{Fallback, Reason};
use crate::files::stamp::watch::Watch;
use dashmap::DashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Programs that stand in for a compiler when they are called by its name.
const STAND_INS: [&str; 7] = ["ccache", "distcc", "sccache", "icecc", "colorgcc", "buildcache", "firebuild"];

/// A compiler driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Absolute, symbolic links not resolved.
    pub(crate) path: PathBuf,
    /// What to run it as: see [`Command::program`](crate::command::Command::program).
    pub(crate) program: PathBuf,
    pub(crate) family: Family,
    /// Whether it takes `.c` for C++.
    pub(crate) is_cxx: bool,
}

/// Finds the compiler that `name` means: a path (relative ones start from `directory`) or a name to look for in `search`,
/// which is the value of `PATH`.
///
/// # Errors
/// [`Reason::Compiler`] where there is none, or where it is not known what it is.
pub(crate) fn find(name: &OsStr, directory: &Path, search: &OsStr) -> Result<Compiler, Fallback> {
    let refuse = |detail: &str| Fallback::new(Reason::Compiler, format!("{}: {detail}", name.to_string_lossy()));
    if name.as_bytes().contains(&b'/') {
        let path = lexical(&directory.join(name));
        match identify(&path).ok_or_else(|| refuse("not an executable file"))? {
            Identity::Compiler(canonical) => {
                let compiler = understand(path, &canonical).ok_or_else(|| refuse("not known"))?;
                return Ok(Compiler { program: name.into(), ..compiler });
            }
            Identity::Script => return Err(refuse("a script")),
            Identity::StandIn => {}
        }
    }
    let base = Path::new(name).file_name().ok_or_else(|| refuse("not a program"))?;
    for entry in search.as_bytes().split(|&byte| byte == b':') {
        // An empty entry is the working directory.
        let path = lexical(&directory.join(OsStr::from_bytes(entry)).join(base));
        match identify(&path) {
            Some(Identity::Compiler(canonical)) => {
                return understand(path, &canonical).ok_or_else(|| refuse("not known"));
            }
            Some(Identity::Script) => return Err(refuse("a script")),
            Some(Identity::StandIn) | None => {}
        }
    }
    Err(refuse("not found in PATH"))
}

/// See [`real_program`](crate::command::real_program).
pub(crate) fn real_program(name: &OsStr, directory: &Path, search: &OsStr) -> Option<PathBuf> {
    let is_real = |path: &PathBuf| is_executable(path) && path.canonicalize().is_ok_and(|path| !is_own(&path));
    let written = lexical(&directory.join(name));
    if name.as_bytes().contains(&b'/') && is_real(&written) {
        return Some(written);
    }
    let base = Path::new(name).file_name()?;
    search
        .as_bytes()
        .split(|&byte| byte == b':')
        .map(|entry| lexical(&directory.join(OsStr::from_bytes(entry)).join(base)))
        .find(is_real)
}

/// Whether a path without symbolic links is this program, or another copy of it.
fn is_own(canonical: &Path) -> bool {
    static OWN: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::current_exe().and_then(|own| own.canonicalize()).ok());
    OWN.as_deref() == Some(canonical) || canonical.file_name().is_some_and(|name| name == "pumphouse")
}

/// `path` without `.` and empty components.
fn lexical(path: &Path) -> PathBuf {
    path.components().collect()
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What a file is when it is run.
#[derive(Debug, Clone)]
enum Identity {
    /// A program; with its path without symbolic links.
    Compiler(PathBuf),
    /// `#!`, or anything else that is not ELF.
    Script,
    /// One of [`STAND_INS`], or this very program.
    StandIn,
}

/// The answers so far, each with what it was taken of.
static IDENTITIES: LazyLock<DashMap<PathBuf, (Watch, Identity)>> = LazyLock::new(DashMap::new);

/// How many answers are kept; a build names a handful of compilers.
const MAX_IDENTITIES: usize = 1024;

/// What the executable file at `path` is; `None` where there is none. Costs a `stat` where it is known.
fn identify(path: &Path) -> Option<Identity> {
    if let Some(known) = IDENTITIES.get(path).filter(|known| known.0.holds()) {
        return Some(known.1.clone());
    }
    if !is_executable(path) {
        return None;
    }
    let watch = Watch::of(path);
    let identity = look(path);
    if IDENTITIES.len() >= MAX_IDENTITIES {
        IDENTITIES.clear();
    }
    IDENTITIES.insert(path.to_owned(), (watch, identity.clone()));
    Some(identity)
}

fn look(path: &Path) -> Identity {
    let Ok(canonical) = path.canonicalize() else { return Identity::Script };
    let name = canonical.file_name().unwrap_or_default();
    if is_own(&canonical) || STAND_INS.iter().any(|&stand_in| name == stand_in) {
        return Identity::StandIn;
    }
    let mut magic = [0; 4];
    let is_elf =
        File::open(&canonical).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF";
    if is_elf { Identity::Compiler(canonical) } else { Identity::Script }
}

/// What a driver is, by the name of its file; clang also goes by the name that it is called by.
fn understand(path: PathBuf, canonical: &Path) -> Option<Compiler> {
    let (family, is_cxx_file) = by_name(canonical.file_name()?)?;
    let is_cxx = match family {
        Family::Gcc => is_cxx_file,
        Family::Clang => stem(path.file_name()?.as_bytes()).ends_with(b"++"),
    };
    // `clang-cl`, `clang-cpp`: another driver under the same file.
    let called = stem(path.file_name()?.as_bytes());
    if family == Family::Clang && (called.ends_with(b"-cl") || called.ends_with(b"cpp") || called.ends_with(b"-dxc")) {
        return None;
    }
    Some(Compiler { program: path.clone(), path, family, is_cxx })
}

/// The family that a file's name speaks of, and whether it is the C++ driver.
fn by_name(name: &OsStr) -> Option<(Family, bool)> {
    const NAMES: [(&[u8], Family, bool); 6] = [
        (b"clang++", Family::Clang, true),
        (b"clang", Family::Clang, false),
        (b"g++", Family::Gcc, true),
        (b"c++", Family::Gcc, true),
        (b"gcc", Family::Gcc, false),
        (b"cc", Family::Gcc, false),
    ];
    let name = stem(name.as_bytes());
    NAMES
        .iter()
        .find(|(base, ..)| {
            // A whole name, or the last word after a target's prefix: `aarch64-linux-gnu-gcc`.
            name.strip_suffix(*base).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(b"-"))
        })
        .map(|&(_, family, is_cxx)| (family, is_cxx))
}

/// A name without its version: `gcc-12`, `clang-14`, `gcc-4.8.5`.
fn stem(name: &[u8]) -> &[u8] {
    let version = name.iter().rposition(|&byte| !(byte.is_ascii_digit() || byte == b'.'));
    match version {
        Some(dash) if name[dash] == b'-' && dash + 1 < name.len() => &name[..dash],
        Some(last) if name[..=last].ends_with(b"gcc") || name[..=last].ends_with(b"++") => &name[..=last],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn names() {
        let check = |name: &str, expect: Option<(Family, bool)>| {
            assert_eq!(by_name(OsStr::new(name)), expect, "{name}");
        };
        check("gcc", Some((Family::Gcc, false)));
        check("x86_64-linux-gnu-gcc-12", Some((Family::Gcc, false)));
        check("gcc-4.8.5", Some((Family::Gcc, false)));
        check("gcc12", Some((Family::Gcc, false)));
        check("arm-none-eabi-g++", Some((Family::Gcc, true)));
        check("c++", Some((Family::Gcc, true)));
        check("clang", Some((Family::Clang, false)));
        check("clang++-14", Some((Family::Clang, true)));
        check("clang-14", Some((Family::Clang, false)));
        check("clang-tidy", None);
        check("tcc", None);
        check("gcc-ar", None);
        check("toolchain-wrapper", None);
    }

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
        std::fs::set_permissions(base.join("scripts/gcc"), PermissionsExt::from_mode(0o755)).expect("chmod");
        let find =
            |name: &str, path: &str| find(OsStr::new(name), base, OsStr::new(path)).map_err(|fallback| fallback.detail);
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
        // What runs locally is whatever is not Pumphouse.
        std::fs::copy("/bin/true", base.join("pumphouse")).expect("copy");
        symlink("../pumphouse", base.join("links/g++")).expect("link");
        let real = |name: &str, path: &str| real_program(OsStr::new(name), base, OsStr::new(path));
        assert_eq!(real("g++", "links:/usr/bin"), Some("/usr/bin/g++".into()));
        assert_eq!(real("links/g++", "/usr/bin"), Some("/usr/bin/g++".into()));
        assert_eq!(real("gcc", "scripts:/usr/bin"), Some(base.join("scripts/gcc")));
        assert_eq!(real("g++", "links"), None);
    }
}
