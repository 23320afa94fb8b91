//! A file's directives, ready to be replayed: names are symbols, definitions are numbers, groups know where they end.

use crate::scan::lex::characters::continues_identifier;
use crate::scan::lex::directives::{Directive, DirectiveKind, Directives, LineBreak};
use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::preprocess::definitions::Definitions;
pub(crate) use crate::scan::preprocess::op::{Inclusion, LineForm, Op, OperandId, Pragma, PragmaSite};
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{
    Kind, Token, TokenModes, identifier, name_length, tokenize, tokenize_condition, tokenize_operand,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// The steps of a file.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) ops: Box<[Op]>,
    lines: Box<[u32]>,
    operands: Box<[Operand]>,
    text: Box<[u8]>,
    line_breaks: Box<[LineBreak]>,
    modes: TokenModes,
    /// The macro that makes the whole file do nothing where it is defined.
    pub(crate) guard: Option<Symbol>,
    /// Whether `#pragma once` stands in it.
    pub(crate) has_once: bool,
}

#[derive(Debug, Default)]
struct Operand {
    start: u32,
    end: u32,
    tokens: OnceLock<Box<[Token]>>,
    header: Option<HeaderName>,
    /// The places among all line breaks where those in it start and end.
    line_breaks: (u32, u32),
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
            + self.line_breaks.len() * size_of::<LineBreak>()
            + size_of::<Self>()
    }

    /// The line of the step at `at`, from 1.
    pub(crate) fn line(&self, at: usize) -> u32 {
        self.lines[at]
    }

    /// An operand as written.
    pub(crate) fn operand(&self, operand: OperandId) -> &[u8] {
        let operand = &self.operands[operand.index()];
        &self.text[operand.start as usize..operand.end as usize]
    }

    /// The header that an operand names without a macro's help.
    pub(crate) fn header(&self, operand: OperandId) -> Option<HeaderName> {
        self.operands[operand.index()].header
    }

    /// An operand as tokens.
    pub(crate) fn tokens(&self, operand: OperandId, symbols: &Symbols) -> &[Token] {
        let make = || tokenize_operand(self.operand(operand), self.modes, symbols, self.line_breaks(operand));
        self.operands[operand.index()].tokens.get_or_init(|| make().into_boxed_slice())
    }

    /// The operand of an `#if` or `#elif` as tokens.
    pub(crate) fn condition(&self, operand: OperandId, symbols: &Symbols) -> &[Token] {
        let make = || tokenize_condition(self.operand(operand), self.modes, symbols, self.line_breaks(operand));
        self.operands[operand.index()].tokens.get_or_init(|| make().into_boxed_slice())
    }

    /// What stands by itself in parentheses in the file's conditions, behind a name: a name, or a string.
    pub(crate) fn operands_of_calls(&self) -> BTreeSet<&[u8]> {
        let conditions = self.ops.iter().filter_map(|op| match op {
            Op::If { operand, .. } | Op::Elif { operand, .. } => Some(self.operand(*operand)),
            _ => None,
        });
        conditions.flat_map(operands_of_calls).collect()
    }

    /// How many lines end in an operand's directive before its last one.
    pub(crate) fn lines_in(&self, operand: OperandId) -> u32 {
        self.line_breaks(operand).last().map_or(0, |last| last.lines)
    }

    fn line_breaks(&self, operand: OperandId) -> &[LineBreak] {
        let (start, end) = self.operands[operand.index()].line_breaks;
        &self.line_breaks[start as usize..end as usize]
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
            defined: known::EMPTY,
            line_breaks: (0, 0),
        };
        for (index, directive) in directives.list.iter().enumerate() {
            binder.advance_line_breaks(index as u32);
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
            line_breaks: directives.line_breaks.into_boxed_slice(),
        }
    }
}

/// What stands by itself in parentheses behind a name in `condition`: a name, or a string.
fn operands_of_calls(condition: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_name = |text: &[u8]| text.iter().all(|byte| continues_identifier(*byte) || *byte == b':');
    let is_string = |text: &[u8]| text.len() > 1 && text.starts_with(b"\"") && text.ends_with(b"\"");
    memchr::memchr_iter(b'(', condition).filter_map(move |open| {
        let before = condition[..open].trim_ascii_end().last()?;
        let inner = &condition[open + 1..];
        let inner = inner[..memchr::memchr2(b')', b'(', inner)?].trim_ascii();
        let is_plain = !inner.is_empty() && (is_name(inner) || is_string(inner));
        (continues_identifier(*before) && is_plain).then_some(inner)
    })
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
    /// The macro that was defined last.
    defined: Symbol,
    /// The line breaks of the directive at hand.
    line_breaks: (u32, u32),
}

impl Binder<'_> {
    /// Goes on to the line breaks of the directive at `index`.
    fn advance_line_breaks(&mut self, index: u32) {
        let start = self.line_breaks.1;
        let rest = &self.directives.line_breaks[start as usize..];
        let own = rest.iter().take_while(|line_break| line_break.directive == index).count();
        self.line_breaks = (start, start + own as u32);
    }

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
                Some(symbol) => {
                    self.defined = symbol;
                    Op::Define { symbol, definition: self.definitions.text(text, self.modes) }
                }
                None => Op::Error { operand: self.operand(directive) },
            },
            DirectiveKind::Undef => self.named(directive, |symbol| Op::Undef { symbol }),
            DirectiveKind::PragmaArgument => Op::PragmaArgument { of: self.symbols.intern(text) },
            DirectiveKind::MacroPragma => Op::MayBePragma { by: self.symbols.intern(text), site: PragmaSite::Text },
            DirectiveKind::DefinedMacroPragma => {
                Op::MayBePragma { by: self.symbols.intern(text), site: PragmaSite::Body }
            }
            DirectiveKind::Pragma | DirectiveKind::TextPragma | DirectiveKind::DefinedPragma => {
                let Some(pragma) = self.pragma(directive) else { return };
                self.has_once |= pragma == Pragma::Once;
                match directive.kind {
                    DirectiveKind::Pragma => Op::Pragma(pragma),
                    DirectiveKind::TextPragma => Op::TextPragma(pragma),
                    _ => Op::MayBePragma { by: known::EMPTY, site: PragmaSite::Body },
                }
            }
            DirectiveKind::Line => Op::Line { operand: self.operand(directive), form: LineForm::Directive },
            DirectiveKind::LineMarker => Op::Line { operand: self.operand(directive), form: LineForm::Marker },
            DirectiveKind::Error => Op::Error { operand: self.operand(directive) },
            DirectiveKind::TextCounter => Op::TextCounter,
            DirectiveKind::TextTime => Op::TextTime(TimeClues::DAY),
            DirectiveKind::TextTimePart => Op::TextTime(TimeClues::PART_OF_DAY),
            DirectiveKind::TextTimestampPart => Op::TextTime(TimeClues::PART_OF_STAMP),
            DirectiveKind::DefinedJoin => Op::TextTime(TimeClues::JOIN),
            DirectiveKind::TextTimestamp => Op::TextTimestamp,
            DirectiveKind::TextInput => Op::TextInput { operand: self.operand(directive) },
            DirectiveKind::EnclosingNames => Op::EnclosingNames { operand: self.operand(directive) },
            DirectiveKind::DefinedInput => Op::DefinedInput { operand: self.operand(directive), symbol: self.defined },
            DirectiveKind::TextUse => Op::TextUse { operand: self.operand(directive) },
            DirectiveKind::TextCall => Op::TextCall { operand: self.operand(directive) },
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
                    let operand = self.add_operand(Operand::default());
                    self.ops.push(Op::Error { operand });
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
        if let Some(next) = self.ops[open].next_branch_mut() {
            *next = target;
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

    fn operand(&mut self, directive: &Directive) -> OperandId {
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
        self.add_operand(Operand { start, end, tokens: OnceLock::new(), header, line_breaks: self.line_breaks })
    }

    fn add_operand(&mut self, operand: Operand) -> OperandId {
        self.operands.push(operand);
        OperandId(self.operands.len() as u32 - 1)
    }

    fn name(&self, text: &[u8]) -> Option<Symbol> {
        let length = name_length(text, self.modes);
        (length > 0 && !text[0].is_ascii_digit()).then(|| identifier(&text[..length], self.symbols))
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

    /// The pragma, if it matters.
    fn pragma(&mut self, directive: &Directive) -> Option<Pragma> {
        let text = self.directives.operand(directive);
        let mut tokens = Vec::new();
        tokenize(text, self.modes, self.symbols, &mut tokens);
        let macro_name = || match tokens.get(1..)? {
            [open, name, ..] if open.is(known::OPEN) && name.kind == Kind::StringLiteral => {
                let text = self.symbols.text(name.symbol);
                Some(identifier(text.get(1..text.len() - 1)?, self.symbols))
            }
            _ => None,
        };
        let (first, second) = (tokens.first()?.symbol, tokens.get(1).map_or(known::EMPTY, |token| token.symbol));
        let rest = |word: &[u8]| memchr::memmem::find(text, word).map(|at| at as u32);
        let mut operand = |start| self.operand(&Directive { start: directive.start + start, ..*directive });
        Some(match first {
            known::ONCE => Pragma::Once,
            known::PUSH_MACRO => Pragma::Push(macro_name()?),
            known::POP_MACRO => Pragma::Pop(macro_name()?),
            known::GCC if second == known::SYSTEM_HEADER => Pragma::SystemHeader,
            known::GCC | known::CLANG if second == known::DEPENDENCY => Pragma::Dependency,
            known::GCC if second == known::TARGET => Pragma::Target(operand(rest(b"target")?)),
            known::GCC if second == known::OPTIMIZE => Pragma::Target(operand(rest(b"optimize")?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::lex::directives::LexModes;
    use crate::scan::lex::lexer::lex;

    /// Compares the steps of `source`, each with its line and where its group goes on, with `expect`.
    fn check(source: &str, expect: &str) {
        let (symbols, definitions) = (Symbols::default(), Definitions::default());
        let directives = lex(source.as_bytes(), LexModes::default());
        let program = Program::new(directives, TokenModes::default(), &symbols, &definitions);
        let show = |at: usize| {
            let name = format!("{:?}", program.ops[at]);
            let name = name.split([' ', '(']).next().unwrap_or_default().to_lowercase();
            let next = program.ops[at].next_branch().map_or_else(String::new, |next| format!("->{next}"));
            format!("{}:{name}{next}", program.line(at))
        };
        let shown: Vec<String> = (0..program.ops.len()).map(show).collect();
        assert_eq!(shown.join(" "), expect, "of {source:?}");
    }

    #[test]
    fn groups_know_where_they_go_on() {
        check("#if A\n#elif B\n#else\n#endif\n", "1:if->1 2:elif->2 3:else->3 4:endif");
        check("#ifdef A\n#ifndef B\n#endif\n#endif\n#undef C\n", "1:ifdef->3 2:ifndef->2 3:endif 4:endif 5:undef");
        check("#if A\n#define B\n", "1:if->2 2:define 2:endif");
        check("#endif\n#else\n", "1:error 2:error");
        check("#pragma once\n#pragma omp parallel\n#include <a.h>\n", "1:pragma 3:include");
    }

    #[test]
    fn a_guard_is_one_ifndef_around_all() {
        let check = |source: &str, expect: Option<&str>| {
            let (symbols, definitions) = (Symbols::default(), Definitions::default());
            let directives = lex(source.as_bytes(), LexModes::default());
            let program = Program::new(directives, TokenModes::default(), &symbols, &definitions);
            let guard = program.guard.map(|guard| String::from_utf8_lossy(symbols.text(guard)).into_owned());
            assert_eq!(guard.as_deref(), expect, "of {source:?}");
        };
        check("#ifndef G\n#define G\n#endif\n", Some("G"));
        check("#ifndef G\n#else\n#endif\n", None);
        check("#ifndef G\n#endif\n#define G\n", None);
        check("#ifdef G\n#endif\n", None);
    }
}
