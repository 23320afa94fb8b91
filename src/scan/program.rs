//! A file's directives, ready to be replayed: names are symbols, definitions are numbers, groups know where they end.

use crate::scan::definitions::{DefinitionId, Definitions, name_length};
use crate::scan::directives::{Directive, DirectiveKind, Directives};
use crate::scan::symbols::{Symbol, Symbols, known};
use crate::scan::tokens::{Kind, Token, TokenModes, tokenize, tokenize_condition};
use std::sync::OnceLock;

/// One step of a replay. `next` is the step of the next branch of the group, `end` that of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    If {
        operand: u32,
        next: u32,
    },
    Ifdef {
        symbol: Symbol,
        next: u32,
    },
    Ifndef {
        symbol: Symbol,
        next: u32,
    },
    Elif {
        operand: u32,
        next: u32,
    },
    Elifdef {
        symbol: Symbol,
        next: u32,
    },
    Elifndef {
        symbol: Symbol,
        next: u32,
    },
    Else {
        next: u32,
    },
    Endif,
    Include {
        operand: u32,
        how: Inclusion,
    },
    Embed {
        operand: u32,
    },
    Define {
        symbol: Symbol,
        definition: DefinitionId,
    },
    Undef {
        symbol: Symbol,
    },
    Pragma(Pragma),
    /// `_Pragma` in text, which gcc does not look at in a file of `-imacros`.
    TextPragma(Pragma),
    /// A macro that `_Pragma` in a macro's body may push or pop at any time.
    Volatile {
        symbol: Symbol,
    },
    Line {
        operand: u32,
        /// Whether it is spelled as compilers spell it in their output, without the word.
        is_marker: bool,
    },
    Error {
        operand: u32,
    },
    TextCounter,
    TextTime,
    TextTimestamp,
    TextInput {
        operand: u32,
    },
    DefinedInput {
        operand: u32,
    },
    TextModule,
    TextLineComment,
}

/// A pragma that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pragma {
    /// `once`
    Once,
    /// `push_macro`
    Push(Symbol),
    /// `pop_macro`
    Pop(Symbol),
    /// `GCC system_header`
    SystemHeader,
    /// `GCC dependency`
    Dependency(u32),
    /// `GCC target` and `GCC optimize`: gcc's own macros are others from then on.
    Target,
}

/// How a file is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Inclusion {
    /// `#include`
    Plain,
    /// `#include_next`
    Next,
    /// `#import`
    Import,
}

/// The steps of a file.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) ops: Box<[Op]>,
    lines: Box<[u32]>,
    operands: Box<[Operand]>,
    text: Box<[u8]>,
    modes: TokenModes,
    /// The macro that makes the whole file do nothing where it is defined.
    pub(crate) guard: Option<Symbol>,
    /// Whether `#pragma once` stands in it.
    pub(crate) has_once: bool,
}

#[derive(Debug)]
struct Operand {
    start: u32,
    end: u32,
    tokens: OnceLock<Box<[Token]>>,
    header: Option<HeaderName>,
}

/// The name of a header between its quotes or brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HeaderName {
    pub(crate) name: Symbol,
    pub(crate) quoting: Quoting,
}

/// What stands around a header's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Quoting {
    /// `"…"`
    Quotes,
    /// `<…>`
    Brackets,
}

/// The header's name that `text` starts with: up to the first closing quote or bracket.
pub(crate) fn header_name(text: &[u8], symbols: &Symbols) -> Option<HeaderName> {
    let (terminator, quoting) = match text.first()? {
        b'"' => (b'"', Quoting::Quotes),
        b'<' => (b'>', Quoting::Brackets),
        _ => return None,
    };
    let length = memchr::memchr(terminator, &text[1..])?;
    Some(HeaderName { name: symbols.intern(&text[1..=length]), quoting })
}

impl Program {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.ops.len() * (size_of::<Op>() + size_of::<u32>())
            + self.operands.len() * size_of::<Operand>()
            + self.text.len()
            + size_of::<Self>()
    }

    /// The line of the step at `at`, from 1.
    pub(crate) fn line(&self, at: usize) -> u32 {
        self.lines[at]
    }

    /// An operand as written.
    pub(crate) fn operand(&self, operand: u32) -> &[u8] {
        let operand = &self.operands[operand as usize];
        &self.text[operand.start as usize..operand.end as usize]
    }

    /// The header that an operand names without a macro's help.
    pub(crate) fn header(&self, operand: u32) -> Option<HeaderName> {
        self.operands[operand as usize].header
    }

    /// An operand as tokens.
    pub(crate) fn tokens(&self, operand: u32, symbols: &Symbols) -> &[Token] {
        self.operands[operand as usize].tokens.get_or_init(|| {
            let mut tokens = Vec::new();
            tokenize(self.operand(operand), self.modes, symbols, &mut tokens);
            tokens.into_boxed_slice()
        })
    }

    /// The operand of an `#if` or `#elif` as tokens.
    pub(crate) fn condition(&self, operand: u32, symbols: &Symbols) -> &[Token] {
        self.operands[operand as usize].tokens.get_or_init(|| {
            let mut tokens = Vec::new();
            tokenize_condition(self.operand(operand), self.modes, symbols, &mut tokens);
            tokens.into_boxed_slice()
        })
    }

    /// Makes a program of `directives`.
    pub(crate) fn new(directives: Directives, modes: TokenModes, symbols: &Symbols, definitions: &Definitions) -> Self {
        let mut binder = Binder {
            directives: &directives,
            modes,
            symbols,
            definitions,
            ops: Vec::with_capacity(directives.list.len()),
            lines: Vec::with_capacity(directives.list.len()),
            operands: Vec::new(),
            groups: Vec::new(),
            has_once: false,
        };
        for directive in &directives.list {
            binder.bind(directive);
        }
        binder.close_all();
        let Binder { ops, lines, operands, has_once, .. } = binder;
        Self {
            guard: guard(&ops),
            ops: ops.into_boxed_slice(),
            lines: lines.into_boxed_slice(),
            operands: operands.into_boxed_slice(),
            has_once,
            modes,
            text: directives.text.into_boxed_slice(),
        }
    }
}

/// The macro whose definition makes `ops` as a whole do nothing: all of them stand in one `#ifndef` without `#else`.
fn guard(ops: &[Op]) -> Option<Symbol> {
    match ops.first()? {
        Op::Ifndef { symbol, next } if *next as usize + 1 == ops.len() && ops.last() == Some(&Op::Endif) => {
            Some(*symbol)
        }
        _ => None,
    }
}

struct Binder<'a> {
    directives: &'a Directives,
    modes: TokenModes,
    symbols: &'a Symbols,
    definitions: &'a Definitions,
    ops: Vec<Op>,
    lines: Vec<u32>,
    operands: Vec<Operand>,
    groups: Vec<usize>,
    has_once: bool,
}

impl Binder<'_> {
    fn bind(&mut self, directive: &Directive) {
        let text = self.directives.operand(directive);
        let op = match directive.kind {
            DirectiveKind::If => Op::If { operand: self.operand(directive), next: 0 },
            DirectiveKind::Elif => Op::Elif { operand: self.operand(directive), next: 0 },
            DirectiveKind::Ifdef => self.named(directive, |symbol| Op::Ifdef { symbol, next: 0 }),
            DirectiveKind::Ifndef => self.named(directive, |symbol| Op::Ifndef { symbol, next: 0 }),
            DirectiveKind::Elifdef => self.named(directive, |symbol| Op::Elifdef { symbol, next: 0 }),
            DirectiveKind::Elifndef => self.named(directive, |symbol| Op::Elifndef { symbol, next: 0 }),
            DirectiveKind::Else => Op::Else { next: 0 },
            DirectiveKind::Endif => Op::Endif,
            DirectiveKind::Include => Op::Include { operand: self.operand(directive), how: Inclusion::Plain },
            DirectiveKind::IncludeNext => Op::Include { operand: self.operand(directive), how: Inclusion::Next },
            DirectiveKind::Import => Op::Include { operand: self.operand(directive), how: Inclusion::Import },
            DirectiveKind::Embed => Op::Embed { operand: self.operand(directive) },
            DirectiveKind::Define => match self.name(text) {
                Some(symbol) => Op::Define { symbol, definition: self.definitions.text(text, self.modes) },
                None => Op::Error { operand: self.operand(directive) },
            },
            DirectiveKind::Undef => self.named(directive, |symbol| Op::Undef { symbol }),
            DirectiveKind::Pragma | DirectiveKind::TextPragma | DirectiveKind::DefinedPragma => {
                match self.pragma(directive) {
                    Some(op) => op,
                    None => return,
                }
            }
            DirectiveKind::Line => Op::Line { operand: self.operand(directive), is_marker: false },
            DirectiveKind::LineMarker => Op::Line { operand: self.operand(directive), is_marker: true },
            DirectiveKind::Error => Op::Error { operand: self.operand(directive) },
            DirectiveKind::TextCounter => Op::TextCounter,
            DirectiveKind::TextTime => Op::TextTime,
            DirectiveKind::TextTimestamp => Op::TextTimestamp,
            DirectiveKind::TextInput => Op::TextInput { operand: self.operand(directive) },
            DirectiveKind::DefinedInput => Op::DefinedInput { operand: self.operand(directive) },
            DirectiveKind::TextModule => Op::TextModule,
            DirectiveKind::TextLineComment => Op::TextLineComment,
        };
        self.push(op, directive.line);
    }

    fn push(&mut self, op: Op, line: u32) {
        let at = self.ops.len();
        match op {
            Op::If { .. } | Op::Ifdef { .. } | Op::Ifndef { .. } => self.groups.push(at),
            Op::Elif { .. } | Op::Elifdef { .. } | Op::Elifndef { .. } | Op::Else { .. } | Op::Endif => {
                let Some(open) = self.groups.pop() else {
                    // The compiler refuses the file here.
                    self.operands.push(Operand { start: 0, end: 0, tokens: OnceLock::new(), header: None });
                    self.ops.push(Op::Error { operand: self.operands.len() as u32 - 1 });
                    self.lines.push(line);
                    return;
                };
                self.link(open, at as u32);
                if op != Op::Endif {
                    self.groups.push(at);
                }
            }
            _ => {}
        }
        self.ops.push(op);
        self.lines.push(line);
    }

    fn link(&mut self, open: usize, target: u32) {
        match &mut self.ops[open] {
            Op::If { next, .. }
            | Op::Ifdef { next, .. }
            | Op::Ifndef { next, .. }
            | Op::Elif { next, .. }
            | Op::Elifdef { next, .. }
            | Op::Elifndef { next, .. }
            | Op::Else { next } => *next = target,
            _ => {}
        }
    }

    /// Groups without an end go to the end of the file.
    fn close_all(&mut self) {
        while let Some(open) = self.groups.pop() {
            let at = self.ops.len() as u32;
            self.link(open, at);
            self.ops.push(Op::Endif);
            self.lines.push(self.lines.last().copied().unwrap_or(1));
        }
    }

    fn operand(&mut self, directive: &Directive) -> u32 {
        let (start, end) = (directive.start, directive.end);
        let names_header = matches!(
            directive.kind,
            DirectiveKind::Include
                | DirectiveKind::IncludeNext
                | DirectiveKind::Import
                | DirectiveKind::Embed
                | DirectiveKind::Pragma
                | DirectiveKind::TextPragma
        );
        let text = &self.directives.text[start as usize..end as usize];
        let header = if names_header { header_name(text.trim_ascii_start(), self.symbols) } else { None };
        self.operands.push(Operand { start, end, tokens: OnceLock::new(), header });
        self.operands.len() as u32 - 1
    }

    fn name(&self, text: &[u8]) -> Option<Symbol> {
        let length = name_length(text);
        (length > 0 && !text[0].is_ascii_digit()).then(|| self.symbols.intern(&text[..length]))
    }

    fn named(&mut self, directive: &Directive, make: impl FnOnce(Symbol) -> Op) -> Op {
        match self.name(self.directives.operand(directive)) {
            Some(symbol) => make(symbol),
            // A condition without a name: the compiler refuses the file.
            None => match make(known::EMPTY) {
                Op::Undef { .. } => Op::Error { operand: self.operand(directive) },
                op => op,
            },
        }
    }

    fn pragma(&mut self, directive: &Directive) -> Option<Op> {
        let text = self.directives.operand(directive);
        let mut tokens = Vec::new();
        tokenize(text, self.modes, self.symbols, &mut tokens);
        let macro_name = || match tokens.get(1..)? {
            [open, name, ..] if open.is(known::OPEN) && name.kind == Kind::Text => {
                let text = self.symbols.text(name.symbol);
                Some(self.symbols.intern(text.get(1..text.len() - 1)?))
            }
            _ => None,
        };
        let first = tokens.first()?;
        let is_target = first.symbol == known::GCC
            && tokens.get(1).is_some_and(|token| matches!(self.symbols.text(token.symbol), b"target" | b"optimize"));
        if directive.kind == DirectiveKind::DefinedPragma {
            return match first.symbol {
                _ if is_target => Some(Op::TextPragma(Pragma::Target)),
                known::PUSH_MACRO | known::POP_MACRO => macro_name().map(|symbol| Op::Volatile { symbol }),
                _ => None,
            };
        }
        let pragma = match first.symbol {
            known::ONCE => {
                self.has_once = true;
                Pragma::Once
            }
            known::PUSH_MACRO => Pragma::Push(macro_name()?),
            known::POP_MACRO => Pragma::Pop(macro_name()?),
            _ if is_target => Pragma::Target,
            known::GCC if tokens.get(1).is_some_and(|token| token.symbol == known::SYSTEM_HEADER) => {
                Pragma::SystemHeader
            }
            known::GCC if tokens.get(1).is_some_and(|token| token.symbol == known::DEPENDENCY) => {
                let start = memchr::memmem::find(text, b"dependency")? as u32 + 10;
                let operand = Directive { start: directive.start + start, ..*directive };
                Pragma::Dependency(self.operand(&operand))
            }
            _ => return None,
        };
        Some(if directive.kind == DirectiveKind::Pragma { Op::Pragma(pragma) } else { Op::TextPragma(pragma) })
    }
}
