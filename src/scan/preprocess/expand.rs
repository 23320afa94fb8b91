//! Macro expansion, token by token, as the preprocessor does it.
//!
//! Expansion runs over a stack of contexts: the directive's own tokens at the bottom, each macro's replacement above.
//! A macro is disabled while its context stands; its name met there is marked `NO_EXPAND` and never expands again: cpplib's
//! way to the standard's hide sets.
//!
//! **Source:** C17 6.10.3, C++20 [cpp.subst]; Prosser's algorithm as gcc's cpplib realises it, whose contexts end where
//! arguments are collected past them.

mod arguments;
mod builtin;
mod substitute;
mod whole;

use crate::command::Family;
use crate::fallback::Reason;
use crate::scan::limits::{MAX_EXPANSION_DEPTH, MAX_EXPANSION_TOKENS};
use crate::scan::preprocess::definitions::{Body, Definition, DefinitionId, Definitions};
use crate::scan::preprocess::expand::arguments::{Arguments, Collected, Range};
use crate::scan::preprocess::expand::whole::Wholes;
use crate::scan::preprocess::macros::{MacroTable, States};
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{Flags, Kind, Token, TokenModes};
use std::collections::HashMap;

/// Why an expansion gives no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The compiler will refuse it as well: arguments without end, a wrong number of them, ….
    Malformed,
    /// What the compiler makes of it is not known here.
    Unclear,
    /// The input exceeds a limit.
    Limit,
}

impl Trouble {
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Malformed | Self::Unclear => Reason::Unscannable,
            Self::Limit => Reason::ScanLimit,
        }
    }
}

/// Where an expansion takes place. gcc leaves the most paddings in text, fewer in the operand of an include, and none in
/// other directives; clang makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ExpansionSite {
    /// Text.
    Text,
    /// The operand of `#include`.
    Include,
    /// Another directive: a condition, `#line`.
    Directive,
}

/// Which paddings an expansion leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Paddings {
    /// gcc's, before and behind all that was expanded.
    All,
    /// gcc's, before arguments.
    BeforeArguments,
    /// gcc's, none.
    Few,
    /// clang's blanks.
    Blanks,
}

/// Where a directive stands, for the macros that tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    /// `__LINE__`
    pub(crate) line: u32,
    /// `__FILE__`, as it is spelled between the quotes
    pub(crate) file: &'a [u8],
    /// `__BASE_FILE__`
    pub(crate) base_file: &'a [u8],
    /// Whether these names are the command's own: it maps prefixes of them.
    pub(crate) is_mapped: bool,
    /// `__INCLUDE_LEVEL__`
    pub(crate) include_level: u32,
}

/// What the expansions of a replay saw that is no macro's state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observations {
    /// The next value of `__COUNTER__`; `None` where text may have used it.
    pub(crate) counter: Option<u64>,
    /// Something that depends on where in the compile it was asked: the counter, the include level, the base file.
    pub(crate) saw_place: bool,
    /// `__DATE__`, `__TIME__` or `__TIMESTAMP__`.
    pub(crate) saw_time: bool,
    /// How many tokens all expansions made.
    pub(crate) tokens: u64,
}

/// One expansion under way.
pub(crate) struct Expander<'a> {
    pub(crate) surroundings: Surroundings<'a>,
    /// A macro with several definitions that was to be expanded.
    pub(crate) undecided: Option<Symbol>,
    /// Whether a macro with several definitions, each of them a number or none, is decided: it is an unknown number.
    pub(crate) takes_numbers_at_once: bool,
    floor: usize,
    /// How many macros are being expanded, arguments aside.
    entered: usize,
    argument_depth: usize,
    made: usize,
    /// Whether the directive goes on in another line.
    is_multiline: bool,
    paddings: Paddings,
    /// What expansions that have ended left for the next token.
    pending: Padding,
    /// The macros' states that were read, while an expansion is to be remembered.
    reads: Option<States>,
}

/// The stacks of an expansion, kept from one directive to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    contexts: Vec<Context>,
    /// The tokens of all contexts, each after those of the one below.
    arena: Vec<Token>,
    /// The arguments of the uses that are being collected or expanded.
    scratch: Vec<Token>,
    /// Where the arguments in `scratch` end.
    ends: Vec<usize>,
    /// The arguments of the uses that are being expanded, as ranges of `scratch`.
    ranges: Vec<Range>,
    /// What tokens become that `##` joins, by their spellings; nothing where that is no token.
    pastes: HashMap<(Symbol, Symbol), Option<Token>, foldhash::fast::RandomState>,
    /// What macros were expanded to.
    wholes: Wholes,
}

/// Whether the tokens of a context are still to be looked at for macros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rescan {
    Due,
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Context {
    start: usize,
    at: usize,
    end: usize,
    disables: Option<Symbol>,
    rescan: Rescan,
    /// What it leaves for the token behind it.
    trailing: Padding,
}

/// The parts of an [`Expander`] that outlive one directive.
pub(crate) struct Surroundings<'a> {
    pub(crate) table: &'a mut MacroTable,
    pub(crate) symbols: &'a Symbols,
    pub(crate) definitions: &'a Definitions,
    pub(crate) modes: TokenModes,
    pub(crate) position: Position<'a>,
    pub(crate) observations: &'a mut Observations,
    /// Whether `__VA_OPT__` is an operator.
    pub(crate) has_va_opt: bool,
    /// Whether characters don't have the numbers of ASCII.
    pub(crate) has_foreign_characters: bool,
    /// Whether the comma stays where a macro's only parameter is variadic and its argument empty.
    pub(crate) keeps_lone_comma: bool,
    pub(crate) family: Family,
    pub(crate) site: ExpansionSite,
    pub(crate) buffers: &'a mut Buffers,
}

impl<'a> Expander<'a> {
    /// Starts over `tokens`.
    pub(crate) fn new(surroundings: Surroundings<'a>, tokens: &[Token]) -> Self {
        let buffers = &mut *surroundings.buffers;
        debug_assert!(buffers.contexts.is_empty(), "the last expansion left nothing");
        buffers.arena.extend_from_slice(tokens);
        let trailing = Padding::NONE;
        let (end, rescan) = (tokens.len(), Rescan::Due);
        buffers.contexts.push(Context { start: 0, at: 0, end, disables: None, rescan, trailing });
        let paddings = match (surroundings.family, surroundings.site) {
            (Family::Clang, _) => Paddings::Blanks,
            (Family::Gcc, ExpansionSite::Text) => Paddings::All,
            (Family::Gcc, ExpansionSite::Include) => Paddings::BeforeArguments,
            (Family::Gcc, ExpansionSite::Directive) => Paddings::Few,
        };
        Self {
            surroundings,
            undecided: None,
            takes_numbers_at_once: false,
            floor: 0,
            entered: 0,
            argument_depth: 0,
            made: 0,
            is_multiline: tokens.iter().any(|token| token.lines > 0),
            paddings,
            pending: Padding::NONE,
            reads: None,
        }
    }

    /// Whether a blank stands before `token` in a header's name that tokens are joined to. gcc sees only the blanks
    /// within a macro's body or argument, clang those around a macro's name as well.
    pub(crate) const fn blank_in_header_name(&self, token: Token) -> bool {
        match self.surroundings.family {
            Family::Gcc => token.flags.has(Flags::BLANK),
            Family::Clang => token.has_blank_before(),
        }
    }

    /// Whether the last token came out of a macro.
    pub(crate) const fn is_in_macro(&self) -> bool {
        self.entered > 0
    }

    /// All tokens, expanded.
    pub(crate) fn expand_all(&mut self) -> Result<Vec<Token>, Trouble> {
        let mut tokens = Vec::new();
        while let Some(token) = self.next()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    /// The next token, unexpanded.
    pub(crate) fn next_raw(&mut self) -> Option<Token> {
        self.pull().map(|(token, _)| token)
    }

    /// The next token of the context on top, unexpanded.
    fn pull(&mut self) -> Option<(Token, Rescan)> {
        while self.surroundings.buffers.contexts.len() > self.floor {
            let top = self.surroundings.buffers.contexts.last_mut().expect("the stack is not empty above its floor");
            if top.at < top.end {
                top.at += 1;
                let token = self.surroundings.buffers.arena[top.at - 1].padded(std::mem::take(&mut self.pending));
                return Some((token, top.rescan));
            }
            self.pending = self.pending.then(top.trailing);
            self.pop();
        }
        None
    }

    /// The state of `symbol`.
    fn state(&mut self, symbol: Symbol) -> DefinitionId {
        let state = self.surroundings.table.read(symbol);
        if let Some(reads) = &mut self.reads {
            reads.push((symbol, state));
        }
        state
    }

    /// Puts `token` back, to be the next one.
    pub(crate) fn put_back(&mut self, token: Token) {
        let start = self.surroundings.buffers.arena.len();
        self.surroundings.buffers.arena.push(token);
        self.push_context(start, None, Rescan::Due, Padding::NONE);
    }

    /// The next token after expansion.
    pub(crate) fn next(&mut self) -> Result<Option<Token>, Trouble> {
        loop {
            let Some((token, rescan)) = self.pull() else { return Ok(None) };
            if token.kind != Kind::Identifier || token.flags.has(Flags::NO_EXPAND) || rescan == Rescan::Done {
                return Ok(Some(token));
            }
            let id = self.state(token.symbol);
            if !id.is_some() {
                return Ok(Some(token));
            }
            if self.surroundings.table.is_busy(token.symbol) {
                return Ok(Some(Token { flags: token.flags.with(Flags::NO_EXPAND), ..token }));
            }
            match self.surroundings.definitions.get(id) {
                Definition::None => return Ok(Some(token)),
                Definition::Alternatives(states) => {
                    if !(self.takes_numbers_at_once && states.iter().all(|state| self.is_number(*state))) {
                        self.undecided.get_or_insert(token.symbol);
                    }
                    return Ok(Some(Token::new(Kind::Unknown, token.symbol)));
                }
                Definition::Builtin(builtin) => return Ok(Some(self.builtin(*builtin, token))),
                Definition::Text { .. } => {
                    if let Some(token) = self.expand(token, id)? {
                        return Ok(Some(token));
                    }
                }
            }
        }
    }

    /// Whether a macro in that state is a number to a condition.
    fn is_number(&self, state: DefinitionId) -> bool {
        let Some(body) = self.surroundings.definitions.body(state, self.surroundings.symbols) else {
            return !state.is_some();
        };
        body.parameters.is_none() && matches!(&body.tokens[..], [token] if token.kind == Kind::Number)
    }

    /// Enters the macro that `token` names; gives the token back where it stands for itself.
    fn expand(&mut self, token: Token, id: DefinitionId) -> Result<Option<Token>, Trouble> {
        let definitions = self.surroundings.definitions;
        let body = definitions.body(id, self.surroundings.symbols).expect("the caller matched a definition by text");
        let Some(parameters) = body.parameters else {
            if self.entered == 0 && !self.is_multiline && self.take_whole(token, id, body) {
                return Ok(None);
            }
            return self.enter_object(token, body).map(|()| None);
        };
        match self.next_raw() {
            Some(next) if next.is(known::OPEN) => {}
            Some(next) => {
                // gcc puts the paddings back as an expansion of their own.
                let is_padded = self.paddings == Paddings::All && next.padding() != Padding::NONE;
                let ended = if is_padded { Padding::SOURCELESS } else { Padding::NONE };
                self.put_back(next.with_padding(next.padding().then(ended)));
                return Ok(Some(token));
            }
            None => return Ok(Some(token)),
        }
        let (scratch, ends, ranges) = (
            self.surroundings.buffers.scratch.len(),
            self.surroundings.buffers.ends.len(),
            self.surroundings.buffers.ranges.len(),
        );
        let entered = self.collect(parameters, body).and_then(|Collected { close, rest }| {
            let arguments = Arguments { rest, ..self.arguments(scratch, ends, body)? };
            let start = self.surroundings.buffers.arena.len();
            let trailing = self.substitute(body, arguments)?;
            // gcc takes the line of the name for that of the use, clang the line of the parenthesis.
            let lines = if self.surroundings.family == Family::Clang { close.lines } else { token.lines };
            self.enter(Token { lines, ..token }, start, trailing)
        });
        self.surroundings.buffers.scratch.truncate(scratch);
        self.surroundings.buffers.ends.truncate(ends);
        self.surroundings.buffers.ranges.truncate(ranges);
        entered.map(|()| None)
    }

    /// Enters the object-like macro that `name` names.
    fn enter_object(&mut self, name: Token, body: &Body) -> Result<(), Trouble> {
        let start = self.surroundings.buffers.arena.len();
        let mut trailing = Padding::NONE;
        if body.has_operators {
            trailing = self.substitute(body, Arguments::none())?;
        } else {
            self.surroundings.buffers.arena.extend_from_slice(&body.tokens);
        }
        self.enter(name, start, trailing)
    }

    /// Makes a context of the tokens from `start` on, the expansion of `name`, which leaves `trailing` behind itself.
    fn enter(&mut self, name: Token, start: usize, trailing: Padding) -> Result<(), Trouble> {
        let length = self.surroundings.buffers.arena.len() - start;
        self.made += length + 1;
        self.surroundings.observations.tokens += length as u64 + 1;
        if self.made > MAX_EXPANSION_TOKENS || self.surroundings.buffers.contexts.len() > MAX_EXPANSION_DEPTH {
            return Err(Trouble::Limit);
        }
        let leading = match self.paddings {
            Paddings::All => name.padding().then(name.as_source()),
            Paddings::BeforeArguments | Paddings::Few => name.padding(),
            Paddings::Blanks if name.has_blank_before() => Padding::SPACE,
            Paddings::Blanks => Padding::NONE,
        };
        let mut trailing = trailing;
        match self.surroundings.buffers.arena.get_mut(start) {
            None => trailing = leading.then(trailing),
            Some(first) if self.paddings == Paddings::Blanks => *first = first.spaced_like(name),
            Some(first) => *first = first.padded(leading),
        }
        if self.paddings == Paddings::All {
            trailing = trailing.then(Padding::SOURCELESS);
        }
        if self.is_multiline {
            for token in &mut self.surroundings.buffers.arena[start..] {
                token.lines = name.lines;
            }
        }
        self.push_context(start, Some(name.symbol), Rescan::Due, trailing);
        Ok(())
    }

    fn push_context(&mut self, start: usize, disables: Option<Symbol>, rescan: Rescan, trailing: Padding) {
        let end = self.surroundings.buffers.arena.len();
        self.surroundings.buffers.contexts.push(Context { start, at: start, end, disables, rescan, trailing });
        if let Some(symbol) = disables {
            self.surroundings.table.enter(symbol);
            self.entered += 1;
        }
    }

    fn pop(&mut self) {
        if let Some(context) = self.surroundings.buffers.contexts.pop() {
            self.surroundings.buffers.arena.truncate(context.start);
            if let Some(symbol) = context.disables {
                self.surroundings.table.leave(symbol);
                self.entered -= 1;
            }
        }
    }
}

/// Names of macros must not stay disabled when an expansion is given up half-way.
impl Drop for Expander<'_> {
    fn drop(&mut self) {
        while !self.surroundings.buffers.contexts.is_empty() {
            self.pop();
        }
        self.surroundings.buffers.scratch.clear();
        self.surroundings.buffers.ends.clear();
        self.surroundings.buffers.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;
    use crate::command::Family;
    use crate::scan::preprocess::trial::Trial;

    fn check(macros: &[&str], line: &str, expect: &str) {
        for family in [Family::Gcc, Family::Clang] {
            let expanded = Trial::of(macros).like(family).expand(line);
            assert_eq!(expanded.as_deref(), Ok(expect), "{line:?} under {macros:?} as {family:?}");
        }
    }

    #[test]
    fn names_expand_to_what_they_stand_for() {
        check(&["A 1"], "A B", "1 B");
        check(&["A B", "B C", "C 2"], "A", "2");
        check(&["F(x) x+x", "A 1"], "F(A) F (2)", "1+1 2+2");
        check(&["F() 3"], "F() F", "3 F");
        check(&["F(x, y) y x"], "F((a, b), c)", "c (a, b)");
        check(&["F(...) __VA_ARGS__"], "F(a, b)", "a, b");
        check(&[], "__LINE__ __FILE__ __COUNTER__ __COUNTER__", "7 \"a.c\" 0 1");
    }

    #[test]
    fn a_macro_does_not_expand_within_itself() {
        check(&["A A+1"], "A", "A+1");
        check(&["A B", "B A"], "A B", "A B");
        check(&["F(x) x F"], "F(F)(1)", "F F(1)");
        // The example of the standard, C17 6.10.3.5.
        let macros = ["x 3", "f(a) f(x * (a))", "z z[0]", "g f", "t(a) a"];
        check(&macros, "t(t(g)(0) + t)(1)", "f(3 * (0)) + t(1)");
    }

    #[test]
    fn uses_that_the_compiler_refuses_are_malformed() {
        for line in ["F(1", "F(1, 2)", "F("] {
            assert_eq!(Trial::of(&["F(x) x"]).expand(line), Err(Trouble::Malformed), "{line}");
        }
    }

    #[test]
    fn a_macro_with_several_definitions_is_unknown() {
        let mut trial = Trial::of(&[]);
        let (symbol, one) = trial.define("A 1");
        let (_, other) = trial.define("A f(x)");
        trial.table.write(symbol, trial.definitions.alternatives([one, other]));
        assert_eq!(trial.expand("A + 1").as_deref(), Ok("? + 1"));
    }
}
