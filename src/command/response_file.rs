//! Response files: `@file` stands for the arguments that the file holds.
//!
//! Both drivers split at blanks, take a backslash as "the next character as it is" everywhere, and know both kinds of
//! quotes. Where they differ, in an empty quoted argument, an empty argument is harmless to neither.
//!
//! **Source:** libiberty's `expandargv` and `buildargv` (their documentation); LLVM's `TokenizeGNUCommandLine`.

use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How deep response files may nest.
const MAX_DEPTH: usize = 16;
/// How many bytes one response file may hold.
const MAX_SIZE_BYTES: u64 = 4 << 20;
/// How many arguments a command line may grow to, response files included: those that hold nothing but others' names would
/// multiply without any.
const MAX_ARGUMENTS: usize = 100_000;

/// The arguments with every `@file` replaced by what the file holds, and the files that were read, as written.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) arguments: Vec<OsString>,
    pub(super) files: Vec<PathBuf>,
}

/// Expands `arguments`, whose relative names start from `directory`. Reads the response files.
///
/// # Errors
/// [`Reason::ResponseFile`] where one can't be read, is too large, or nests too deeply. (The drivers take the name of an
/// absent file as an argument; no build means that.)
pub(super) fn expand(arguments: &[OsString], directory: &Path) -> Result<Expanded, Fallback> {
    let mut expanded = Expanded::default();
    expand_into(arguments.iter().cloned(), directory, 0, &mut expanded)?;
    Ok(expanded)
}

fn expand_into(
    arguments: impl Iterator<Item = OsString>,
    directory: &Path,
    depth: usize,
    expanded: &mut Expanded,
) -> Result<(), Fallback> {
    for argument in arguments {
        if expanded.arguments.len() + expanded.files.len() >= MAX_ARGUMENTS {
            return Err(Fallback::new(Reason::ResponseFile, format!("more than {MAX_ARGUMENTS} arguments")));
        }
        let Some(name) = argument.as_bytes().strip_prefix(b"@").filter(|name| !name.is_empty()) else {
            expanded.arguments.push(argument);
            continue;
        };
        let name = Path::new(OsStr::from_bytes(name));
        let content = read(&directory.join(name))
            .map_err(|error| Fallback::at(Reason::ResponseFile, error, directory.join(name), 0))?;
        if depth >= MAX_DEPTH {
            return Err(Fallback::at(Reason::ResponseFile, "nested too deeply", directory.join(name), 0));
        }
        expanded.files.push(name.to_owned());
        expand_into(split(&content).into_iter(), directory, depth + 1, expanded)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_SIZE_BYTES {
        return Err(format!("larger than {MAX_SIZE_BYTES} bytes"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// Splits `content` into arguments as both drivers do.
pub(super) fn split(content: &[u8]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => current.get_or_insert_default().extend(bytes.next()),
            (byte, Some(open)) if byte == open => quote = None,
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                current.get_or_insert_default();
            }
            (byte, None) if byte.is_ascii_whitespace() || byte == 0x0b => {
                arguments.extend(current.take().map(OsString::from_vec));
            }
            (byte, _) => current.get_or_insert_default().push(byte),
        }
    }
    arguments.extend(current.map(OsString::from_vec));
    arguments
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{any, bounded, check, like, vec};

    #[test]
    fn arguments_come_back_with_every_byte_quoted() {
        check(&vec(vec(any::<u8>(), 1..9), 0..6), |arguments| {
            let quoted = |argument: &Vec<u8>| argument.iter().flat_map(|byte| [b'\\', *byte]).collect::<Vec<_>>();
            let content = arguments.iter().map(quoted).collect::<Vec<_>>().join(&b' ');
            let expect: Vec<_> = arguments.into_iter().map(OsString::from_vec).collect();
            assert_eq!(bounded(content.len(), || split(&content)), expect);
        });
    }

    #[test]
    fn files_of_any_bytes_end() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let examples = ["-c @two 'a b' \\x", "@two @two @two", "@one", "-DX=\"a b\" @absent"];
        check(&(like(&examples), like(&examples)), |(one, two)| {
            std::fs::write(directory.path().join("one"), one.as_slice()).expect("write");
            std::fs::write(directory.path().join("two"), two.as_slice()).expect("write");
            let length = one.len() * two.len().max(1);
            if let Ok(expanded) = bounded(length, || expand(&["@one".into()], directory.path())) {
                assert!(expanded.arguments.len() + expanded.files.len() <= MAX_ARGUMENTS);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_the_drivers_do() {
        let check = |content: &str, expect: &[&str]| {
            assert_eq!(split(content.as_bytes()), expect.iter().map(OsString::from).collect::<Vec<_>>(), "{content:?}");
        };
        check("", &[]);
        check(" \n\t ", &[]);
        check("-c a.c\n-o a.o", &["-c", "a.c", "-o", "a.o"]);
        check(r#"-DX="a b" 'c d'e"#, &["-DX=a b", "c de"]);
        check(r#"-DX=\"a\" a\ b"#, &["-DX=\"a\"", "a b"]);
        check(r#""a\"b" 'a\'b'"#, &["a\"b", "a'b"]);
        check("'' x", &["", "x"]);
        check("a\\", &["a"]);
    }

    #[test]
    fn nests_and_reports() {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("one"), "-c @two").expect("write");
        std::fs::write(directory.path().join("two"), "a.c").expect("write");
        std::fs::write(directory.path().join("loop"), "@loop").expect("write");
        let expand = |argument: &str| expand(&[argument.into()], directory.path());
        let expanded = expand("@one").expect("expands");
        assert_eq!(expanded.arguments, ["-c", "a.c"]);
        assert_eq!(expanded.files, [Path::new("one"), Path::new("two")]);
        assert_eq!(expand("@loop").expect_err("loops").reason, Reason::ResponseFile);
        assert_eq!(expand("@absent").expect_err("absent").reason, Reason::ResponseFile);
        assert_eq!(expand("@").expect("a lone @").arguments, ["@"]);
    }

    #[test]
    fn files_that_only_name_others_are_counted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for depth in 0..10 {
            std::fs::write(directory.path().join(depth.to_string()), format!("@{} ", depth + 1).repeat(100))
                .expect("write");
        }
        std::fs::write(directory.path().join("10"), "").expect("write");
        let refused = expand(&["@0".into()], directory.path()).expect_err("more than anyone waits for");
        assert_eq!(refused.reason, Reason::ResponseFile);
    }
}
