//! What distcc's server makes of a command line: it puts the directory that stands for the client's root in front of
//! some absolute paths, and not of others.
//!
//! A compile that names a file or directory by an absolute path of the other kind would read the server's own. Such
//! compiles are refused, unless it is one of the compiler's own directories, which by distcc's convention are the same
//! everywhere.
//!
//! What it does not know: which files a compile reads.
//!
//! **Source:** the behaviour of distcc 3.4's `distccd`.

use crate::command::CompileCommand;
use crate::command::options::{self, Meaning, Search};
use crate::fallback::{Fallback, Reason};
use crate::include_server::system_directories::SystemDirectories;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// The suffixes by which the server knows the source.
const SOURCE_SUFFIXES: [&[u8]; 16] =
    [b"i", b"ii", b"c", b"cc", b"cpp", b"cxx", b"cp", b"c++", b"C", b"m", b"mm", b"mi", b"mii", b"M", b"s", b"S"];

const UNTRANSLATED: &str = "is an absolute path that distcc's servers don't translate";

/// Refuses a compile that a server would read other files for, since an absolute path on its command line is not
/// translated, or a relative one climbs out of the client's root.
///
/// `arguments` is the command line as the client sent it: the compiler and its arguments.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] with the path in question.
pub(super) fn check(
    arguments: &[OsString],
    command: &CompileCommand,
    system: &SystemDirectories,
) -> Result<(), Fallback> {
    let refuse =
        |path: &Path, why: &str| Err(Fallback::new(Reason::UnsupportedFlag, format!("'{}' {why}", path.display())));
    let translated = Translated::by_server(arguments);
    let depth = command.working_directory.components().count() - 1;
    let options = &command.preprocessor;
    let directories = options.directories.iter().map(|directory| directory.path.as_path());
    let forced = options.forced_includes.iter().map(|include| include.path.as_path());
    for path in directories.chain(forced) {
        if path.is_absolute() && !translated.contain(path) && !system.contain(path) {
            return refuse(path, UNTRANSLATED);
        }
        if let Some(rest) = below_sysroot(path) {
            let root = options.sysroot.as_deref().unwrap_or(Path::new("/"));
            let path = root.join(rest);
            if path.is_absolute() && !system.contain(&path) {
                return refuse(&path, UNTRANSLATED);
            }
        }
        if climb(path) > depth {
            return refuse(path, "climbs above the root directory");
        }
    }
    let plain = options.assembler_directories.iter().chain(&options.embed_directories).chain(&command.extra_inputs);
    for path in plain {
        if path.is_absolute() && !system.contain(path) {
            return refuse(path, UNTRANSLATED);
        }
    }
    for file in &command.option_files {
        if names_files(&command.working_directory.join(file)) {
            return refuse(file, "may name files that distcc's servers don't translate");
        }
    }
    if command.source.is_absolute() && translated.source.as_deref() != Some(command.source.as_os_str().as_bytes()) {
        return refuse(&command.source, UNTRANSLATED);
    }
    if climb(&command.source) > depth {
        return refuse(&command.source, "climbs above the root directory");
    }
    Ok(())
}

/// Whether a file of options names further files. One that can't be read here is the compiler's own, and may.
fn names_files(path: &Path) -> bool {
    std::fs::read(path).map_or(true, |content| {
        options::NAMING_IN_FILES.iter().any(|part| memchr::memmem::find(&content, part).is_some())
    })
}

/// The rest of a directory that starts at the sysroot.
fn below_sysroot(path: &Path) -> Option<&Path> {
    let bytes = path.as_os_str().as_bytes();
    let rest = bytes.strip_prefix(b"=").or_else(|| bytes.strip_prefix(b"$SYSROOT"))?;
    let rest = rest.iter().position(|byte| *byte != b'/').map_or(&rest[..0], |start| &rest[start..]);
    Some(Path::new(std::ffi::OsStr::from_bytes(rest)))
}

/// How far a relative path climbs above where it starts.
fn climb(path: &Path) -> usize {
    let (mut level, mut highest) = (0_isize, 0_isize);
    for component in path.components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return 0,
            Component::ParentDir => level -= 1,
            Component::Normal(_) => level += 1,
            Component::CurDir => {}
        }
        highest = highest.min(level);
    }
    highest.unsigned_abs()
}

/// The absolute paths that the server translates.
struct Translated<'a> {
    operands: HashSet<&'a [u8]>,
    prefixes: Vec<&'a [u8]>,
    source: Option<Vec<u8>>,
}

impl<'a> Translated<'a> {
    /// Goes through `arguments` as the server does.
    fn by_server(arguments: &'a [OsString]) -> Self {
        let mut operands = HashSet::new();
        let mut prefixes = Vec::new();
        let flags = options::translated_by_distcc();
        let mut at = 0;
        while at < arguments.len() {
            let argument = arguments[at].as_bytes();
            // The first flag that the argument starts with counts, whatever others it starts with as well.
            if let Some(flag) = flags.iter().find(|flag| argument.starts_with(flag.spelling.as_bytes())) {
                let mut operand = &argument[flag.spelling.len()..];
                if operand.is_empty() {
                    at += 1;
                    operand = arguments.get(at).map_or(b"", |next| next.as_bytes());
                }
                if operand.starts_with(b"/") {
                    operands.insert(operand);
                    if flag.meaning == Meaning::Search(Search::Prefix) {
                        prefixes.push(operand);
                    }
                }
            }
            at += 1;
        }
        let source = arguments.iter().map(|argument| argument.as_bytes());
        let source =
            source.skip(1).find(|argument| argument.starts_with(b"/") && is_source(argument)).map(<[u8]>::to_vec);
        Self { operands, prefixes, source }
    }

    fn contain(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        self.operands.contains(bytes) || self.prefixes.iter().any(|prefix| bytes.starts_with(prefix))
    }
}

/// Whether the server takes an argument for the source.
fn is_source(argument: &[u8]) -> bool {
    let suffix = memchr::memrchr(b'.', argument).map(|dot| &argument[dot + 1..]);
    suffix.is_some_and(|suffix| SOURCE_SUFFIXES.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Result<(), &str>) {
        let directory = tempfile::Builder::new().prefix("translation").tempdir_in("/tmp").expect("temporary directory");
        std::fs::write(directory.path().join("response"), "-I/elsewhere").expect("write");
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let environment = [(OsString::from("PATH"), OsString::from("/usr/bin"))];
        let command = crate::command::parse(&arguments, directory.path(), &environment).expect("understood");
        let compilers = crate::include_server::system_directories::Compilers::default();
        let system = compilers.directories(&command).expect("an answer");
        let found = super::check(&arguments, &command, &system).map_err(|fallback| fallback.detail);
        assert_eq!(found, expect.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn command_lines() {
        const NO: &str = "is an absolute path that distcc's servers don't translate";
        check("gcc -c a.c", Ok(()));
        check("gcc -I/x -I /y -isystem /z -iquote/q -idirafter /d -include /x/y.h -imacros /m.h -c /src/a.c", Ok(()));
        check("gcc -iprefix /p/ -iwithprefix x -c a.c", Ok(()));
        check("gcc -I../x -Ix/../../../y -c ../a.c", Ok(()));
        check("gcc -I../../../x -c a.c", Err("'../../../x' climbs above the root directory"));
        check("gcc -Ia/../../../../x -c a.c", Err("'a/../../../../x' climbs above the root directory"));
        check("gcc -c ../../../a.c", Err("'../../../a.c' climbs above the root directory"));
        check("gcc --include-directory=/x -c a.c", Err(&format!("'/x' {NO}")));
        check("gcc --include-directory=/usr/include/x -c a.c", Ok(()));
        check("gcc -I=/x -c a.c", Err(&format!("'/x' {NO}")));
        check("gcc --sysroot=/s -I=/x -c a.c", Err(&format!("'/s/x' {NO}")));
        check("gcc -Wa,-I/x -c a.c", Err(&format!("'/x' {NO}")));
        check("gcc @response -c a.c", Err(&format!("'/elsewhere' {NO}")));
        // The server takes the first absolute path that looks like a source for it.
        check("gcc -include /x/y.c -c /src/a.c", Err(&format!("'/src/a.c' {NO}")));
        check("gcc -x c -c /src/a.inc", Err(&format!("'/src/a.inc' {NO}")));
    }

    #[test]
    fn the_servers_order_of_flags() {
        let arguments = ["gcc", "-iwithprefixbefore", "/x", "-iwithprefix/y", "-include", "/z"].map(OsString::from);
        let translated = Translated::by_server(&arguments);
        assert!(translated.contain(Path::new("/y")) && translated.contain(Path::new("/z")));
        // The longer flag's operand is missed, since the shorter one matches first.
        assert!(!translated.contain(Path::new("/x")));
    }
}
