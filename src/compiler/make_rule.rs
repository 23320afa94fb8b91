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
