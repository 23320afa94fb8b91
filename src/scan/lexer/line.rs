//! One directive: its name and its operand, as one line without comments and splices.

use crate::scan::directives::{Directive, DirectiveKind, LexModes};
use crate::scan::lexer::Lexer;
use crate::scan::tokens::{continues_identifier, is_blank, starts_identifier};

impl Lexer<'_> {
    /// Reads the directive whose `#`, at `start`, was just passed, and the newline after it.
    pub(super) fn directive(&mut self, start: usize) {
        self.skip_line_blanks();
        let name = self.directive_name();
        let Some(kind) = kind_of(&name, self.byte(self.at), self.modes) else {
            self.skip_text(false);
            return;
        };
        self.in_directive = true;
        let line = self.line_of(start);
        let operand_start = self.directives.text.len();
        let mut text = std::mem::take(&mut self.directives.text);
        self.operand(kind, &mut text, operand_start);
        while text.len() > operand_start && text.last() == Some(&b' ') {
            text.pop();
        }
        self.directives.text = text;
        let (start, end) = (operand_start as u32, self.directives.text.len() as u32);
        self.directives.list.push(Directive { kind, line, start, end });
        self.in_directive = false;
        self.emit_definition_notables(kind);
    }

    /// Over blanks, comments and splices, but not over the newline.
    fn skip_line_blanks(&mut self) {
        loop {
            match self.byte(self.at) {
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                0 if self.at < self.source.len() => self.at += 1,
                b'\\' => match self.splice_at(self.at) {
                    Some(end) => self.at = end,
                    None => return,
                },
                b'/' if self.skip_comment() => {}
                _ => return,
            }
        }
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

    /// Appends the operand to `text` and passes the newline.
    fn operand(&mut self, kind: DirectiveKind, text: &mut Vec<u8>, start: usize) {
        let names_header = names_header(kind);
        self.skip_line_blanks();
        if names_header {
            self.header_name(text);
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
                    self.copy_spliced(end, text);
                }
                b'\'' => {
                    let end = self.character_end(self.at);
                    self.copy_spliced(end, text);
                }
                b'<' if takes_condition(kind) && ends_with_header_operator(&text[start..]) => self.header_name(text),
                b'/' => {
                    if self.skip_comment() {
                        push_blank(text, start);
                    } else {
                        text.push(byte);
                        self.at += 1;
                    }
                }
                byte if is_blank(byte) => {
                    push_blank(text, start);
                    self.at += 1;
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// Copies the `<…>` or `"…"` that may stand here, in which nothing but a newline is special.
    fn header_name(&mut self, text: &mut Vec<u8>) {
        let terminator = match self.byte(self.at) {
            b'<' => b'>',
            b'"' => b'"',
            _ => return,
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
                return;
            }
        }
        text.truncate(start);
    }

    /// Copies up to `end`, without the splices.
    fn copy_spliced(&mut self, end: usize, text: &mut Vec<u8>) {
        while self.at < end {
            let byte = self.source[self.at];
            match self.splice_at(self.at).filter(|_| byte == b'\\') {
                Some(after) => self.at = after,
                None => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }
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
