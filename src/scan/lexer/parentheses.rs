//! In which parentheses a string of text stands: those of an `asm`, or of what may be a macro around one.

use crate::scan::lexer::Lexer;
use crate::scan::tokens::continues_identifier;
use std::ops::Range;

/// The words that start inline assembly, or stand between such a word and its parenthesis.
const ASSEMBLY: [&str; 10] =
    ["asm", "__asm", "__asm__", "volatile", "__volatile", "__volatile__", "goto", "inline", "__inline", "__inline__"];

/// How many parentheses are followed at once.
const MAX_OPEN: usize = 4096;

/// How long all names around a string are at most.
const MAX_NAMES_BYTES: usize = 512;

/// The parentheses that are open at a place, of text alone.
#[derive(Debug, Default)]
pub(super) struct Parentheses {
    /// The place.
    at: usize,
    /// The names before those that are open; empty where none stands there.
    open: Vec<Range<usize>>,
    /// The last name, if no other token but strings followed.
    last: Range<usize>,
    /// Where the token at the place ends, if that is known.
    next: usize,
}

impl Parentheses {
    /// Goes on behind what is no text.
    pub(super) const fn go_on_at(&mut self, at: usize) {
        self.at = at;
        self.next = at;
    }

    /// The names that say whether a string at this place is assembly: before a parenthesis, or before the string itself.
    fn names(&self) -> impl Iterator<Item = Range<usize>> {
        self.open.iter().chain([&self.last]).filter(|name| !name.is_empty()).cloned()
    }
}

impl Lexer<'_> {
    /// Goes on to `place`, which lies in no directive, or to the start of the string or comment that holds it.
    pub(super) fn follow_parentheses(&mut self, place: usize) {
        let mut at = self.parentheses.at;
        if place < self.parentheses.next {
            return;
        }
        while at < place {
            let byte = self.source[at];
            let next = match byte {
                b'"' => self.string_end(at),
                b'\'' => self.character_end(at),
                b'/' => self.comment_end(at).unwrap_or(at + 1),
                byte if continues_identifier(byte) => {
                    at + self.source[at..].iter().take_while(|byte| continues_identifier(**byte)).count()
                }
                _ => at + 1,
            };
            if next > place {
                self.parentheses.next = next;
                break;
            }
            let state = &mut self.parentheses;
            match byte {
                b'(' if state.open.len() < MAX_OPEN => state.open.push(std::mem::take(&mut state.last)),
                b')' => {
                    state.open.pop();
                    state.last = 0..0;
                }
                b';' | b'{' | b'}' => {
                    state.open.clear();
                    state.last = 0..0;
                }
                b'"' | b'/' | b'\\' => {}
                byte if byte.is_ascii_whitespace() => {}
                byte if continues_identifier(byte) => {
                    // A prefix belongs to its string.
                    if self.source.get(next) != Some(&b'"') {
                        state.last = at..next;
                    }
                }
                _ => state.last = 0..0,
            }
            at = next;
        }
        self.parentheses.at = at;
    }

    /// The names around the string at `place`, of which one must be a macro if it is assembly; `None` where it is assembly
    /// for certain, or no string, or where they are too long.
    pub(super) fn names_around_string(&mut self, place: usize) -> Option<Vec<u8>> {
        self.follow_parentheses(place);
        if self.parentheses.at == place {
            return None;
        }
        let names: Vec<&[u8]> = self.parentheses.names().map(|name| &self.source[name]).collect();
        let is_long = names.iter().map(|name| name.len() + 1).sum::<usize>() > MAX_NAMES_BYTES;
        let is_assembly = names.iter().any(|name| ASSEMBLY.iter().any(|word| word.as_bytes() == *name));
        (!is_assembly && !is_long).then(|| names.join(&b' '))
    }
}
