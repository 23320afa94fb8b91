//! Expansions that were made before: what an object-like macro alone becomes, by the states that its expansion read.
//!
//! The slots of Boost's preprocessor library ask for the same long expansion dozens of times, once for each digit.
//!
//! Invariant: an expansion is remembered only where it is the same whatever stands around the name: no macro is being
//! expanded, the last token can't take what follows for its arguments, and nothing in it has to be read unexpanded.

use crate::scan::preprocess::definitions::{Body, Builtin, Definition, DefinitionId};
use crate::scan::preprocess::expand::{Expander, ExpansionSite, Rescan, Trouble};
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::{Flags, Kind, Token};
use std::collections::HashMap;

/// How many expansions a replay remembers.
const MAX_WHOLES: usize = 4096;

/// Expansions by the name as it stands, its definition, and where it stands.
pub(super) type Wholes = HashMap<(Symbol, DefinitionId, Flags, ExpansionSite), Whole, foldhash::fast::RandomState>;

/// What is known of an expansion.
#[derive(Debug)]
pub(super) enum Whole {
    /// It was made once: the next one is remembered.
    Seen,
    /// It depends on what stands around it.
    Open,
    Known {
        reads: Box<[(Symbol, DefinitionId)]>,
        tokens: Box<[Token]>,
        trailing: Padding,
    },
}

impl Expander<'_> {
    /// Makes a context of the whole expansion of `name`, if it is known or comes to be known now.
    pub(super) fn take_whole(&mut self, name: Token, id: DefinitionId, body: &Body) -> bool {
        if !body.tokens.iter().any(|token| token.kind == Kind::Identifier) {
            return false;
        }
        let key = (name.symbol, id, name.flags, self.surroundings.site);
        match self.surroundings.buffers.wholes.get(&key) {
            None => {
                if self.surroundings.buffers.wholes.len() < MAX_WHOLES {
                    self.surroundings.buffers.wholes.insert(key, Whole::Seen);
                }
                return false;
            }
            Some(Whole::Open) => return false,
            Some(Whole::Known { reads, tokens, trailing }) => {
                let trailing = *trailing;
                if reads.iter().all(|(symbol, state)| self.surroundings.table.peek(*symbol) == *state) {
                    let start = self.surroundings.buffers.arena.len();
                    self.surroundings.buffers.arena.extend_from_slice(tokens);
                    self.surroundings.observations.tokens += 1;
                    if self.surroundings.table.is_recording() {
                        for (symbol, _) in reads {
                            self.surroundings.table.read(*symbol);
                        }
                    }
                    self.push_context(start, None, Rescan::Done, trailing);
                    return true;
                }
            }
            Some(Whole::Seen) => {}
        }
        let (observations, undecided) = (*self.surroundings.observations, self.undecided);
        let first = self.surroundings.buffers.scratch.len();
        self.reads = Some(Vec::new());
        let expanded = self.expand_alone(name, body);
        let trailing = std::mem::take(&mut self.pending);
        let mut reads = self.reads.take().unwrap_or_default();
        let is_closed =
            expanded.is_ok() && self.undecided == undecided && !self.tells_place(&reads) && self.is_closed(first);
        let whole = if is_closed {
            reads.sort_unstable();
            reads.dedup();
            let tokens = Box::from(&self.surroundings.buffers.scratch[first..]);
            let start = self.surroundings.buffers.arena.len();
            self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[first..]);
            self.push_context(start, None, Rescan::Done, trailing);
            Whole::Known { reads: reads.into_boxed_slice(), tokens, trailing }
        } else {
            (*self.surroundings.observations, self.undecided) = (observations, undecided);
            Whole::Open
        };
        self.surroundings.buffers.scratch.truncate(first);
        self.surroundings.buffers.wholes.insert(key, whole);
        is_closed
    }

    /// Appends to the scratch tokens what `name` becomes where nothing follows it.
    fn expand_alone(&mut self, name: Token, body: &Body) -> Result<(), Trouble> {
        let outer_floor = std::mem::replace(&mut self.floor, self.surroundings.buffers.contexts.len());
        let expanded = self.enter_object(name, body).and_then(|()| {
            while let Some(token) = self.next()? {
                self.surroundings.buffers.scratch.push(token);
            }
            Ok(())
        });
        while self.surroundings.buffers.contexts.len() > self.floor {
            self.pop();
        }
        self.floor = outer_floor;
        expanded
    }

    /// Whether one of the macros that were read is computed at each use.
    fn tells_place(&self, reads: &[(Symbol, DefinitionId)]) -> bool {
        let is_computed = |state| matches!(self.surroundings.definitions.get(state), Definition::Builtin(builtin) if *builtin != Builtin::Operator);
        reads.iter().any(|(_, state)| is_computed(*state))
    }

    /// Whether the scratch tokens from `first` on are the same whatever stands around them, and at any other place.
    fn is_closed(&mut self, first: usize) -> bool {
        let is_last_open = (self.surroundings.buffers.scratch.len() > first)
            && self.may_expand(self.surroundings.buffers.scratch.len() - 1);
        !is_last_open
            && (first..self.surroundings.buffers.scratch.len()).all(|at| {
                let token = self.surroundings.buffers.scratch[at];
                let state = self.surroundings.table.peek(token.symbol);
                token.kind != Kind::Unknown
                    && !token.is_name(known::DEFINED)
                    && !(token.kind == Kind::Identifier
                        && matches!(self.surroundings.definitions.get(state), Definition::Builtin(Builtin::Operator)))
            })
    }
}

#[cfg(test)]
mod tests {
    use crate::scan::preprocess::trial::Trial;

    #[test]
    fn what_is_remembered_is_what_would_be_made() {
        let mut trial = Trial::of(&["A B + C", "B (D)", "C 3", "D 4", "F(x) [x]"]);
        let check = |trial: &mut Trial, line: &str, expect: &str| {
            for _ in 0..3 {
                assert_eq!(trial.expand(line).as_deref(), Ok(expect), "{line}");
            }
        };
        check(&mut trial, "A", "(4) + 3");
        check(&mut trial, "F(A) A", "[(4) + 3] (4) + 3");
        // Another definition of what it read is another expansion.
        let (symbol, definition) = trial.define("D 5");
        trial.table.write(symbol, definition);
        check(&mut trial, "A", "(5) + 3");
        let (symbol, definition) = trial.define("C F");
        trial.table.write(symbol, definition);
        check(&mut trial, "A(6)", "(5) + [6]");
    }
}
