//! In which parentheses a place stands: those of an `asm`, of a macro's use, or of what may be one.

use crate::scan::lex::characters::continues_identifier;
use crate::scan::lex::lexer::Lexer;
use std::ops::Range;

/// The words that start inline assembly, or stand between such a word and its parenthesis.
const ASSEMBLY: [&str; 10] =
    ["asm", "__asm", "__asm__", "volatile", "__volatile", "__volatile__", "goto", "inline", "__inline", "__inline__"];

/// How many parentheses are followed at once: more stay open only where lines that exclude each other open them.
const MAX_OPEN: usize = 128;

/// How long all names around a place are at most.
const MAX_NAMES_BYTES: usize = 512;

/// The parentheses that are open at a place.
#[derive(Debug, Default)]
pub(super) struct Parentheses {
    /// The place.
    pub(super) at: usize,
    /// The names before those that are open, the outermost first; empty where none stands there.
    pub(super) open: Vec<Range<usize>>,
    /// The last name, if no other token but strings followed.
    last: Range<usize>,
    /// Where the part at the place ends, if that is known.
    next: usize,
    /// Whether there were too many.
    pub(super) are_lost: bool,
}

impl Parentheses {
    /// Those that are open at `at` if none is.
    pub(super) fn none_at(at: usize) -> Self {
        Self { at, next: at, ..Self::default() }
    }

    /// Goes on behind what is no text.
    pub(super) const fn go_on_at(&mut self, at: usize) {
        self.at = at;
        self.next = at;
    }
}

impl Lexer<'_> {
    /// Goes on to `place`, or to the start of the string or comment that holds it. No directive stands between.
    pub(super) fn follow_parentheses(&mut self, place: usize) {
        let mut at = self.parentheses.at;
        if place < self.parentheses.next {
            return;
        }
        while at < place {
            let (byte, next) = (self.source[at], self.part_end(at));
            if next > place {
                self.parentheses.next = next;
                break;
            }
            let state = &mut self.parentheses;
            match byte {
                b'(' if state.open.len() < MAX_OPEN => state.open.push(std::mem::take(&mut state.last)),
                b'(' => state.are_lost = true,
                b')' => {
                    state.open.pop();
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

    /// The end of the string, character, comment, name or splice at `at`; of anything else the next byte.
    pub(super) fn part_end(&self, at: usize) -> usize {
        match self.source[at] {
            b'"' => self.string_end(at),
            b'\'' => self.character_end(at),
            b'/' => self.comment_end(at).unwrap_or(at + 1),
            b'\\' => self.splice_at(at).unwrap_or(at + 1),
            byte if continues_identifier(byte) => {
                let mut end = at;
                while continues_identifier(self.byte(end)) {
                    end = self.splice_end(end + 1);
                }
                end
            }
            _ => at + 1,
        }
    }

    /// `names`, each once, joined by blanks; `None` where they are too long or not all known.
    pub(super) fn joined<'n>(&self, names: impl Iterator<Item = &'n Range<usize>>) -> Option<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        let mut length = 0;
        for name in names.filter(|name| !name.is_empty()) {
            let name = self.spelled(name);
            if !all.contains(&name) {
                length += name.len() + 1;
                all.push(name);
            }
            if length > MAX_NAMES_BYTES {
                return None;
            }
        }
        (!self.parentheses.are_lost).then(|| all.join(&b' '))
    }

    /// The identifier at `name`, without splices.
    pub(super) fn spelled(&self, name: &Range<usize>) -> Vec<u8> {
        self.source[name.clone()].iter().copied().filter(|byte| continues_identifier(*byte)).collect()
    }

    /// The names around the string at `place`, or before it, of which one must be a macro if it is assembly; `None` where
    /// it is assembly for certain, or no string, or where they are not known.
    pub(super) fn names_around_string(&mut self, place: usize) -> Option<Vec<u8>> {
        self.follow_parentheses(place);
        if self.parentheses.at == place {
            return None;
        }
        let names = self.joined(self.parentheses.open.iter().chain([&self.parentheses.last]))?;
        let is_assembly = |name: &[u8]| ASSEMBLY.iter().any(|word| word.as_bytes() == name);
        (!names.split(|byte| *byte == b' ').any(is_assembly)).then_some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::lex::directives::LexModes;
    use crate::scan::lex::lexer::Names;

    const MODES: LexModes = LexModes { raw_strings: true, digit_separators: true, ..CXX };
    const CXX: LexModes = LexModes {
        raw_strings: false,
        lines_end_raw_strings: false,
        digit_separators: false,
        trigraphs: false,
        splices_start_tokens: false,
        modules: false,
        no_digraphs: false,
        no_line_comments: false,
        blocks_before_lines: false,
        no_elifdef: false,
        no_dollars: false,
        assembler: false,
    };

    /// A lexer of `text`, and the place of its first `@`.
    fn lexer_at_mark(text: &str) -> (Lexer<'_>, usize) {
        let mark = memchr::memchr(b'@', text.as_bytes()).expect("a mark");
        (Lexer::new(text.as_bytes(), MODES, &Names::default()), mark)
    }

    #[test]
    fn names_before_open_parentheses_are_known() {
        let check = |text: &str, expect: &[&str]| {
            let (mut lexer, mark) = lexer_at_mark(text);
            lexer.follow_parentheses(mark);
            let open = lexer.parentheses.open.clone();
            let names: Vec<_> =
                open.iter().map(|name| String::from_utf8_lossy(&lexer.spelled(name)).into_owned()).collect();
            assert_eq!(names, expect, "{text}");
        };
        check("@", &[]);
        check("f(a, @", &["f"]);
        check("f(g (h)(@", &["f", ""]);
        check("f(g(h), (@", &["f", ""]);
        check("asm volatile(@", &["volatile"]);
        check("f /* ( */ \"(\" '(' (@", &[""]);
        check("f /* ( */ (@", &["f"]);
        check("f\\\n1 (@", &["f1"]);
        check("f = (@", &[""]);
        check("u8\"x\" (@", &[""]);
        check("R\"x(()x\" 1'000 (@", &["000"]);
        check("f(g(h)) @", &[]);
        check(")) f(@", &["f"]);
    }

    #[test]
    fn parts_are_passed_as_a_whole() {
        let check = |text: &str, expect: usize| {
            let lexer = Lexer::new(text.as_bytes(), MODES, &Names::default());
            assert_eq!(lexer.part_end(0), expect, "{text}");
        };
        check("\"a\\\"b\" c", 6);
        check("'\\'' c", 4);
        check("/* a */ b", 7);
        check("/ a", 1);
        check("\\\n a", 2);
        check("\\n", 1);
        check("name1 b", 5);
        check("na\\\nme b", 6);
        check("+ a", 1);
    }

    #[test]
    fn strings_are_assembly_where_no_call_is_around_them() {
        let check = |text: &str, expect: Option<&str>| {
            let (mut lexer, mark) = lexer_at_mark(text);
            let names = lexer.names_around_string(mark);
            assert_eq!(names.map(|names| String::from_utf8_lossy(&names).into_owned()).as_deref(), expect, "{text}");
        };
        check("asm(\"@\")", None);
        check("__asm__ volatile (\"a\" \"@\")", None);
        check("puts(\"@\")", Some("puts"));
        check("f(g(h(1), \"@\"))", Some("f g"));
        check("char *s = \"@\"", Some(""));
        check("NAME \"@\"", Some("NAME"));
        check("f(@)", None);
    }

    #[test]
    fn too_many_parentheses_are_lost() {
        for (depth, are_lost) in [(MAX_OPEN, false), (MAX_OPEN + 1, true)] {
            let text = format!("{}@", "(".repeat(depth));
            let (mut lexer, mark) = lexer_at_mark(&text);
            lexer.follow_parentheses(mark);
            assert_eq!(lexer.parentheses.are_lost, are_lost, "{depth}");
        }
    }
}
