//! Rules for make as compilers write them: `-M` and its relatives.
//!
//! **Source:** gcc's mkdeps.cc (`munge`); clang's DependencyFile.cpp (`PrintFilename`), whose output is of the same kind.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The prerequisites of the first rule in `text`, in order.
///
/// A blank or `#` of a name stands behind a backslash, `$` is doubled, a backslash at the end of a line joins the next.
/// A name's own backslashes are doubled before a blank, and nowhere else. (clang writes slashes for them.)
pub(crate) fn prerequisites(text: &[u8]) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut name = Vec::new();
    let mut bytes = text[after_targets(text)..].iter().copied().peekable();
    let mut finish = |name: &mut Vec<u8>| {
        if !name.is_empty() {
            names.push(PathBuf::from(OsString::from_vec(std::mem::take(name))));
        }
    };
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(b'\n')) => {
                bytes.next();
                finish(&mut name);
            }
            (b'\\', _) => {
                let mut count = 1;
                while bytes.next_if_eq(&b'\\').is_some() {
                    count += 1;
                }
                let (own, is_quoted) = match bytes.peek() {
                    Some(b'#') => (count - 1, true),
                    Some(b' ' | b'\t') => (count / 2, count % 2 == 1),
                    _ => (count, false),
                };
                name.extend(std::iter::repeat_n(b'\\', own));
                name.extend(bytes.next_if(|_| is_quoted));
            }
            (b'$', Some(b'$')) => name.extend(bytes.next()),
            (b' ' | b'\t', _) => finish(&mut name),
            // The next rule, as `-MP` makes them, or the end.
            (b'\n', _) => break,
            _ => name.push(byte),
        }
    }
    finish(&mut name);
    names
}

/// Where the prerequisites start: behind the first colon that a blank, or the line's end, follows.
fn after_targets(text: &[u8]) -> usize {
    let is_end = |pair: &[u8]| pair[0] == b':' && matches!(pair[1], b' ' | b'\t' | b'\n');
    match text.windows(2).position(is_end) {
        Some(colon) => colon + 1,
        None => text.len(),
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{any, bounded, check, like, prop_oneof, sample, vec};

    /// A name as gcc writes it.
    fn quoted(name: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        for (at, byte) in name.iter().enumerate() {
            match byte {
                b' ' | b'\t' => {
                    let backslashes = name[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    written.extend(std::iter::repeat_n(b'\\', backslashes + 1));
                }
                b'$' => written.push(b'$'),
                b'#' => written.push(b'\\'),
                _ => {}
            }
            written.push(*byte);
        }
        written
    }

    #[test]
    fn names_come_back_as_gcc_writes_them() {
        let byte = prop_oneof![sample::select(&b"ab \t\\$#:./"[..]), 0x80..=0xff_u8];
        // A backslash at the end of a name can't be told from one that joins lines, and gcc doesn't try.
        let is_plain = |name: &Vec<u8>| name.last() != Some(&b'\\');
        let names =
            vec(pumphouse_fuzz::Strategy::prop_filter(vec(byte, 1..9), "a name that can be written", is_plain), 1..6);
        check(&(names, any::<bool>()), |(names, has_breaks)| {
            let separator: &[u8] = if has_breaks { b" \\\n " } else { b" " };
            let quoted: Vec<_> = names.iter().map(|name| quoted(name)).collect();
            let rule = [b"x.o: ", quoted.join(separator).as_slice(), b"\n\nb.h:\n"].concat();
            let read = bounded(rule.len(), || prerequisites(&rule));
            let read: Vec<_> = read.into_iter().map(|path| path.into_os_string().into_vec()).collect();
            assert_eq!(read, names, "{}", rule.escape_ascii());
        });
    }

    #[test]
    fn rules_of_any_bytes() {
        let examples = ["x: a.c b.h \\\n c\\ d.h e$$f.h g\\#h.h\n", "a:b.o: a.c\n\nb.h:\n"];
        check(&like(&examples), |rule| {
            for name in bounded(rule.len(), || prerequisites(&rule)) {
                assert!(!name.as_os_str().is_empty());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |rule: &str, expect: &[&str]| {
            assert_eq!(prerequisites(rule.as_bytes()), expect.iter().map(PathBuf::from).collect::<Vec<_>>(), "{rule}");
        };
        check("x: a.c b.h \\\n c\\ d.h e$$f.h g\\#h.h\n", &["a.c", "b.h", "c d.h", "e$f.h", "g#h.h"]);
        check("a.o: a.c \\\n b\\ c.h $$d\\#.h \\\n /x/e.h\n", &["a.c", "b c.h", "$d#.h", "/x/e.h"]);
        check("a:b.o: a.c\n", &["a.c"]);
        check("x: a.c b\\c:d.h\n", &["a.c", "b\\c:d.h"]);
        check("x: a.c b.h\n\nb.h:\n", &["a.c", "b.h"]);
        check("x:\n", &[]);
        check("", &[]);
    }

    #[test]
    fn compilers_rules_are_read_back() {
        const NAMES: [&str; 6] = ["plain.h", "a b.h", "a#b.h", "a$b.h", "a$$b.h", "a:b.h"];
        const BACKSLASHES: [&str; 6] = ["a\\b.h", "a\\\\b.h", "a\\ b.h", "a\\\\ b.h", "a\\#b.h", "a\\\\#b.h"];
        let check = |compiler: &str, names: &[&str]| {
            let directory = tempfile::tempdir().expect("temporary directory");
            let include = |name: &&str| {
                std::fs::write(directory.path().join(name), "").expect("write");
                format!("#include \"{name}\"\n")
            };
            let source: String = names.iter().map(include).collect();
            std::fs::write(directory.path().join("a.c"), source).expect("write");
            let output = std::process::Command::new(compiler)
                .args(["-M", "-nostdinc", "a.c"])
                .current_dir(&directory)
                .output()
                .expect("install gcc and clang");
            let mut found = prerequisites(&output.stdout);
            found.retain(|path| !path.is_absolute());
            let expect: Vec<PathBuf> = std::iter::once(&"a.c").chain(names).map(PathBuf::from).collect();
            assert_eq!(found, expect, "{compiler}: {}", String::from_utf8_lossy(&output.stdout));
        };
        check("gcc", &NAMES);
        check("gcc", &BACKSLASHES);
        check("clang", &NAMES);
    }
}
