//! What drivers print: the command lines of `-###` and `-v`, the lists of `-print-search-dirs`.
//!
//! **Source:** gcc's gcc.cc (`execute`) and clang's Job.cpp (`Command::printArg`): what each of them quotes, and how.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Splits a printed command: words are bare, or quoted with backslashes before quotes and backslashes.
pub(crate) fn words(line: &[u8]) -> Vec<OsString> {
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

/// The lists of gcc's answer to `-print-search-dirs`.
pub(crate) const PROGRAMS: &[u8] = b"programs: =";
pub(crate) const LIBRARIES: &[u8] = b"libraries: =";

/// The beginnings of paths in the list `title` of gcc's `answer` to `-print-search-dirs`. (A directory with a colon in its
/// name can't be told from two.)
pub(crate) fn search_list<'a>(answer: &'a [u8], title: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let line = answer.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(title)).unwrap_or_default();
    line.split(|byte| *byte == b':').filter(|prefix| !prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
