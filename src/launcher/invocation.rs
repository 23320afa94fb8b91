//! Whether this program was started to launch a compiler, and which.

use crate::command::options::proper;
use crate::compiler::name;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A compiler, or any other program, that is to be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The compiler as written: a bare name or a path.
    pub compiler: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Invocation {
    /// What this program's arguments (its own name first) ask to launch: none where they are for the command line of
    /// Pumphouse itself. It launches where its own name is a compiler's, or where the first argument is one, or a path.
    pub fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let own = arguments.next()?;
        if is_compiler_name(base_name(&own)) {
            return Some(Self { compiler: own, arguments: arguments.collect() });
        }
        let first = arguments.next()?;
        let is_path = first.as_bytes().contains(&b'/');
        (is_path || is_compiler_name(&first)).then(|| Self { compiler: first, arguments: arguments.collect() })
    }

    /// Whether the arguments may ask for one compile, as far as can be told without knowing the flags: linking,
    /// preprocessing and questions are none of the daemon's business.
    pub fn may_be_compile(&self) -> bool {
        let mut may_be = false;
        for argument in &self.arguments {
            match argument.as_bytes() {
                [b'@', ..] => may_be = true,
                argument if proper::says_compile(argument) => may_be = true,
                argument if proper::says_no_compile(argument) => return false,
                _ => {}
            }
        }
        may_be
    }
}

fn base_name(path: &OsStr) -> &OsStr {
    Path::new(path).file_name().unwrap_or(path)
}

fn is_compiler_name(name: &OsStr) -> bool {
    name::driver(name.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(arguments: &[&str]) -> Option<(String, usize)> {
        Invocation::from_arguments(arguments.iter().map(OsString::from))
            .map(|invocation| (invocation.compiler.to_string_lossy().into_owned(), invocation.arguments.len()))
    }

    #[test]
    fn compilers_are_told_from_sub_commands() {
        let check = |arguments: &[&str], expect: Option<(&str, usize)>| {
            assert_eq!(
                invocation(arguments),
                expect.map(|(compiler, count)| (compiler.to_owned(), count)),
                "{arguments:?}"
            );
        };
        check(&["pumphouse", "gcc", "-c"], Some(("gcc", 1)));
        check(&["/usr/bin/pumphouse", "/opt/bin/mycc", "-c"], Some(("/opt/bin/mycc", 1)));
        check(&["pumphouse", "./cc"], Some(("./cc", 0)));
        check(&["/usr/lib/pumphouse/g++-12", "-c", "a.cc"], Some(("/usr/lib/pumphouse/g++-12", 2)));
        check(&["gcc", "up"], Some(("gcc", 1)));
        check(&["pumphouse", "aarch64-linux-gnu-gcc"], Some(("aarch64-linux-gnu-gcc", 0)));
        check(&["pumphouse", "x86_64-linux-gnu-g++-12"], Some(("x86_64-linux-gnu-g++-12", 0)));
        check(&["pumphouse", "clang++-14"], Some(("clang++-14", 0)));
        check(&["x86_64-w64-mingw32-gcc-posix", "up"], Some(("x86_64-w64-mingw32-gcc-posix", 1)));
        check(&["pumphouse", "clang-scan-deps"], None);
        check(&["pumphouse", "up"], None);
        check(&["pumphouse", "stats", "--json"], None);
        check(&["pumphouse", "-gcc"], None);
        check(&["pumphouse", "--version"], None);
        check(&["pumphouse"], None);
    }

    #[test]
    fn only_what_may_compile_reaches_the_daemon() {
        let check = |arguments: &[&str], expect: bool| {
            let invocation =
                Invocation { compiler: "gcc".into(), arguments: arguments.iter().map(OsString::from).collect() };
            assert_eq!(invocation.may_be_compile(), expect, "{arguments:?}");
        };
        check(&["-c", "a.c"], true);
        check(&["-O2", "a.c", "-S"], true);
        check(&["@flags"], true);
        check(&["a.o", "-o", "a"], false);
        check(&["-c", "-E", "a.c"], false);
        check(&["--version"], false);
        check(&[], false);
    }
}
