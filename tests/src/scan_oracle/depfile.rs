//! Reads the dependency files that compilers write for make.
//!
//! **Source:** libcpp's `mkdeps.cc` and clang's `DependencyFile.cpp`: a blank is written `\ ` (with the backslashes
//! before it doubled by gcc), `$` as `$$`, `#` as `\#`; a backslash before a newline continues the line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A rule: what it makes and what that depends on, in the order in which they are written.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The first target.
    pub target: PathBuf,
    /// The prerequisites, as the compiler spelled them.
    pub prerequisites: Vec<PathBuf>,
}

/// Every rule of a dependency file that has prerequisites.
pub fn parse(text: &[u8]) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut colon_ends_targets = None;
    let mut index = 0;
    let finish_word = |word: &mut Vec<u8>, words: &mut Vec<PathBuf>| {
        if !word.is_empty() {
            words.push(PathBuf::from(OsString::from_vec(std::mem::take(word))));
        }
    };
    while index < text.len() {
        let rest = &text[index..];
        index += match rest {
            [b'\\', b'\n', ..] => {
                finish_word(&mut word, &mut words);
                2
            }
            [b'\\', byte @ (b' ' | b'\t' | b'#'), ..] => {
                word.push(*byte);
                2
            }
            [b'$', b'$', ..] => {
                word.push(b'$');
                2
            }
            [b':', b' ' | b'\n', ..] if colon_ends_targets.is_none() => {
                finish_word(&mut word, &mut words);
                colon_ends_targets = words.first().cloned();
                words.clear();
                1
            }
            [b' ', ..] => {
                finish_word(&mut word, &mut words);
                1
            }
            [b'\n', ..] => {
                finish_word(&mut word, &mut words);
                let prerequisites = std::mem::take(&mut words);
                if let Some(target) = colon_ends_targets.take().filter(|_| !prerequisites.is_empty()) {
                    rules.push(Rule { target, prerequisites });
                }
                1
            }
            [byte, ..] => {
                word.push(*byte);
                1
            }
            [] => break,
        };
    }
    finish_word(&mut word, &mut words);
    if let Some(target) = colon_ends_targets.filter(|_| !words.is_empty()) {
        rules.push(Rule { target, prerequisites: words });
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &[&str])]) {
        let rules: Vec<_> = expect
            .iter()
            .map(|(target, files)| Rule {
                target: target.into(),
                prerequisites: files.iter().map(PathBuf::from).collect(),
            })
            .collect();
        assert_eq!(parse(text.as_bytes()), rules, "{text}");
    }

    #[test]
    fn rules_are_read_as_make_reads_them() {
        check("a.o: a.c b.h\n", &[("a.o", &["a.c", "b.h"])]);
        check("a.o: a.c \\\n  b.h \\\n c.h\nb.h:\nc.h:\n", &[("a.o", &["a.c", "b.h", "c.h"])]);
        check("a.o: a\\ b.h x$$y.h h\\#.h", &[("a.o", &["a b.h", "x$y.h", "h#.h"])]);
        check("a.o: a:b.h back\\slash.h\n", &[("a.o", &["a:b.h", "back\\slash.h"])]);
        check("a.o: a.c\nb.o: b.c\n", &[("a.o", &["a.c"]), ("b.o", &["b.c"])]);
    }
}
