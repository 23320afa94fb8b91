//! Words that say the time of a compile or of a file, and the parts from which `##` makes them.
//!
//! Text is not expanded, so what `##` makes is not known. A part that is nothing else is taken for the whole. One that
//! may be an ordinary name, such as `TIME`, counts only where a macro's body was read that puts underscores around names.

use crate::scan::lex::characters::continues_identifier;
use memchr::memmem::Finder;
use std::ops::{BitOr, BitOrAssign};
use std::sync::LazyLock;

/// What was read that tells of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeClues(u8);

impl TimeClues {
    /// The time of the compile.
    pub(crate) const DAY: Self = Self(1);
    /// The time of a file.
    pub(crate) const STAMP: Self = Self(2);
    /// What may be a part of the first.
    pub(crate) const PART_OF_DAY: Self = Self(4);
    /// What may be a part of the second.
    pub(crate) const PART_OF_STAMP: Self = Self(8);
    /// A macro that puts underscores around names.
    pub(crate) const JOIN: Self = Self(16);

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the result may hold the time of the compile.
    pub(crate) const fn use_day(self) -> bool {
        self.has(Self::DAY) || self.has(Self(Self::PART_OF_DAY.0 | Self::JOIN.0))
    }

    /// Whether the result may hold a file's time.
    pub(crate) const fn use_stamp(self) -> bool {
        self.has(Self::STAMP) || self.has(Self(Self::PART_OF_STAMP.0 | Self::JOIN.0))
    }

    /// What the operand of a `-D` tells.
    pub(crate) fn of_option(operand: &[u8]) -> Self {
        let words = find(operand).fold(Self::default(), |clues, (_, _, found)| clues | found);
        if joins_underscores(operand) { words | Self::JOIN } else { words }
    }
}

impl BitOr for TimeClues {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for TimeClues {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// The names, with what each tells.
const NAMES: [(&[u8], TimeClues); 3] =
    [(b"__DATE__", TimeClues::DAY), (b"__TIME__", TimeClues::DAY), (b"__TIMESTAMP__", TimeClues::STAMP)];

/// Letters of which every name, and one of any two parts of it, has some.
static SEARCHES: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| ["DATE", "TIME", "E__", "P__"].map(Finder::new));

/// How far around a part underscores are looked for that stand by themselves.
const NEIGHBOURHOOD_BYTES: usize = 64;

/// The names and parts of names in `source`: where each starts and ends, and what it tells. One may come twice.
pub(super) fn find(source: &[u8]) -> impl Iterator<Item = (usize, usize, TimeClues)> {
    let longest = NAMES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    SEARCHES.iter().flat_map(|search| search.find_iter(source)).filter_map(move |found| {
        let before = source[..found].iter().rev().take(longest).take_while(|byte| continues_identifier(**byte)).count();
        let after = source[found..].iter().take(longest + 1).take_while(|byte| continues_identifier(**byte)).count();
        let (start, end) = (found - before, found + after);
        let mut clues = of_word(&source[start..end])?;
        if clues == TimeClues::PART_OF_DAY || clues == TimeClues::PART_OF_STAMP {
            let around = source.len().min(end + NEIGHBOURHOOD_BYTES);
            if has_underscores(&source[start.saturating_sub(NEIGHBOURHOOD_BYTES)..around]) {
                clues = if clues == TimeClues::PART_OF_DAY { TimeClues::DAY } else { TimeClues::STAMP };
            }
        }
        Some((start, end, clues))
    })
}

/// What a word tells that is a name or a part of one.
pub(super) fn of_word(word: &[u8]) -> Option<TimeClues> {
    NAMES.iter().find_map(|(name, whole)| {
        let core = &name[2..name.len() - 2];
        let bare = word.strip_prefix(b"__").or(word.strip_prefix(b"_")).unwrap_or(word);
        let bare = bare.strip_suffix(b"__").or(bare.strip_suffix(b"_")).unwrap_or(bare);
        let is_odd_start = word.len() > 4 && name.starts_with(word);
        let is_odd_end = word.len() > 2 && name.ends_with(word);
        if word == *name {
            Some(*whole)
        } else if bare == core {
            Some(if *whole == TimeClues::DAY { TimeClues::PART_OF_DAY } else { TimeClues::PART_OF_STAMP })
        } else if is_odd_start || is_odd_end {
            Some(*whole)
        } else {
            None
        }
    })
}

/// Whether the macro's body in `definition` puts underscores around names: it joins, and has some that stand alone.
pub(super) fn joins_underscores(definition: &[u8]) -> bool {
    let joins = memchr::memmem::find(definition, b"##").is_some()
        || memchr::memmem::find(definition, b"%:%:").is_some()
        || memchr::memmem::find(definition, b"??=??=").is_some();
    joins && has_underscores(definition) || underscores(definition).count() > 1
}

fn has_underscores(text: &[u8]) -> bool {
    memchr::memchr(b'_', text).is_some() && underscores(text).next().is_some()
}

/// `_` and `__` as words, but for calls: `_("text")` asks for a translation.
fn underscores(text: &[u8]) -> impl Iterator<Item = usize> {
    let is_alone = |start: &usize| {
        if *start > 0 && continues_identifier(text[start - 1]) {
            return false;
        }
        let length = text[*start..].iter().take(3).take_while(|byte| **byte == b'_').count();
        let next = text.get(start + length).copied().unwrap_or(b' ');
        length <= 2 && next != b'(' && !continues_identifier(next)
    };
    memchr::memchr_iter(b'_', text).filter(is_alone)
}

/// The words that splices stand within, joined: where each starts and ends, and its text.
pub(super) fn spliced_words(source: &[u8]) -> impl Iterator<Item = (usize, usize, Vec<u8>)> {
    const LONGEST: usize = 64;
    let splice = |at: usize| {
        let newline = source[at + 1..].iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c))?;
        (source[at + 1 + newline] == b'\n').then_some(at + newline + 2)
    };
    memchr::memchr_iter(b'\\', source).filter_map(move |at| {
        let before = source[..at].iter().rev().take(LONGEST).take_while(|byte| continues_identifier(**byte)).count();
        let mut end = splice(at)?;
        if before == 0 || is_continued(source, at - before) {
            return None;
        }
        let mut word = source[at - before..at].to_vec();
        while word.len() < LONGEST {
            match source.get(end) {
                Some(byte) if continues_identifier(*byte) => {
                    word.push(*byte);
                    end += 1;
                }
                Some(b'\\') => end = splice(end)?,
                _ => break,
            }
        }
        (word.len() > before).then_some((at - before, end, word))
    })
}

/// Whether the word that starts at `start` goes on from the line before, and was told of there.
fn is_continued(source: &[u8], start: usize) -> bool {
    let Some(line) = source[..start].strip_suffix(b"\n") else { return false };
    matches!(line.trim_ascii_end(), [.., last, b'\\'] if continues_identifier(*last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_parts_are_told_of() {
        let check = |text: &str, day: bool, stamp: bool| {
            let clues = TimeClues::of_option(text.as_bytes());
            assert_eq!((clues.use_day(), clues.use_stamp()), (day, stamp), "{text}");
        };
        check("B=__TIME__", true, false);
        check("B=x__TIME__", false, false);
        check("B=__TIMESTAMP__", false, true);
        check("X(n)=__##n##__", false, false);
        check("X(n)=__##n##__ TIME", true, false);
        check("T=TIME", false, false);
        check("T=CAT(__TI, ME__)", true, false);
        check("T=CAT(__DAT, E__)", true, false);
        check("T=CAT(__, DATE__)", true, false);
        check("T=CAT(__TIMESTAM, P__)", false, true);
        check("T=CAT3(__, TIMESTAMP, __)", false, true);
        check("T=_(\"TIME\")", false, false);
        check("enum { DATE, TIME };", false, false);
        check("FOO_E__ NAME__ _P__", false, false);
    }

    #[test]
    fn words_go_on_behind_splices() {
        let check = |text: &str, expect: &[&str]| {
            let words: Vec<String> =
                spliced_words(text.as_bytes()).map(|(.., word)| String::from_utf8_lossy(&word).into_owned()).collect();
            assert_eq!(words, expect, "{text}");
        };
        check("a __TI\\\nME__ b", &["__TIME__"]);
        check("a __TI\\ \nM\\\nE__ b", &["__TIME__"]);
        check("x \\\n__TI\\\nME__ b", &["__TIME__"]);
        check("#define A(x) \\\n    x\\\n  y", &[]);
        check("\"\\n\" x \\", &[]);
    }
}
