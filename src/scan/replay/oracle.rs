//! The answers to `__has_include` and `__has_builtin` and their kinds, within a replay.

use crate::command::Family;
use crate::fallback::Fallback;
use crate::scan::closure::record::Record;
use crate::scan::preprocess::condition::{HeaderOperator, Oracle};
use crate::scan::preprocess::macros::FrameClock;
use crate::scan::preprocess::program::{Inclusion, Program, header_name};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::search::header::Includer;
use crate::scan::search::lookup::Found;
use crate::scan::search::setting::{Searcher, Setting};

pub(super) struct HeaderOracle<'a> {
    pub(super) setting: &'a Setting,
    pub(super) searcher: Searcher<'a>,
    pub(super) includer: Includer<'a>,
    pub(super) record: &'a mut Record,
    /// The file that asks.
    pub(super) program: &'a Program,
    pub(super) clock: FrameClock,
}

impl Oracle for HeaderOracle<'_> {
    fn has_header(&mut self, operator: HeaderOperator, operand: &[u8]) -> Result<Option<u64>, Fallback> {
        let Some(name) = header_name(operand, self.searcher.symbols) else { return Ok(None) };
        let how = match operator {
            HeaderOperator::Embed => return Ok(None),
            // gcc may find it: nobody has use for that.
            _ if self.searcher.symbols.text(name.name).is_empty() => return Ok(None),
            // Within a macro clang has forgotten where it found the file, and searches from the start.
            HeaderOperator::IncludeNext { is_in_macro: true } if self.setting.family == Family::Clang => {
                Inclusion::Plain
            }
            HeaderOperator::IncludeNext { .. } => Inclusion::Next,
            HeaderOperator::Include => Inclusion::Plain,
        };
        let lookup = self.setting.look_up(name, how, self.includer, &self.searcher);
        self.record.add_lookup(&lookup, self.clock);
        self.record.add_probed(&lookup);
        if self.searcher.symbols.text(name.name).starts_with(b"/")
            && let Found::Header(header) = &lookup.found
        {
            self.record.add_absolute(&header.file);
        }
        match &lookup.found {
            Found::Header(_) | Found::NullDevice => Ok(Some(1)),
            Found::Nothing => Ok(Some(0)),
            Found::Refused(fallback) => Err(fallback.clone()),
        }
    }

    fn has_feature(&mut self, operator: Symbol, operand: &[u8]) -> Result<Option<u64>, Fallback> {
        let operator = self.searcher.symbols.text(operator);
        let question = |operand: &[u8]| [operator, b"(", operand, b")"].concat();
        // What else the file may ask by the same macro costs next to nothing more.
        let others = || self.program.operands_of_calls().into_iter().map(question).collect();
        self.setting.probe.feature(&question(operand), others, self.setting.start.path())
    }
}
