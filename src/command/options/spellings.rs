//! Finds the row of the table that an argument's spelling leads to.
//!
//! Every argument of every compile is looked up once or a few times: most of the comparisons are therefore of two numbers,
//! and only rows that begin alike are compared as text.

use super::{Flag, Operand, table};
use crate::command::Family;
use std::sync::LazyLock;

/// The length of the shortest spelling.
const MIN_SPELLING: usize = 2;

/// The rows by spelling.
struct Sorted {
    /// What each begins with.
    beginnings: Vec<u64>,
    flags: Vec<Flag>,
}

static SORTED: LazyLock<Sorted> = LazyLock::new(|| {
    let mut flags: Vec<Flag> = table::rows().copied().collect();
    flags.sort_by_key(|flag| flag.spelling);
    let beginnings = flags.iter().map(|flag| beginning(flag.spelling.as_bytes())).collect();
    Sorted { beginnings, flags }
});

/// The first eight bytes as a number that sorts as they do. Neither spellings nor arguments hold a zero.
fn beginning(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text[..length]);
    u64::from_be_bytes(bytes)
}

impl Sorted {
    /// The rows whose spellings are not above `key`.
    fn up_to(&self, key: &[u8]) -> &[Flag] {
        let sought = beginning(key);
        let start = self.beginnings.partition_point(|beginning| *beginning < sought);
        let alike = self.beginnings[start..].iter().take_while(|beginning| **beginning == sought).count();
        let below = self.flags[start..start + alike].partition_point(|flag| flag.spelling.as_bytes() <= key);
        &self.flags[..start + below]
    }
}

/// The entry for `argument` in the drivers' own table, and the operand that is joined to it: the longest spelling wins.
pub(crate) fn find(argument: &[u8], family: Family) -> Option<(&'static Flag, Option<&[u8]>)> {
    let sorted = &*SORTED;
    // The greatest spelling up to `key` is its longest prefix, or shows how long a prefix can be at the most.
    let mut key = argument;
    while key.len() >= MIN_SPELLING {
        let rows = sorted.up_to(key);
        let spelling = rows.last()?.spelling.as_bytes();
        let common = spelling.iter().zip(key).take_while(|(one, other)| one == other).count();
        if common < spelling.len() {
            key = &key[..common];
            continue;
        }
        let same = rows.iter().rev().take_while(|flag| flag.spelling.as_bytes() == spelling);
        let found = same.filter(|flag| flag.families.include(family)).find_map(|flag| {
            let rest = &argument[spelling.len()..];
            match flag.operand {
                Operand::None | Operand::Separate => rest.is_empty().then_some((flag, None)),
                Operand::Joined => Some((flag, Some(rest))),
                Operand::Either => Some((flag, (!rest.is_empty()).then_some(rest))),
            }
        });
        if found.is_some() {
            return found;
        }
        key = &key[..spelling.len() - 1];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::options::{Meaning, Plain};

    #[test]
    fn longest_spelling_wins() {
        let check = |argument: &str, family, spelling: &str, operand: Option<&str>| {
            let (flag, joined) = find(argument.as_bytes(), family).expect(argument);
            assert_eq!(flag.spelling, spelling, "{argument}");
            assert_eq!(joined, operand.map(str::as_bytes), "{argument}");
        };
        check("-I", Family::Gcc, "-I", None);
        check("-Idir", Family::Gcc, "-I", Some("dir"));
        check("-I-", Family::Gcc, "-I-", None);
        check("-I-x", Family::Gcc, "-I", Some("-x"));
        check("-isystem", Family::Gcc, "-isystem", None);
        check("-isysroot/x", Family::Clang, "-isysroot", Some("/x"));
        check("-include=x", Family::Gcc, "-include", Some("=x"));
        check("--include=x", Family::Gcc, "--include=", Some("x"));
        check("--include-directory=x", Family::Clang, "--include-directory=", Some("x"));
        check("-MMD", Family::Gcc, "-MMD", None);
        check("-oout", Family::Gcc, "-o", Some("out"));
        check("-print-prog-name=as", Family::Gcc, "-print-", Some("prog-name=as"));
        check("-Wp,-MD,x", Family::Gcc, "-Wp,", Some("-MD,x"));
    }

    #[test]
    fn spellings_are_unique_in_each_family() {
        for family in [Family::Gcc, Family::Clang] {
            let mut seen = std::collections::HashSet::new();
            for flag in SORTED.flags.iter().filter(|flag| flag.families.include(family)) {
                assert!(flag.spelling.len() >= MIN_SPELLING, "{}", flag.spelling);
                // Each is found under its own name.
                assert_eq!(
                    find(flag.spelling.as_bytes(), family).map(|(found, _)| found.spelling),
                    Some(flag.spelling)
                );
                assert!(seen.insert(flag.spelling), "{family:?} has {} twice", flag.spelling);
            }
        }
    }

    #[test]
    fn other_flags_are_guessed_by_their_first_letters() {
        for argument in ["-fno-plt", "-mavx2", "-O2", "-g3", "-mfpmath=sse"] {
            let (flag, _) = find(argument.as_bytes(), Family::Gcc).expect(argument);
            assert_eq!(flag.meaning, Meaning::Plain(Plain::Guess), "{argument}");
        }
        assert!(find(b"-quux", Family::Gcc).is_none());
    }
}
