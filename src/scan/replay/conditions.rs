//! What is known of conditions: each is evaluated under the macros of its place, once for each definition of a macro that
//! has several.

use crate::fallback::{Fallback, Reason};
use crate::scan::limits::MAX_CONDITION_ALTERNATIVES;
use crate::scan::preprocess::condition::{Problem, Truth, evaluate};
use crate::scan::preprocess::definitions::Definition;
use crate::scan::preprocess::expand::{Expander, ExpansionSite};
use crate::scan::preprocess::program::{Op, OperandId};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::replay::oracle::HeaderOracle;
use crate::scan::replay::{Cursor, Replay, surroundings};

/// How macros with several definitions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alternatives {
    /// The first one that is met is named.
    OneByOne,
    /// Where all definitions are numbers, the macro is a number that nobody knows.
    NumbersAtOnce,
}

impl Replay<'_> {
    /// What is known of the condition at `at`.
    pub(super) fn truth(&mut self, cursor: &Cursor<'_>, at: usize) -> Result<Truth, Fallback> {
        match cursor.program.ops[at] {
            Op::Ifdef { symbol, .. } | Op::Elifdef { symbol, .. } => Ok(self.is_defined(symbol)),
            Op::Ifndef { symbol, .. } | Op::Elifndef { symbol, .. } => Ok(match self.is_defined(symbol) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            }),
            Op::If { operand, .. } | Op::Elif { operand, .. } => {
                let counter = self.observations.counter;
                let mut alternatives = MAX_CONDITION_ALTERNATIVES;
                if let Some(truth) = self.evaluate(cursor, at, operand, &mut alternatives)? {
                    return Ok(truth);
                }
                self.observations.counter = counter;
                self.evaluate_at_once(cursor, at, operand)
            }
            _ => Ok(Truth::True),
        }
    }

    pub(super) fn is_defined(&mut self, symbol: Symbol) -> Truth {
        let state = self.table.read(symbol);
        if !state.is_some() {
            return Truth::False;
        }
        match self.world.definitions.get(state) {
            Definition::Alternatives(states) if states.iter().any(|state| !state.is_some()) => Truth::Unknown,
            _ => Truth::True,
        }
    }

    /// Evaluates a condition; once for each definition of a macro that has several. `None` where there are more than
    /// `alternatives` to try.
    fn evaluate(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        operand: OperandId,
        alternatives: &mut u32,
    ) -> Result<Option<Truth>, Fallback> {
        let counter = self.observations.counter;
        match self.value(cursor, at, operand, Alternatives::OneByOne)? {
            Ok(truth) => Ok(Some(truth)),
            Err(symbol) => {
                self.observations.counter = counter;
                self.evaluate_each(cursor, at, operand, symbol, alternatives)
            }
        }
    }

    /// Evaluates a condition in which macros that have several definitions, all of them numbers, have no known value.
    fn evaluate_at_once(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<Truth, Fallback> {
        self.value(cursor, at, operand, Alternatives::NumbersAtOnce)?.map_err(|_| {
            self.refuse_at(cursor, at, Reason::ScanLimit, "a condition on too many macros with several definitions")
        })
    }

    /// What is known of a condition, or a macro with several definitions on which it depends.
    fn value(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        operand: OperandId,
        alternatives: Alternatives,
    ) -> Result<Result<Truth, Symbol>, Fallback> {
        let tokens = cursor.program.condition(operand, &self.world.symbols);
        let clock = self.clock();
        let file = self.world.symbols.text(cursor.header.spelled);
        let position = self.position(cursor, at, file);
        let state = (&mut *self.table, &mut self.observations, &mut self.buffers);
        let surroundings = surroundings(self.world, self.setting, (ExpansionSite::Directive, position), state);
        let mut expander = Expander::new(surroundings, tokens);
        expander.takes_numbers_at_once = alternatives == Alternatives::NumbersAtOnce;
        let mut oracle = HeaderOracle {
            setting: self.setting,
            searcher: self.searcher,
            includer: cursor.includer(),
            record: &mut self.record,
            program: cursor.program,
            clock,
        };
        let truth = evaluate(expander, &mut oracle);
        self.settle(cursor, at)?;
        match truth {
            Ok(truth) => Ok(Ok(truth)),
            Err(Problem::Unknown) => Ok(Ok(Truth::Unknown)),
            Err(Problem::Undecided(symbol)) => Ok(Err(symbol)),
            Err(Problem::Limit) => Err(self.refuse_at(cursor, at, Reason::ScanLimit, "a condition is too large")),
            Err(Problem::Fallback(mut fallback)) => {
                if fallback.location.is_none() {
                    fallback.location = Some(self.location(cursor, at));
                }
                Err(fallback)
            }
        }
    }

    /// Evaluates a condition under each definition of `symbol`.
    fn evaluate_each(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        operand: OperandId,
        symbol: Symbol,
        alternatives: &mut u32,
    ) -> Result<Option<Truth>, Fallback> {
        let state = self.table.read(symbol);
        let Definition::Alternatives(states) = self.world.definitions.get(state) else {
            return Ok(Some(Truth::Unknown));
        };
        let (mut all, mut ends) = (None, Vec::with_capacity(states.len()));
        let counter = self.observations.counter;
        for state in states {
            self.observations.counter = counter;
            let Some(left) = alternatives.checked_sub(1) else { return Ok(None) };
            *alternatives = left;
            let branch = self.begin_unknown(cursor, at)?;
            self.table.write(symbol, *state);
            let truth = self.evaluate(cursor, at, operand, alternatives);
            ends.push(self.observations.counter);
            self.end_unknown(cursor, at, branch)?;
            let Some(truth) = truth? else { return Ok(None) };
            all = Some(if all.is_none_or(|all| all == truth) { truth } else { Truth::Unknown });
        }
        let end = ends.first().copied().flatten();
        self.observations.counter = end.filter(|end| ends.iter().all(|other| *other == Some(*end)));
        Ok(Some(all.unwrap_or(Truth::Unknown)))
    }
}
