//! Macros of one kind whose uses in text matter, as a replay finds them.
//!
//! What it does not know: how their uses are found, and what their expansion does.

use crate::scan::preprocess::definitions::Body;
use crate::scan::preprocess::symbols::{Symbol, Symbols};
use crate::scan::preprocess::tokens::Kind;
use crate::scan::text::words::{NameParts, Words};
use std::collections::{BTreeSet, HashSet};

/// The macros of one kind whose uses matter: those that are watched for now, and those that turned up meanwhile.
#[derive(Debug, Default)]
pub(crate) struct WatchedMacros {
    /// Macros whose uses the present replay looks for.
    pub(crate) known: BTreeSet<Symbol>,
    /// Macros that the present replay found.
    found: HashSet<Symbol>,
    /// All of these names, and their parts.
    parts: NameParts,
}

impl WatchedMacros {
    /// Whether uses in text are looked for.
    pub(crate) fn is_active(&self) -> bool {
        !self.known.is_empty()
    }

    /// `symbol` is one of them.
    pub(crate) fn note(&mut self, symbol: Symbol, symbols: &Symbols) {
        if !self.known.contains(&symbol) && self.found.insert(symbol) {
            self.parts.add(symbols.text(symbol));
        }
    }

    /// Notes `symbol` where its definition, which has `body`, uses a macro that is looked for, or a part of its name.
    pub(crate) fn note_user(&mut self, symbol: Symbol, body: &Body, symbols: &Symbols) {
        let mut names = body.tokens.iter().filter(|token| token.kind == Kind::Identifier);
        if self.is_active() && names.any(|name| self.parts.has(symbols.text(name.symbol))) {
            self.note(symbol, symbols);
        }
    }

    /// Goes on to look for those that were found, and returns those of which that was not done.
    pub(crate) fn seek_found(&mut self) -> Vec<Symbol> {
        let found: Vec<Symbol> = self.found.drain().collect();
        self.known.extend(&found);
        found
    }

    pub(crate) fn names<'n>(&self, symbols: &'n Symbols) -> HashSet<&'n [u8], foldhash::fast::RandomState> {
        self.known.iter().map(|name| symbols.text(*name)).collect()
    }

    /// Whether one of them, or a part of its name, may be one of `words`.
    pub(crate) fn may_stand_among(&self, words: &Words) -> bool {
        words.may_have(&self.parts)
    }
}
