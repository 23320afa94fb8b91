//! Groups of conditions, and what becomes of the macros where a condition is unknown.

use crate::fallback::{Fallback, Reason};
use crate::scan::limits::{MAX_ALTERNATIVES, MAX_UNKNOWN_BRANCHES, MAX_UNKNOWN_DEPTH};
use crate::scan::preprocess::condition::Truth;
use crate::scan::preprocess::definitions::{Definition, DefinitionId};
use crate::scan::preprocess::macros::{Branch, States};
use crate::scan::preprocess::program::Op;
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::{Kind, Token};
use crate::scan::replay::{Cursor, Replay, end_of_group};
use std::collections::HashMap;

/// The moment before an unknown branch.
#[derive(Debug)]
pub(super) struct Unknown {
    branch: Branch,
    counter: Option<u64>,
}

/// What unknown branches left behind, one after the other.
pub(super) type Outcomes = Vec<States>;

impl Replay<'_> {
    /// Enters the group that starts at `at`; gives the step to go on with.
    pub(super) fn group(&mut self, cursor: &mut Cursor<'_>, at: usize) -> Result<usize, Fallback> {
        let mut at = at;
        loop {
            match self.truth(cursor, at)? {
                Truth::True => return Ok(at + 1),
                Truth::Unknown => return self.fork(cursor, at),
                Truth::False => {
                    at = cursor.program.ops[at].next_branch().expect("only branches are asked for their truth");
                    if matches!(cursor.program.ops[at], Op::Endif) {
                        return Ok(at + 1);
                    }
                }
            }
        }
    }

    /// Takes the branch at `at`, which the compiler may or may not take, and all that may come in its place.
    fn fork(&mut self, cursor: &mut Cursor<'_>, at: usize) -> Result<usize, Fallback> {
        let end = end_of_group(cursor.program, at);
        let mut outcomes = Outcomes::new();
        let mut at = at;
        let mut truth = Truth::Unknown;
        loop {
            let next = cursor.program.ops[at].next_branch().unwrap_or(end);
            if truth != Truth::False {
                let branch = self.begin_unknown(cursor, at)?;
                self.refine(cursor, at, Taken::Yes);
                let shift = (cursor.line_shift, cursor.presumed.clone());
                self.run_ops(cursor, at + 1, next)?;
                (cursor.line_shift, cursor.presumed) = shift;
                outcomes.push(self.end_unknown(cursor, at, branch)?);
            }
            if truth == Truth::True {
                break;
            }
            if next == end {
                let branch = self.begin_unknown(cursor, at)?;
                self.refine(cursor, at, Taken::No);
                outcomes.push(self.end_unknown(cursor, at, branch)?);
                break;
            }
            at = next;
            // The compiler may not have come here, and not have counted.
            let counter = self.observations.counter;
            truth = self.truth(cursor, at)?;
            if self.observations.counter != counter {
                self.observations.counter = None;
            }
        }
        self.merge(cursor, at, outcomes)?;
        Ok(end + 1)
    }

    /// Begins what the compiler may or may not do.
    pub(super) fn begin_unknown(&mut self, cursor: &Cursor<'_>, at: usize) -> Result<Unknown, Fallback> {
        self.branches += 1;
        self.unknown_depth += 1;
        if self.branches > MAX_UNKNOWN_BRANCHES || self.unknown_depth > MAX_UNKNOWN_DEPTH {
            return Err(self.refuse_at(
                cursor,
                at,
                Reason::ScanLimit,
                "too many conditions that only the compiler knows",
            ));
        }
        Ok(Unknown { branch: self.table.begin_branch(), counter: self.observations.counter })
    }

    #[expect(clippy::needless_pass_by_value, reason = "a branch ends once")]
    pub(super) fn end_unknown(&mut self, cursor: &Cursor<'_>, at: usize, before: Unknown) -> Result<States, Fallback> {
        self.unknown_depth -= 1;
        if self.observations.counter != before.counter {
            self.observations.counter = None;
        }
        self.table.undo_branch(&before.branch).ok_or_else(|| {
            self.refuse_at(cursor, at, Reason::Unscannable, "macros are pushed or popped under an unknown condition")
        })
    }

    /// Does `work` under each definition that the macro `symbol` may have, and goes on with all that may have come of it.
    pub(super) fn under_each_definition(
        &mut self,
        cursor: &mut Cursor<'_>,
        at: usize,
        symbol: Symbol,
        mut work: impl FnMut(&mut Self, &mut Cursor<'_>) -> Result<(), Fallback>,
    ) -> Result<(), Fallback> {
        let state = self.table.read(symbol);
        let Definition::Alternatives(states) = self.world.definitions.get(state) else { return Ok(()) };
        let mut outcomes = Outcomes::new();
        for state in states {
            let branch = self.begin_unknown(cursor, at)?;
            self.table.write(symbol, *state);
            let done = work(self, cursor);
            let outcome = self.end_unknown(cursor, at, branch);
            done?;
            outcomes.push(outcome?);
        }
        self.merge(cursor, at, outcomes)
    }

    /// Gives every macro that `outcomes` differ in all the definitions that it may have.
    pub(super) fn merge(&mut self, cursor: &Cursor<'_>, at: usize, outcomes: Outcomes) -> Result<(), Fallback> {
        let mut written: HashMap<Symbol, Vec<DefinitionId>, foldhash::fast::RandomState> = HashMap::default();
        let branches = outcomes.len();
        for (symbol, state) in outcomes.into_iter().flatten() {
            written.entry(symbol).or_default().push(state);
        }
        let mut written: Vec<_> = written.into_iter().collect();
        written.sort_unstable_by_key(|(symbol, _)| *symbol);
        for (symbol, mut states) in written {
            if states.len() < branches {
                states.push(self.table.read(symbol));
            }
            let state = self.world.definitions.alternatives(states);
            if let Definition::Alternatives(states) = self.world.definitions.get(state)
                && states.len() > MAX_ALTERNATIVES
            {
                return Err(self.refuse_at(cursor, at, Reason::ScanLimit, "a macro has too many possible definitions"));
            }
            self.table.write(symbol, state);
        }
        Ok(())
    }

    /// Keeps of a macro's possible definitions those under which the branch at `at` is taken, or is not.
    fn refine(&mut self, cursor: &Cursor<'_>, at: usize, taken: Taken) {
        let Some((symbol, is_defined)) = self.tested_macro(cursor, at) else { return };
        let state = self.table.read(symbol);
        let Definition::Alternatives(states) = self.world.definitions.get(state) else { return };
        let keeps_defined = is_defined == (taken == Taken::Yes);
        let kept: Vec<_> = states.iter().copied().filter(|state| state.is_some() == keeps_defined).collect();
        if !kept.is_empty() {
            let refined = self.world.definitions.alternatives(kept);
            self.table.write(symbol, refined);
        }
    }

    /// The macro whose definition is all that the branch at `at` tests, and whether it must be defined.
    fn tested_macro(&self, cursor: &Cursor<'_>, at: usize) -> Option<(Symbol, bool)> {
        match cursor.program.ops[at] {
            Op::Ifdef { symbol, .. } | Op::Elifdef { symbol, .. } => Some((symbol, true)),
            Op::Ifndef { symbol, .. } | Op::Elifndef { symbol, .. } => Some((symbol, false)),
            Op::If { operand, .. } | Op::Elif { operand, .. } => {
                let tokens = cursor.program.condition(operand, &self.world.symbols);
                let (tokens, is_defined) = match tokens {
                    [not, rest @ ..] if not.is(known::NOT) => (rest, false),
                    tokens => (tokens, true),
                };
                defined_operand(tokens).map(|symbol| (symbol, is_defined))
            }
            _ => None,
        }
    }
}

/// The operand of `defined`, if `tokens` are that alone.
fn defined_operand(tokens: &[Token]) -> Option<Symbol> {
    let (defined, operand) = tokens.split_first()?;
    if !defined.is_name(known::DEFINED) {
        return None;
    }
    match operand {
        [name] if name.kind == Kind::Identifier => Some(name.symbol),
        [open, name, close] if open.is(known::OPEN) && close.is(known::CLOSE) && name.kind == Kind::Identifier => {
            Some(name.symbol)
        }
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
}
