//! One directive: its name and its operand, as one line without comments and splices.

use crate::scan::lex::characters::{continues_identifier, is_blank, starts_identifier};
use crate::scan::lex::directives::{Directive, DirectiveKind, LexModes, LineBreak};
use crate::scan::lex::lexer::Lexer;
use crate::scan::lex::lexer::skip::LineKind;
use std::ops::Range;

impl Lexer<'_> {
    /// Reads the directive whose `#`, at `start`, was just passed, and the newline after it.
    pub(super) fn directive(&mut self, start: usize) {
        self.skip_line_blanks();
        let name = self.directive_name();
        let Some(kind) = kind_of(&name, self.byte(self.at), self.modes) else {
            self.skip_line(LineKind::Directive);
            return;
        };
        self.in_directive = true;
        let line = self.line_of(start);
        let operand_start = self.directives.text.len();
        let mut text = std::mem::take(&mut self.directives.text);
        self.operand(kind, start, &mut text, operand_start);
        while text.len() > operand_start && text.last() == Some(&b' ') {
            text.pop();
        }
        self.directives.text = text;
        let end = self.directives.text.len() as u32;
        self.directives.list.push(Directive { kind, line, start: operand_start as u32, end });
        self.in_directive = false;
        self.emit_definition_notables(kind, start);
    }

    /// Over blanks, comments and splices, but not over the newline.
    fn skip_line_blanks(&mut self) {
        while self.byte(self.at) != b'\n' && self.skip_blank_or_comment() {}
    }

    fn directive_name(&mut self) -> Vec<u8> {
        let mut name = Vec::with_capacity(16);
        loop {
            let byte = self.byte(self.at);
            if if name.is_empty() { starts_identifier(byte) } else { continues_identifier(byte) } {
                name.push(byte);
                self.at += 1;
            } else if byte == b'\\' {
                match self.splice_at(self.at) {
                    Some(end) => self.at = end,
                    None => return name,
                }
            } else {
                return name;
            }
        }
    }

    /// Appends the operand of the directive at `hash` to `text` and passes the newline.
    fn operand(&mut self, kind: DirectiveKind, hash: usize, text: &mut Vec<u8>, start: usize) {
        let mut lines = Lines { counted_to: hash, ended: 0, matter: may_ask_for_line(kind) };
        self.skip_line_blanks();
        self.note_line_breaks(&mut lines, 0);
        if names_header(kind) {
            self.header_name(text);
            self.note_line_breaks(&mut lines, text.len() - start);
        }
        while self.at < self.source.len() {
            let byte = self.source[self.at];
            match byte {
                b'\n' => {
                    self.at += 1;
                    return;
                }
                b'\\' => match self.splice_at(self.at) {
                    Some(end) => self.at = end,
                    None => {
                        text.push(byte);
                        self.at += 1;
                    }
                },
                b'"' => {
                    let end = self.string_end(self.at);
                    self.push_without_splices(self.at..end, text);
                    self.at = end;
                }
                b'\'' => {
                    let end = self.character_end(self.at);
                    self.push_without_splices(self.at..end, text);
                    self.at = end;
                }
                b'<' if takes_condition(kind)
                    && ends_with_header_operator(&text[start..])
                    && self.header_name(text) => {}
                b'/' => {
                    if self.skip_comment() {
                        push_blank(text, start);
                    } else {
                        text.push(byte);
                        self.at += 1;
                    }
                }
                byte => {
                    if is_blank(byte) {
                        push_blank(text, start);
                        self.limit_line_break(self.directives.list.len() as u32, (text.len() - start) as u32);
                    } else {
                        text.push(byte);
                    }
                    self.at += 1;
                    continue;
                }
            }
            self.note_line_breaks(&mut lines, text.len() - start);
        }
    }

    /// Notes the lines that ended since it was asked last; the operand goes on at `at`.
    fn note_line_breaks(&mut self, lines: &mut Lines, at: usize) {
        if !lines.matter {
            return;
        }
        let directive = self.directives.list.len() as u32;
        let splices = self.splices_start(self.at, lines.counted_to);
        for (to, is_spliced) in [(splices, false), (self.at, true)] {
            let ended = memchr::memchr_iter(b'\n', &self.source[lines.counted_to..to]).count() as u32;
            lines.counted_to = to;
            if ended > 0 {
                lines.ended += ended;
                // Where a token starts with the splice, the one after it is the first of the next line. But the line of the word
                // itself is that of its letters.
                let starts_token =
                    is_spliced && self.modes.splices_start_tokens && !self.source[to..].starts_with(b"__LINE__");
                let at = at as u32 + u32::from(starts_token);
                self.limit_line_break(directive, at);
                self.directives.line_breaks.push(LineBreak { directive, at, lines: lines.ended });
            }
        }
    }

    /// What comes at `at` is surely behind the last line break of the directive.
    fn limit_line_break(&mut self, directive: u32, at: u32) {
        if let Some(last) = self.directives.line_breaks.last_mut().filter(|last| last.directive == directive) {
            last.at = last.at.min(at);
        }
    }

    /// Copies the `<…>` or `"…"` that may stand here, in which nothing but a newline is special; whether one does.
    fn header_name(&mut self, text: &mut Vec<u8>) -> bool {
        let terminator = match self.byte(self.at) {
            b'<' => b'>',
            b'"' => b'"',
            _ => return false,
        };
        let start = text.len();
        text.push(self.byte(self.at));
        let mut at = self.at + 1;
        while at < self.source.len() {
            let byte = self.source[at];
            match byte {
                b'\n' => break,
                b'\\' if self.splice_at(at).is_some() => {
                    at = self.splice_end(at);
                    continue;
                }
                _ => text.push(byte),
            }
            at += 1;
            if byte == terminator {
                self.at = at;
                return true;
            }
        }
        text.truncate(start);
        false
    }

    /// Appends `range` of the source to `text`, without splices.
    pub(super) fn push_without_splices(&self, range: Range<usize>, text: &mut Vec<u8>) {
        let mut at = range.start;
        while at < range.end {
            let byte = self.source[at];
            match self.splice_at(at).filter(|_| byte == b'\\') {
                Some(after) => at = after,
                None => {
                    text.push(byte);
                    at += 1;
                }
            }
        }
    }
}

/// The lines that end within an operand.
struct Lines {
    /// To where in the source they are counted.
    counted_to: usize,
    ended: u32,
    /// Whether anything may ask for them.
    matter: bool,
}

/// Whether `__LINE__` may be asked for in the operand, or the lines after it be counted from it.
const fn may_ask_for_line(kind: DirectiveKind) -> bool {
    names_header(kind) || takes_condition(kind) || matches!(kind, DirectiveKind::Line | DirectiveKind::LineMarker)
}

fn push_blank(text: &mut Vec<u8>, start: usize) {
    if text.len() > start && text.last() != Some(&b' ') {
        text.push(b' ');
    }
}

const fn names_header(kind: DirectiveKind) -> bool {
    matches!(kind, DirectiveKind::Include | DirectiveKind::IncludeNext | DirectiveKind::Import | DirectiveKind::Embed)
}

const fn takes_condition(kind: DirectiveKind) -> bool {
    matches!(kind, DirectiveKind::If | DirectiveKind::Elif)
}

/// Whether what stands before a `<` is `__has_include (` or one of its kind.
fn ends_with_header_operator(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let Some(before) = before.strip_suffix(b"(") else { return false };
    let before = before.trim_ascii_end();
    [b"__has_include".as_slice(), b"__has_include_next", b"__has_embed"].iter().any(|name| before.ends_with(name))
}

fn kind_of(name: &[u8], next: u8, modes: LexModes) -> Option<DirectiveKind> {
    Some(match name {
        b"if" => DirectiveKind::If,
        b"ifdef" => DirectiveKind::Ifdef,
        b"ifndef" => DirectiveKind::Ifndef,
        b"elif" => DirectiveKind::Elif,
        b"elifdef" | b"elifndef" if modes.no_elifdef => return None,
        b"elifdef" => DirectiveKind::Elifdef,
        b"elifndef" => DirectiveKind::Elifndef,
        b"else" => DirectiveKind::Else,
        b"endif" => DirectiveKind::Endif,
        b"include" => DirectiveKind::Include,
        b"include_next" => DirectiveKind::IncludeNext,
        b"import" => DirectiveKind::Import,
        b"embed" => DirectiveKind::Embed,
        b"define" => DirectiveKind::Define,
        b"undef" => DirectiveKind::Undef,
        b"pragma" => DirectiveKind::Pragma,
        b"line" => DirectiveKind::Line,
        b"error" => DirectiveKind::Error,
        b"" if next.is_ascii_digit() => DirectiveKind::LineMarker,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::lex::lexer::lex;

    #[test]
    fn operands_are_one_line_without_comments() {
        let check = |line: &str, expect: &str| {
            assert_eq!(lex(line.as_bytes(), LexModes::default()).to_string(), format!("1: {expect}\n"), "{line:?}");
        };
        check("#define A", "define A");
        check("  #  define\tA  1\t 2  ", "define A 1 2");
        check("#define A/**/(x) x", "define A (x) x");
        check("#define A(x) \"a  /* b */\" 'c  d' // e", "define A(x) \"a  /* b */\" 'c  d'");
        check("#define A 1\\\n2", "define A 12");
        check("#define A 1 \\\n 2", "define A 1 2");
        check("#include <a  b//c>  d", "include <a  b//c> d");
        check("#include \"a\\b\"", "include \"a\\b\"");
        check("#include A(x)", "include A(x)");
        check("#if __has_include(<a//b>) // c", "if __has_include(<a//b>)");
        check("#if a < b // c > d", "if a < b");
        check("%:undef A", "undef A");
        check("# 12 \"a.c\" 1", "[line marker] 12 \"a.c\" 1");
        check("#el\\\nse /* a\nb */", "else");
    }

    #[test]
    fn what_is_no_directive_is_passed_over() {
        for line in ["#", "#foo A", "#12a", "#ident \"a\"", "#/*\n*/", "#define_ A"] {
            let directives = lex(format!("{line}\n#undef A\n").as_bytes(), LexModes::default());
            let kinds: Vec<_> = directives.list.iter().map(|directive| directive.kind).collect();
            let is_marker = line == "#12a";
            assert_eq!(kinds.last(), Some(&DirectiveKind::Undef), "{line}");
            assert_eq!(kinds.len(), 1 + usize::from(is_marker), "{line}");
        }
    }

    #[test]
    fn line_breaks_are_kept_where_they_may_be_asked_for() {
        let check = |line: &str, expect: &[(u32, u32)]| {
            let directives = lex(line.as_bytes(), LexModes::default());
            let breaks: Vec<_> = directives.line_breaks.iter().map(|found| (found.at, found.lines)).collect();
            assert_eq!(breaks, expect, "{line:?}");
        };
        check("#if a\n", &[]);
        check("#if a \\\n b\n", &[(2, 1)]);
        check("#if a /* \n\n */ b /* \n */ c\n", &[(2, 2), (4, 3)]);
        check("#define A \\\n b\n", &[]);
        check("#include \\\n <a>\n", &[(0, 1)]);
    }
}
