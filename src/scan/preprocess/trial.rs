//! What the tests of this floor share: a few definitions, and what becomes of a line under them.

use crate::command::Family;
use crate::fallback::Fallback;
use crate::scan::preprocess::condition::{HeaderOperator, Oracle, Problem, Truth, evaluate};
use crate::scan::preprocess::definitions::{Builtin, DefinitionId, Definitions};
use crate::scan::preprocess::expand::{
    Buffers, Expander, ExpansionSite, Observations, Position, Surroundings, Trouble,
};
use crate::scan::preprocess::macros::MacroTable;
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{Kind, Token, TokenModes, tokenize, tokenize_condition};

/// C++ as of 2014: every token that there is.
pub(crate) const CXX: TokenModes =
    TokenModes { digit_separators: true, cplusplus: true, raw_strings: true, no_dollars: false };

/// Macros, and what expansions need besides.
pub(crate) struct Trial {
    pub(crate) symbols: Symbols,
    pub(crate) definitions: Definitions,
    pub(crate) table: MacroTable,
    observations: Observations,
    buffers: Buffers,
    family: Family,
    site: ExpansionSite,
}

impl Trial {
    /// Defines `macros`, each as it stands behind `#define`; `__LINE__` is 7 and `__FILE__` is `a.c`.
    pub(crate) fn of(macros: &[&str]) -> Self {
        let (symbols, definitions, mut table) = (Symbols::default(), Definitions::default(), MacroTable::default());
        table.reset();
        table.write(known::LINE, definitions.builtin(Builtin::Line));
        table.write(known::FILE, definitions.builtin(Builtin::File));
        table.write(known::COUNTER, definitions.builtin(Builtin::Counter));
        table.write(known::HAS_INCLUDE, definitions.builtin(Builtin::Operator));
        let observations = Observations { counter: Some(0), ..Observations::default() };
        let mut trial = Self {
            symbols,
            definitions,
            table,
            observations,
            buffers: Buffers::default(),
            family: Family::Gcc,
            site: ExpansionSite::Text,
        };
        for text in macros {
            let (symbol, definition) = trial.define(text);
            trial.table.write(symbol, definition);
        }
        trial
    }

    /// The macro that `text` defines, which it does not have yet.
    pub(crate) fn define(&self, text: &str) -> (Symbol, DefinitionId) {
        let length = text.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').unwrap_or(text.len());
        (self.symbols.intern(&text.as_bytes()[..length]), self.definitions.text(text.as_bytes(), TokenModes::default()))
    }

    /// Goes on as `family` does.
    pub(crate) fn like(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Goes on as at `site`.
    pub(crate) fn at_site(mut self, site: ExpansionSite) -> Self {
        self.site = site;
        self
    }

    fn expander(&mut self, tokens: &[Token]) -> Expander<'_> {
        let position = Position { line: 7, file: b"a.c", base_file: b"a.c", is_mapped: false, include_level: 0 };
        let surroundings = Surroundings {
            table: &mut self.table,
            symbols: &self.symbols,
            definitions: &self.definitions,
            modes: TokenModes::default(),
            position,
            observations: &mut self.observations,
            has_va_opt: true,
            has_foreign_characters: false,
            keeps_lone_comma: false,
            family: self.family,
            site: self.site,
            buffers: &mut self.buffers,
        };
        Expander::new(surroundings, tokens)
    }

    /// `line` expanded, with a blank where one stands before a token; or what hinders that.
    pub(crate) fn expand(&mut self, line: &str) -> Result<String, Trouble> {
        let mut tokens = Vec::new();
        tokenize(line.as_bytes(), TokenModes::default(), &self.symbols, &mut tokens);
        let expanded = self.expander(&tokens).expand_all()?;
        Ok(spell(&expanded, &self.symbols))
    }

    /// Whether `#if line` holds, where only `"a.h"` is there and every other question has the answer 5.
    pub(crate) fn truth(&mut self, line: &str) -> Result<Truth, Problem> {
        let tokens = tokenize_condition(line.as_bytes(), TokenModes::default(), &self.symbols, &[]);
        evaluate(self.expander(&tokens), &mut OneHeader)
    }
}

/// Knows one header.
struct OneHeader;

impl Oracle for OneHeader {
    fn has_header(&mut self, _: HeaderOperator, operand: &[u8]) -> Result<Option<u64>, Fallback> {
        Ok(Some(u64::from(operand == b"\"a.h\"")))
    }

    fn has_feature(&mut self, _: Symbol, _: &[u8]) -> Result<Option<u64>, Fallback> {
        Ok(Some(5))
    }
}

/// `tokens` as text; `?` where nobody knows.
pub(crate) fn spell(tokens: &[Token], symbols: &Symbols) -> String {
    let mut text = String::new();
    for token in tokens {
        if token.has_blank_before() && !text.is_empty() {
            text.push(' ');
        }
        match token.kind {
            Kind::Unknown => text.push('?'),
            Kind::Parameter => text += &format!("${}", token.symbol.0),
            _ => text += &String::from_utf8_lossy(symbols.text(token.symbol)),
        }
    }
    text
}
