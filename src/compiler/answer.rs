//! What drivers print: the command lines of `-###` and `-v`, search paths, files of options, lists of directories.
//!
//! **Source:** gcc's gcc.cc (`execute`, `read_specs`) and incpath.cc (`merge_include_chains`), clang's Job.cpp
//! (`Command::printArg`) and InitHeaderSearch.cpp: what each of them prints, and how it quotes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// What clang prints in the place of a program where it would do the work itself.
const IN_PROCESS: &str = "(in-process)";

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

/// The commands in the answer to `-###`: a line that starts with a blank is one, its first word the program.
pub(crate) fn commands(text: &[u8]) -> impl Iterator<Item = Vec<OsString>> {
    let commands = lines(text).filter(|line| line.starts_with(b" ")).map(words);
    commands.filter(|words| words.first().is_some_and(|program| program != IN_PROCESS))
}

/// Splits a printed command: words are bare, or quoted with backslashes before quotes and backslashes.
fn words(line: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut is_quoted = false;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => current.get_or_insert_default().extend(bytes.next()),
            b'"' => {
                is_quoted = !is_quoted;
                current.get_or_insert_default();
            }
            b' ' if !is_quoted => words.extend(current.take().map(OsString::from_vec)),
            _ => current.get_or_insert_default().push(byte),
        }
    }
    words.extend(current.map(OsString::from_vec));
    words
}

/// Whether clang proper, under `arguments`, writes other objects each time: COFF for Microsoft's linker holds the time of
/// day, and Mach-O for big-endian ARM, which nobody uses, what was in memory.
///
/// **Source:** LLVM's WinCOFFObjectWriter.cpp; a suite compiles for all targets twice.
pub(crate) fn writes_passing_objects(arguments: &[OsString]) -> bool {
    let is_unready = |triple: &[u8]| {
        [b"armeb".as_slice(), b"thumbeb"].iter().any(|machine| triple.starts_with(machine))
            && memchr::memmem::find(triple, b"-apple-").is_some()
    };
    arguments.iter().any(|argument| argument == "-mincremental-linker-compatible")
        || arguments.windows(2).any(|pair| pair[0] == "-triple" && is_unready(pair[1].as_bytes()))
}

/// What a driver says of a file of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionFile<'a> {
    /// gcc read specs.
    Specs(&'a [u8]),
    /// gcc looked for specs, and found none.
    NoSpecs(&'a [u8]),
    /// clang read a configuration.
    Configuration(&'a [u8]),
}

/// All that a driver says of files of options, in order.
pub(crate) fn option_files(text: &[u8]) -> impl Iterator<Item = OptionFile<'_>> {
    lines(text).filter_map(|line| {
        let after = |prefix: &[u8]| line.strip_prefix(prefix).map(<[u8]>::trim_ascii_end);
        let specs = after(b"Reading specs from ").map(OptionFile::Specs);
        let specs = specs.or_else(|| after(b"could not find specs file ").map(OptionFile::NoSpecs));
        specs.or_else(|| after(b"Configuration file: ").map(OptionFile::Configuration))
    })
}

/// The target that a driver compiles for.
pub(crate) fn target(text: &[u8]) -> Option<&[u8]> {
    lines(text).find_map(|line| line.strip_prefix(b"Target: "))
}

/// The installations of gcc that clang chooses among.
pub(crate) fn gcc_installations(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    lines(text).filter_map(|line| line.strip_prefix(b"Found candidate GCC installation: ")).map(path)
}

/// The lists of gcc's answer to `-print-search-dirs`.
pub(crate) const PROGRAMS: &[u8] = b"programs: =";
pub(crate) const LIBRARIES: &[u8] = b"libraries: =";

/// The beginnings of paths in the list `title` of gcc's `answer` to `-print-search-dirs`. (A directory with a colon in its
/// name can't be told from two.)
pub(crate) fn search_list<'a>(answer: &'a [u8], title: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let line = lines(answer).find_map(|line| line.strip_prefix(title)).unwrap_or_default();
    line.split(|byte| *byte == b':').filter(|prefix| !prefix.is_empty())
}

/// The search path for headers, as `-v` shows it; directories as they are spelled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchPath {
    /// For `#include "…"` alone.
    pub(crate) quoted: Vec<Vec<u8>>,
    /// For all includes.
    pub(crate) bracketed: Vec<Vec<u8>>,
    /// Directories that would be searched, if they were there.
    pub(crate) missing: Vec<Vec<u8>>,
    /// Whether the end of the list was seen.
    pub(crate) is_whole: bool,
}

impl SearchPath {
    /// Reads what a compiler says before it preprocesses.
    pub(crate) fn read(text: &[u8]) -> Self {
        let mut path = Self::default();
        let mut list = None;
        for line in lines(text) {
            if line.starts_with(b"#include \"...\" search starts here:") {
                list = Some(List::Quoted);
            } else if line.starts_with(b"#include <...> search starts here:") {
                list = Some(List::Bracketed);
            } else if line.starts_with(b"End of search list.") {
                path.is_whole |= list.take().is_some();
            } else if let Some(missing) = line.strip_prefix(b"ignoring nonexistent directory \"") {
                path.missing.push(missing.strip_suffix(b"\"").unwrap_or(missing).to_vec());
            } else if let (Some(list), Some(directory)) = (&list, line.strip_prefix(b" ")) {
                let directory = directory.trim_ascii_end();
                if !directory.ends_with(b" (framework directory)") {
                    match list {
                        List::Quoted => path.quoted.push(directory.to_vec()),
                        List::Bracketed => path.bracketed.push(directory.to_vec()),
                    }
                }
            }
        }
        path
    }
}

/// One of the lists of a search path.
enum List {
    Quoted,
    Bracketed,
}

/// What a driver shows under `-v` of the command that preprocesses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FrontEnd {
    /// The first program that it runs, where it names it by an absolute path.
    pub(crate) program: Option<PathBuf>,
    /// The operands of `-isystem` that gcc's driver gives its compiler proper.
    pub(crate) driver_directories: Vec<Vec<u8>>,
    /// Files of its resource directory that clang's driver names to its compiler proper: lists of sanitizers.
    pub(crate) resources: Vec<Vec<u8>>,
}

impl FrontEnd {
    /// Reads the commands before the search path's list. (gcc doesn't quote what it shows here.)
    pub(crate) fn read(text: &[u8]) -> Self {
        let commands =
            lines(text).take_while(|line| !line.starts_with(b"#include ")).filter(|line| line.starts_with(b" "));
        let mut front_end = Self::default();
        for line in commands {
            front_end.driver_directories.extend(driver_directories(line));
            front_end.resources.extend(resources(&words(line)));
            front_end.program = front_end.program.take().or_else(|| program(line));
        }
        front_end
    }
}

fn program(line: &[u8]) -> Option<PathBuf> {
    let line = line.trim_ascii_start();
    let word = match line.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
        None => line.split(|byte| *byte == b' ').next(),
    };
    word.filter(|word| word.starts_with(b"/")).map(path)
}

/// The operands, joined by `=`, that lie in the resource directory.
fn resources(words: &[OsString]) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let Some(directory) = words.windows(2).find(|pair| pair[0] == b"-resource-dir").map(|pair| pair[1]) else {
        return Vec::new();
    };
    let operands = words.iter().filter_map(|word| word.splitn(2, |byte| *byte == b'=').nth(1));
    operands
        .filter(|operand| operand.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/")))
        .map(<[u8]>::to_vec)
        .collect()
}

fn driver_directories(line: &[u8]) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    let name = words.first().and_then(|program| program.rsplit(|byte| *byte == b'/').next());
    if !name.is_some_and(is_gcc_proper) {
        return Vec::new();
    }
    let pairs = words.windows(2).filter(|pair| pair[0] == b"-isystem");
    pairs.map(|pair| pair[1].to_vec()).collect()
}

/// Whether a program's name, without directories, is that of gcc's compiler proper for one of the languages.
pub(crate) fn is_gcc_proper(name: &[u8]) -> bool {
    matches!(name, b"cc1" | b"cc1plus" | b"cc1obj" | b"cc1objplus")
}

/// A line of `-H`: as many dots as the file is deep, a blank, and the file.
pub(crate) fn opened(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    lines(text).filter_map(|line| {
        let dots = line.iter().take_while(|&&byte| byte == b'.').count();
        let name = line.get(dots..)?.strip_prefix(b" ")?;
        (dots > 0).then(|| path(name))
    })
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like};

    const ANSWER: &str = "Using built-in specs.\nReading specs from /x/specs\nTarget: x86_64-linux-gnu\n\
        Found candidate GCC installation: /usr/lib/gcc/12\nprograms: =/a/:/b/\n \"/usr/bin/clang\" \"-cc1\" \
        \"-resource-dir\" \"/r\" \"-fx=/r/list\" \"a\\\"b\"\n /usr/lib/cc1 -isystem /i a.c\n (in-process)\n\
        ignoring nonexistent directory \"/n\"\n#include \"...\" search starts here:\n /q\n\
        #include <...> search starts here:\n /b\n /f (framework directory)\nEnd of search list.\n.. /usr/include/a.h\n";

    #[test]
    fn answers_of_any_bytes() {
        check(&like(&[ANSWER]), |text| {
            bounded(text.len(), || {
                for command in commands(&text) {
                    assert!(!command.is_empty());
                    writes_passing_objects(&command);
                }
                assert!(opened(&text).all(|path| path.as_os_str().len() <= text.len()));
                let _ = (option_files(&text).count(), target(&text), gcc_installations(&text).count());
                let _ = (search_list(&text, PROGRAMS).count(), search_list(&text, LIBRARIES).count());
                let (path, front_end) = (SearchPath::read(&text), FrontEnd::read(&text));
                assert!(front_end.program.is_none_or(|program| program.is_absolute()));
                assert!(!path.is_whole || memchr::memmem::find(&text, b"End of search list.").is_some());
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_what_a_driver_names_in_the_directory_of_its_own() {
        let text = b" \"/l/bin/clang\" -cc1 -E -coverage-notes-file=/out/a.gcno -resource-dir \"/l/lib/my clang\" \
            -internal-isystem \"/l/lib/my clang/include\" -fsanitize-ignorelist=/own.txt \
            \"-fsanitize-system-ignorelist=/l/lib/my clang/share/asan.txt\" -fx=/l/lib/my clangs/y -x c a.c\n\
            #include \"...\" search starts here:\n";
        assert_eq!(FrontEnd::read(text).resources, [b"/l/lib/my clang/share/asan.txt"]);
        assert!(FrontEnd::read(b" /l/cc1 -E -fx=/l/y a.c\n").resources.is_empty());
    }

    #[test]
    fn lists_are_found() {
        let text = b"install: /x/\nprograms: =a/:b\nlibraries: =/l/\n";
        assert!(search_list(text, PROGRAMS).eq([&b"a/"[..], b"b"]));
        assert!(search_list(text, LIBRARIES).eq([b"/l/"]));
        assert_eq!(search_list(b"", LIBRARIES).count(), 0);
    }

    #[test]
    fn words_are_unquoted() {
        let check = |line: &str, expect: &[&str]| assert_eq!(words(line.as_bytes()), expect, "{line}");
        check(" as --64", &["as", "--64"]);
        check(r#" "/a b/c" "-D" "x=\"y\"" "#, &["/a b/c", "-D", "x=\"y\""]);
        check(r#" "" x"#, &["", "x"]);
    }

    #[test]
    fn commands_are_told_from_talk() {
        let text = b"Target: x86_64-linux-gnu\nReading specs from own\ncould not find specs file s\n\
            Configuration file: /c.cfg\nFound candidate GCC installation: /usr/lib/gcc/x/12\n \
            (in-process)\n \"/opt/my clang\" \"-cc1\"\n\n as --64\n";
        assert_eq!(commands(text).collect::<Vec<_>>(), [vec!["/opt/my clang", "-cc1"], vec!["as", "--64"]]);
        assert_eq!(target(text), Some(&b"x86_64-linux-gnu"[..]));
        assert_eq!(gcc_installations(text).collect::<Vec<_>>(), [PathBuf::from("/usr/lib/gcc/x/12")]);
        let files = [OptionFile::Specs(b"own"), OptionFile::NoSpecs(b"s"), OptionFile::Configuration(b"/c.cfg")];
        assert_eq!(option_files(text).collect::<Vec<_>>(), files);
    }

    #[test]
    fn search_paths_are_read() {
        let check = |text: &str, expect: Option<(&[&str], &[&str], &[&str])>| {
            let found = SearchPath::read(text.as_bytes());
            assert_eq!(found.is_whole, expect.is_some(), "{text}");
            let Some((quoted, bracketed, missing)) = expect else { return };
            let list = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
            assert_eq!((found.quoted, found.bracketed, found.missing), (list(quoted), list(bracketed), list(missing)));
        };
        check(
            "ignoring nonexistent directory \"/m\"\n /lib/cc1 -E\n#include \"...\" search starts here:\n /q\n\
             #include <...> search starts here:\n /a b\n /Frameworks (framework directory)\n /usr/include\n\
             End of search list.\n more\n",
            Some((&["/q"], &["/a b", "/usr/include"], &["/m"])),
        );
        check("#include <...> search starts here:\nEnd of search list.\n", Some((&[], &[], &[])));
        check("#include <...> search starts here:\n /usr/include\n", None);
        check("cc1: error\n", None);
    }

    #[test]
    fn front_ends_are_read() {
        let check = |text: &str, program: Option<&str>, directories: &[&str]| {
            let found = FrontEnd::read(text.as_bytes());
            assert_eq!(found.program, program.map(PathBuf::from), "{text}");
            assert_eq!(found.driver_directories, directories.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
        };
        check("v\n /lib/cc1plus -E -isystem /b/include -isystem c\n", Some("/lib/cc1plus"), &["/b/include", "c"]);
        check(" \"/opt/my clang\" \"-cc1\" -isystem x\n", Some("/opt/my clang"), &[]);
        check("#include \"...\" search starts here:\n /q\n", None, &[]);
        check(" cc1 -isystem x\n", None, &["x"]);
    }

    #[test]
    fn opened_files_are_found() {
        assert_eq!(opened(b"a.c: warning\n.. /usr/include/x y.h\n").collect::<Vec<_>>(), [path(b"/usr/include/x y.h")]);
    }
}
