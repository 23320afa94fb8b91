//! A file's bytes to its directives.
//!
//! Text between directives is only skipped: what matters of it is where comments, strings and lines end. Work is
//! linear in the file's length.
//!
//! What it does not know: macros, conditions, files. Groups that a condition skips are lexed like all others; so does
//! the preprocessor, for it must find their end.
//!
//! **Source:** C17 5.1.1.2 (phases 1 to 3) and 6.10; gcc's cpplib and clang's lexer where they go beyond it.

mod calls;
mod line;
mod notable;
mod parentheses;
pub(crate) mod pragma_text;
mod skip;
pub(crate) mod time;
mod trigraphs;

use crate::scan::lex::directives::{Directive, DirectiveKind, Directives, LexModes};
use crate::scan::lex::lexer::notable::Notable;
use crate::scan::lex::lexer::parentheses::Parentheses;
use crate::scan::lex::lexer::skip::LineKind;
use std::borrow::Cow;
use std::collections::HashSet;

/// How many bytes of a source have one of an operand among them, about: for as much, memory is taken at once.
const TEXT_SHARE: usize = 4;

/// How many bytes of a source there are for each directive, about.
const DIRECTIVE_SHARE: usize = 96;

/// Lexes `content`.
pub fn lex(content: &[u8], modes: LexModes) -> Directives {
    lex_with_uses(content, modes, &Names::default())
}

/// Names of macros whose uses in text are asked for.
#[derive(Debug, Default)]
pub(crate) struct Names<'n> {
    /// Those to be told of with the statement that they start.
    pub(crate) statements: HashSet<&'n [u8], foldhash::fast::RandomState>,
    /// Those to be told of with their arguments, and with the macros in whose arguments they stand.
    pub(crate) calls: HashSet<&'n [u8], foldhash::fast::RandomState>,
}

/// Lexes `content`, and tells where in text the macros `names` are used.
pub(crate) fn lex_with_uses(content: &[u8], modes: LexModes, names: &Names<'_>) -> Directives {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let content = if modes.trigraphs { trigraphs::replace(content, modes) } else { Cow::Borrowed(content) };
    let content = lone_returns_to_newlines(content);
    let mut lexer = Lexer::new(&content, modes, names);
    lexer.run();
    lexer.directives
}

/// A carriage return that no newline follows ends a line.
fn lone_returns_to_newlines(content: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let is_lone = |at: usize| content.get(at + 1) != Some(&b'\n');
    if memchr::memchr_iter(b'\r', &content).all(|at| !is_lone(at)) {
        return content;
    }
    let replaced = content
        .iter()
        .enumerate()
        .map(|(at, byte)| if *byte == b'\r' && is_lone(at) { b'\n' } else { *byte })
        .collect();
    Cow::Owned(replaced)
}

struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
    counted_to: usize,
    line: u32,
    modes: LexModes,
    notable: Vec<Notable>,
    next_notable: usize,
    in_directive: bool,
    /// Whether what is told of stands in a macro's body.
    in_definition: bool,
    /// How many bytes are kept of what follows words.
    kept_rest: usize,
    /// Where the last use that was told of ends.
    calls_end: usize,
    /// Names in whose parentheses something may be a pragma, told of since the last directive.
    names_told: HashSet<(DirectiveKind, Vec<u8>), foldhash::fast::RandomState>,
    parentheses: Parentheses,
    /// Whether parentheses are followed throughout.
    follows_parentheses: bool,
    directives: Directives,
}

impl<'a> Lexer<'a> {
    fn new(source: &'a [u8], modes: LexModes, names: &Names<'_>) -> Self {
        Self {
            source,
            at: 0,
            counted_to: 0,
            line: 1,
            modes,
            notable: notable::find(source, names),
            next_notable: 0,
            in_directive: false,
            in_definition: false,
            kept_rest: 0,
            calls_end: 0,
            names_told: HashSet::default(),
            parentheses: Parentheses::default(),
            follows_parentheses: false,
            directives: Directives {
                text: Vec::with_capacity(source.len() / TEXT_SHARE),
                list: Vec::with_capacity(source.len() / DIRECTIVE_SHARE),
                line_breaks: Vec::new(),
            },
        }
    }

    fn run(&mut self) {
        self.follows_parentheses =
            self.notable.iter().any(|notable| notable.needs_parentheses(self.source, self.modes));
        while self.at < self.source.len() {
            self.skip_blanks_and_comments();
            let Some(length) = self.directive_start() else {
                if self.modes.modules {
                    self.note_module();
                }
                self.skip_line(LineKind::Text);
                continue;
            };
            self.emit_notables(self.at);
            let start = self.at;
            if self.follows_parentheses {
                self.follow_parentheses(start);
            }
            self.at += length;
            self.forget_names_told();
            self.directive(start);
            self.forget_names_told();
            self.parentheses.go_on_at(self.at);
        }
        self.emit_notables(self.source.len());
    }

    fn forget_names_told(&mut self) {
        if !self.names_told.is_empty() {
            self.names_told.clear();
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.source.get(at).copied().unwrap_or(0)
    }

    /// The length of the `#` or `%:` that stands here.
    fn directive_start(&self) -> Option<usize> {
        match self.byte(self.at) {
            b'#' if self.at < self.source.len() => Some(1),
            b'%' if !self.modes.no_digraphs => {
                let next = self.splice_end(self.at + 1);
                (self.byte(next) == b':').then_some(next + 1 - self.at)
            }
            _ => None,
        }
    }

    /// The line of the byte at `position`, which must not lie before the last one asked for.
    fn line_of(&mut self, position: usize) -> u32 {
        self.line += memchr::memchr_iter(b'\n', &self.source[self.counted_to..position]).count() as u32;
        self.counted_to = position;
        self.line
    }

    fn push(&mut self, kind: DirectiveKind, position: usize, operand: &[u8]) {
        let line = self.line_of(position);
        let start = self.directives.text.len() as u32;
        self.directives.text.extend_from_slice(operand);
        let end = self.directives.text.len() as u32;
        self.directives.list.push(Directive { kind, line, start, end });
    }
}

#[cfg(test)]
mod tests;
