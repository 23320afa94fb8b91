//! The arguments of a function-like macro: collected up to the parenthesis, and expanded where the macro wants it.
//!
//! **Source:** C17 6.10.3; `collect_args` in gcc's libcpp/macro.cc, `ReadMacroCallArgumentList` in clang.

use crate::scan::limits::{MAX_ARGUMENT_DEPTH, MAX_EXPANSION_TOKENS};
use crate::scan::preprocess::definitions::Body;
use crate::scan::preprocess::expand::{Expander, Paddings, Rescan, Trouble};
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::symbols::known;
use crate::scan::preprocess::tokens::{Flags, Kind, Token};

/// One argument, or what it was expanded to: a range of the scratch tokens, and what it leaves for the token behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) trailing: Padding,
}

/// The arguments of one use of a macro.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments {
    /// Where the first argument stands among the ranges, as written.
    pub(super) raw: usize,
    /// Where the first argument stands among the ranges, expanded where the macro wants it so.
    pub(super) expanded: usize,
    pub(super) variadic: Option<usize>,
    pub(super) rest: Rest,
}

/// The variadic argument of a use, as far as the comma of `, ## __VA_ARGS__` goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It was left out: the comma goes as well.
    Omitted,
    /// It is given, or there is none to give.
    Given,
}

/// Where a use of a function-like macro ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collected {
    /// The closing parenthesis.
    pub(super) close: Token,
    pub(super) rest: Rest,
}

impl Arguments {
    /// Those of an object-like macro.
    pub(super) const fn none() -> Self {
        Self { raw: 0, expanded: 0, variadic: None, rest: Rest::Given }
    }
}

impl Expander<'_> {
    /// Collects the arguments for the `parameters` of `body` up to the closing parenthesis; the opening one has been read.
    /// The tokens go to `scratch`, the places where arguments end to `ends`.
    pub(super) fn collect(&mut self, parameters: usize, body: &Body) -> Result<Collected, Trouble> {
        let first_token = self.surroundings.buffers.scratch.len();
        let first_end = self.surroundings.buffers.ends.len();
        let mut depth = 0;
        let close = loop {
            let mut token = self.next_raw().ok_or(Trouble::Malformed)?;
            let collected = self.surroundings.buffers.ends.len() - first_end + 1;
            if token.is(known::CLOSE) {
                if depth == 0 {
                    break token;
                }
                depth -= 1;
            } else if token.is(known::OPEN) {
                depth += 1;
            } else if token.is(known::COMMA) && depth == 0 && !(body.is_variadic && collected == parameters) {
                self.surroundings.buffers.ends.push(self.surroundings.buffers.scratch.len());
                continue;
            } else if token.kind == Kind::Identifier && self.surroundings.table.is_busy(token.symbol) {
                token.flags = token.flags.with(Flags::NO_EXPAND);
            }
            self.made += 1;
            if self.made > MAX_EXPANSION_TOKENS {
                return Err(Trouble::Limit);
            }
            let start = self.surroundings.buffers.ends[first_end..].last().copied().unwrap_or(first_token);
            if self.surroundings.buffers.scratch.len() == start {
                token = self.first_of_argument(token);
            }
            self.surroundings.buffers.scratch.push(token);
        };
        let end = self.surroundings.buffers.scratch.len();
        let collected = self.surroundings.buffers.ends.len() - first_end + 1;
        if parameters > 0 || collected > 1 || end > first_token {
            self.surroundings.buffers.ends.push(end);
        }
        let is_lone = parameters == 1 && end == first_token && !self.surroundings.keeps_lone_comma;
        let mut rest = if is_lone { Rest::Omitted } else { Rest::Given };
        if body.is_variadic && self.surroundings.buffers.ends.len() - first_end + 1 == parameters {
            self.surroundings.buffers.ends.push(end);
            rest = Rest::Omitted;
        }
        let is_complete = self.surroundings.buffers.ends.len() - first_end == parameters;
        if is_complete { Ok(Collected { close, rest }) } else { Err(Trouble::Malformed) }
    }

    /// `token` as the first one of an argument: what expansions left before it doesn't count there, unless for clang.
    fn first_of_argument(&self, token: Token) -> Token {
        if self.paddings == Paddings::Blanks { token.spaced_like(token) } else { token.with_padding(Padding::NONE) }
    }

    /// The arguments that were collected from `scratch` and `ends` on, expanded where `body` wants them so.
    pub(super) fn arguments(&mut self, scratch: usize, ends: usize, body: &Body) -> Result<Arguments, Trouble> {
        let raw = self.surroundings.buffers.ranges.len();
        let mut start = scratch;
        for end in &self.surroundings.buffers.ends[ends..] {
            self.surroundings.buffers.ranges.push(Range { start, end: *end, trailing: Padding::NONE });
            start = *end;
        }
        let count = self.surroundings.buffers.ranges.len() - raw;
        let expanded = raw + count;
        for at in 0..count {
            let range = self.surroundings.buffers.ranges[raw + at];
            let range = if body.expands[at] { self.expand_argument(range)? } else { range };
            self.surroundings.buffers.ranges.push(range);
        }
        Ok(Arguments { raw, expanded, variadic: body.is_variadic.then(|| count - 1), rest: Rest::Given })
    }

    /// The tokens of `argument`, expanded by themselves: where the result stands.
    fn expand_argument(&mut self, argument: Range) -> Result<Range, Trouble> {
        let Range { start, end, .. } = argument;
        if !(start..end).any(|at| self.may_expand(at)) {
            return Ok(argument);
        }
        if self.argument_depth >= MAX_ARGUMENT_DEPTH {
            return Err(Trouble::Limit);
        }
        let outer_floor = std::mem::replace(&mut self.floor, self.surroundings.buffers.contexts.len());
        self.argument_depth += 1;
        let context = self.surroundings.buffers.arena.len();
        self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start..end]);
        self.push_context(context, None, Rescan::Due, Padding::NONE);
        let first = self.surroundings.buffers.scratch.len();
        let expanded = loop {
            match self.next() {
                Ok(Some(token)) => self.surroundings.buffers.scratch.push(token),
                Ok(None) => {
                    // clang forgets the blanks at an argument's end.
                    let trailing = std::mem::take(&mut self.pending);
                    let trailing = if self.paddings == Paddings::Blanks { Padding::NONE } else { trailing };
                    break Ok(Range { start: first, end: self.surroundings.buffers.scratch.len(), trailing });
                }
                Err(trouble) => break Err(trouble),
            }
        };
        while self.surroundings.buffers.contexts.len() > self.floor {
            self.pop();
        }
        self.argument_depth -= 1;
        self.floor = outer_floor;
        expanded
    }

    /// Whether the token of `scratch` at `at` names a macro.
    pub(super) fn may_expand(&mut self, at: usize) -> bool {
        let token = self.surroundings.buffers.scratch[at];
        token.kind == Kind::Identifier && !token.flags.has(Flags::NO_EXPAND) && self.state(token.symbol).is_some()
    }
}
