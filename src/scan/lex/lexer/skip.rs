//! What the lexer skips: blanks, comments, strings, and lines of text.

use crate::scan::lex::characters::{continues_identifier, raw_string_end};
use crate::scan::lex::directives::DirectiveKind;
use crate::scan::lex::lexer::Lexer;

/// The bytes at which skipping text must look closer.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    stops[b'\n' as usize] = true;
    stops[b'"' as usize] = true;
    stops[b'\'' as usize] = true;
    stops[b'/' as usize] = true;
    stops
};

/// The two kinds of logical lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Text,
    Directive,
}

impl Lexer<'_> {
    /// Where a run of line splices that may stand at `at` ends.
    pub(super) fn splice_end(&self, mut at: usize) -> usize {
        while self.byte(at) == b'\\' {
            match self.splice_at(at) {
                Some(end) => at = end,
                None => break,
            }
        }
        at
    }

    /// The end of the splice whose backslash stands at `at`: blanks may stand between it and the newline.
    pub(super) fn splice_at(&self, at: usize) -> Option<usize> {
        let mut end = at + 1;
        while matches!(self.byte(end), b' ' | b'\t' | 0x0b | 0x0c | b'\r') {
            end += 1;
        }
        (end < self.source.len() && self.source[end] == b'\n').then_some(end + 1)
    }

    /// Whether the newline at `newline` is part of a splice.
    fn is_spliced(&self, newline: usize) -> bool {
        let mut before = newline;
        while before > 0 && matches!(self.source[before - 1], b' ' | b'\t' | 0x0b | 0x0c | b'\r') {
            before -= 1;
        }
        before > 0 && self.source[before - 1] == b'\\'
    }

    /// Where the run of splices starts that ends before `at`, but not before `from`.
    pub(super) fn splices_start(&self, mut at: usize, from: usize) -> usize {
        while at > from && self.source[at - 1] == b'\n' && self.is_spliced(at - 1) {
            let Some(backslash) = memchr::memrchr(b'\\', &self.source[..at - 1]) else { break };
            at = backslash;
        }
        at.max(from)
    }

    /// To the first byte of a line that is neither blank nor comment; over lines that hold nothing else.
    pub(super) fn skip_blanks_and_comments(&mut self) {
        while self.skip_blank_or_comment() {}
    }

    /// Over the blank, newline, splice or comment that may stand here; whether one does.
    pub(super) fn skip_blank_or_comment(&mut self) -> bool {
        match self.byte(self.at) {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
            0 if self.at < self.source.len() => self.at += 1,
            b'\\' => match self.splice_at(self.at) {
                Some(end) => self.at = end,
                None => return false,
            },
            b'/' => return self.skip_comment(),
            _ => return false,
        }
        true
    }

    /// Over the comment that may start here: to the end of a block, to the newline of a line.
    pub(super) fn skip_comment(&mut self) -> bool {
        let Some(end) = self.comment_end(self.at) else { return false };
        let start = std::mem::replace(&mut self.at, end);
        self.drop_notables(start, end);
        true
    }

    /// The end of the comment that may start at `start`.
    pub(super) fn comment_end(&self, start: usize) -> Option<usize> {
        let second = self.splice_end(start + 1);
        match self.byte(second) {
            b'*' => Some(self.block_comment_end(second + 1)),
            b'/' if self.modes.no_line_comments => None,
            b'/' if self.modes.blocks_before_lines && self.byte(self.splice_end(second + 1)) == b'*' => None,
            b'/' => Some(self.logical_line_end(second + 1)),
            _ => None,
        }
    }

    fn block_comment_end(&self, start: usize) -> usize {
        let mut from = start;
        while let Some(found) = memchr::memchr(b'/', &self.source[from..]) {
            let slash = from + found;
            if slash > start && self.is_star_before(slash, start) {
                return slash + 1;
            }
            from = slash + 1;
        }
        self.source.len()
    }

    fn is_star_before(&self, slash: usize, start: usize) -> bool {
        let mut before = slash;
        loop {
            match self.source[before - 1] {
                b'*' => return true,
                b'\n' if self.is_spliced(before - 1) => {
                    before -= 1;
                    while before > start && self.source[before - 1] != b'\\' {
                        before -= 1;
                    }
                    before -= 1;
                }
                _ => return false,
            }
            if before <= start {
                return false;
            }
        }
    }

    /// The newline that ends the logical line in which `start` lies.
    fn logical_line_end(&self, start: usize) -> usize {
        let mut from = start;
        while let Some(found) = memchr::memchr(b'\n', &self.source[from..]) {
            let newline = from + found;
            if !self.is_spliced(newline) {
                return newline;
            }
            from = newline + 1;
        }
        self.source.len()
    }

    /// Over the rest of a logical line of `kind`, with the comments and strings that start in it, and its newline.
    pub(super) fn skip_line(&mut self, kind: LineKind) {
        while self.at < self.source.len() {
            let rest = &self.source[self.at..];
            let Some(stop) = rest.iter().position(|byte| STOPS[usize::from(*byte)]) else {
                self.at = self.source.len();
                return;
            };
            self.at += stop;
            match self.source[self.at] {
                b'\n' => {
                    let ends = !self.is_spliced(self.at);
                    self.at += 1;
                    if ends {
                        return;
                    }
                }
                b'/' => {
                    if !self.skip_comment() {
                        if kind == LineKind::Text && self.modes.no_line_comments {
                            self.note_line_comment();
                        }
                        self.at += 1;
                    }
                }
                b'"' => {
                    let end = self.string_end(self.at);
                    self.drop_words(self.at, end);
                    self.at = end;
                }
                _ => self.at = self.character_end(self.at),
            }
        }
    }

    /// Tells of the line comment that starts here, if one does: text may have none. `//*` is a slash and a comment.
    fn note_line_comment(&mut self) {
        let second = self.splice_end(self.at + 1);
        if self.byte(second) == b'/' && self.byte(self.splice_end(second + 1)) != b'*' {
            self.emit_notables(self.at);
            self.push(DirectiveKind::TextLineComment, self.at, b"");
        }
    }

    /// The end of the string whose quote stands at `quote`; an unterminated one ends before the newline.
    pub(super) fn string_end(&self, quote: usize) -> usize {
        if self.modes.raw_strings
            && self.is_raw(quote)
            && let Some(end) = raw_string_end(self.source, quote + 1)
        {
            if self.in_directive && self.modes.lines_end_raw_strings {
                return end.min(self.logical_line_end(quote));
            }
            return end;
        }
        self.quoted_end(quote, b'"')
    }

    /// The end of the character literal at `quote`; a digit separator is its own end.
    pub(super) fn character_end(&self, quote: usize) -> usize {
        if self.modes.digit_separators && self.is_digit_separator(quote) {
            return quote + 1;
        }
        self.quoted_end(quote, b'\'')
    }

    fn quoted_end(&self, quote: usize, terminator: u8) -> usize {
        let mut at = quote + 1;
        while let Some(found) = memchr::memchr3(terminator, b'\\', b'\n', &self.source[at..]) {
            at += found;
            match self.source[at] {
                b'\\' => at = self.splice_at(at).unwrap_or_else(|| self.escaped_end(at + 1)),
                b'\n' => return at,
                _ => return at + 1,
            }
        }
        self.source.len()
    }

    /// The byte after the one that a backslash escapes, which may follow a splice.
    fn escaped_end(&self, at: usize) -> usize {
        let escaped = self.splice_end(at);
        if self.byte(escaped) == b'\n' { escaped } else { (escaped + 1).min(self.source.len()) }
    }

    fn is_raw(&self, quote: usize) -> bool {
        if quote == 0 || !matches!(self.source[quote - 1], b'R' | b'\n') {
            return false;
        }
        let word = self.word_before(quote);
        matches!(word.as_slice(), b"R" | b"LR" | b"uR" | b"UR" | b"u8R")
    }

    fn is_digit_separator(&self, quote: usize) -> bool {
        if quote == 0 || !(continues_identifier(self.source[quote - 1]) || self.source[quote - 1] == b'\n') {
            return false;
        }
        let follows = self.splice_end(quote + 1);
        if !continues_identifier(self.byte(follows)) {
            return false;
        }
        self.word_before(quote).first().is_some_and(u8::is_ascii_digit)
    }

    /// The run of identifier bytes, points and separators before `end`, splices removed.
    fn word_before(&self, end: usize) -> Vec<u8> {
        const LONGEST: usize = 64;
        let mut word = Vec::new();
        let mut at = end;
        while at > 0 && word.len() < LONGEST {
            let byte = self.source[at - 1];
            let separates = self.modes.digit_separators
                && byte == b'\''
                && word.last().is_some_and(|next| continues_identifier(*next))
                && at > 1
                && self.source[at - 2].is_ascii_hexdigit();
            if continues_identifier(byte) || byte == b'.' || separates {
                word.push(byte);
                at -= 1;
            } else if byte == b'\n' && self.is_spliced(at - 1) {
                at -= 1;
                while at > 0 && self.source[at - 1] != b'\\' {
                    at -= 1;
                }
                at -= 1;
            } else {
                break;
            }
        }
        word.reverse();
        // A point belongs to a number only where a digit follows: `x.1'000` and `.5'0`.
        if let Some(point) = word.iter().rposition(|byte| *byte == b'.') {
            let before_is_digit = point > 0 && word[0].is_ascii_digit();
            if !before_is_digit {
                word.drain(..=point);
            }
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::lex::directives::LexModes;
    use crate::scan::lex::lexer::Names;

    fn lexer(text: &str, modes: LexModes) -> Lexer<'_> {
        Lexer::new(text.as_bytes(), modes, &Names::default())
    }

    #[test]
    fn splices_end_behind_their_newlines() {
        let check = |text: &str, end: usize| {
            assert_eq!(lexer(text, LexModes::default()).splice_end(0), end, "{text:?}");
        };
        check("\\\na", 2);
        check("\\ \t\r\na", 5);
        check("\\\n\\\na", 4);
        check("\\a", 0);
        check("\\", 0);
        check("a\\\n", 0);
        for (text, from, start) in [("ab\\\n\\\nc", 0, 2), ("ab\\\n\\\nc", 4, 4), ("ab\n", 0, 3), ("", 0, 0)] {
            let at = text.trim_end_matches('c').len();
            assert_eq!(lexer(text, LexModes::default()).splices_start(at, from), start, "{text:?} from {from}");
        }
    }

    #[test]
    fn comments_end_where_the_language_says() {
        let none = LexModes { no_line_comments: true, ..LexModes::default() };
        let blocks = LexModes { blocks_before_lines: true, ..LexModes::default() };
        let check = |text: &str, modes: LexModes, end: Option<usize>| {
            assert_eq!(lexer(text, modes).comment_end(0), end, "{text:?}");
        };
        check("/* a */b", LexModes::default(), Some(7));
        check("/*/ a */b", LexModes::default(), Some(8));
        check("/* a *\\\n/b", LexModes::default(), Some(9));
        check("/* a", LexModes::default(), Some(4));
        check("/\\\n* a */", LexModes::default(), Some(9));
        check("// a\nb", LexModes::default(), Some(4));
        check("// a\\\nb\nc", LexModes::default(), Some(7));
        check("// a\nb", none, None);
        check("//* a */\nb", blocks, None);
        check("// a\nb", blocks, Some(4));
        check("/ a", LexModes::default(), None);
    }

    #[test]
    fn literals_end_at_their_quotes_or_lines() {
        let plain = LexModes::default();
        let cxx = LexModes { raw_strings: true, digit_separators: true, ..plain };
        let check = |text: &str, modes: LexModes, end: usize| {
            let quote = text.find(['"', '\'']).expect("a quote");
            let lexer = lexer(text, modes);
            let found =
                if text.as_bytes()[quote] == b'"' { lexer.string_end(quote) } else { lexer.character_end(quote) };
            assert_eq!(found, end, "{text:?}");
        };
        check("\"a\"b", plain, 3);
        check("\"a\\\"\"b", plain, 5);
        check("\"a\\\nb\"c", plain, 6);
        check("\"a\nb\"", plain, 2);
        check("\"a", plain, 2);
        check("R\"(\")\"b", plain, 4);
        check("R\"(\")\"b", cxx, 6);
        check("u8R\"x()\")x\"b", cxx, 11);
        check("XR\"(\")\"b", cxx, 5);
        check("'a'b", plain, 3);
        check("'\\''b", plain, 4);
        check("1'000", cxx, 2);
        check("0x1.8'0", cxx, 6);
        check("u'a'b", cxx, 4);
        check("1'000", plain, 5);
    }
}
