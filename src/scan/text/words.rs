//! Which words stand in a file: enough to tell that a macro's name does not.

use crate::scan::lex::characters::continues_identifier;
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::BuildHasher as _;

/// How short a part of a name may be that `##` makes whole.
const SHORTEST_PART: usize = 3;

/// The words of one file, by hashes.
#[derive(Debug)]
pub(crate) struct Words(Box<[u32]>);

impl Words {
    /// Those of `content`, wherever they stand. Work is linear in its length.
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut hashes: Vec<u32> =
            content.split(|byte| !continues_identifier(*byte)).filter(|word| !word.is_empty()).map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes.into_boxed_slice())
    }

    /// Whether one of `names` may stand in the file.
    pub(crate) fn may_have(&self, names: &NameParts) -> bool {
        !names.0.is_empty() && self.0.iter().any(|word| names.0.contains(word))
    }
}

/// Names, and the parts from which `##` makes them, by hashes.
#[derive(Debug, Default)]
pub(crate) struct NameParts(HashSet<u32, foldhash::fast::RandomState>);

impl NameParts {
    /// Adds `name`: the whole, and all of its starts and ends but the shortest.
    pub(crate) fn add(&mut self, name: &[u8]) {
        self.0.insert(hash(name));
        for length in SHORTEST_PART..name.len() {
            self.0.insert(hash(&name[..length]));
            self.0.insert(hash(&name[name.len() - length..]));
        }
    }

    /// Whether `word` may be one of them.
    pub(crate) fn has(&self, word: &[u8]) -> bool {
        self.0.contains(&hash(word))
    }
}

fn hash(word: &[u8]) -> u32 {
    FixedState::default().hash_one(word) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_parts_are_found() {
        let mut names = NameParts::default();
        names.add(b"INCBIN");
        names.add(b"T");
        for (text, expect) in [
            ("int x = INCBIN(a);", true),
            ("CAT(INC, y)", true),
            ("\\\nBIN", true),
            ("#define T", true),
            ("IN XINCBIN INCBINX", false),
            ("", false),
        ] {
            assert_eq!(Words::of(text.as_bytes()).may_have(&names), expect, "{text}");
        }
        assert!(names.has(b"CBIN") && !names.has(b"IN"));
    }
}
