//! The words in which rows are written.

pub(super) use super::super::columns::{Asked, PathKind};
pub(super) use super::super::meaning::{
    Color, Dependencies, Diagnostic, HandOn, Input, Meaning, Output, Phases, PrefixMap, Preprocessor, Product,
    SaveTemps, Search, Seed, Switch,
};
pub(super) use super::super::{Families, Flag, Operand};
pub(super) use crate::command::SearchChain;
pub(super) use Families::{Both, Clang, Gcc};
pub(super) use Operand::{Either, Joined, None, Separate};

use super::super::columns::{Distcc, Names, Selects};
use super::super::meaning::Plain;
use crate::fallback::Reason;

pub(super) const NOT_A_COMPILE: Meaning = Meaning::Refuse(Reason::NotACompile);
pub(super) const UNSUPPORTED: Meaning = Meaning::Refuse(Reason::UnsupportedFlag);
pub(super) const HEADER_MAP: Meaning = Meaning::Refuse(Reason::HeaderMap);
pub(super) const MODULES: Meaning = Meaning::Refuse(Reason::Modules);
pub(super) const PRECOMPILED: Meaning = Meaning::Refuse(Reason::PrecompiledHeader);
pub(super) const PASS: Meaning = Meaning::Plain(Plain::Pass);
pub(super) const MACHINE: Meaning = Meaning::Plain(Plain::Machine);
pub(super) const IRRELEVANT: Meaning = Meaning::Plain(Plain::Irrelevant);
pub(super) const WARNING: Meaning = Meaning::Plain(Plain::Warning);
pub(super) const GUESS: Meaning = Meaning::Plain(Plain::Guess);

/// A row whose other columns follow from its meaning.
pub(super) const fn flag(families: Families, spelling: &'static str, operand: Operand, meaning: Meaning) -> Flag {
    let names = if matches!(operand, Operand::None) { Names::Nothing } else { meaning.names() };
    Flag {
        spelling,
        operand,
        families,
        meaning,
        names,
        asked: meaning.asked(),
        under_m: meaning.under_m(),
        distcc: Distcc::Untranslated,
        selects: Selects::Nothing,
    }
}

impl Flag {
    /// A row whose operand names another kind of path than its meaning tells.
    pub(super) const fn naming(self, kind: PathKind) -> Self {
        Self { names: Names::Path(kind), ..self }
    }

    /// A row on which other answers hang than its meaning tells.
    pub(super) const fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// A row whose absolute operand distcc's server translates, as the `place`th that it compares with.
    pub(super) const fn translated(self, place: u8) -> Self {
        Self { distcc: Distcc::Translated(place), ..self }
    }

    /// A row that selects the compiler's own directories.
    pub(super) const fn selecting(self) -> Self {
        Self { selects: Selects::Directories, ..self }
    }
}

pub(super) const fn phase(phases: Phases) -> Meaning {
    Meaning::Phase(phases)
}

pub(super) const fn preprocessor(preprocessor: Preprocessor) -> Meaning {
    Meaning::Preprocessor(preprocessor)
}

pub(super) const fn search(search: Search) -> Meaning {
    Meaning::Search(search)
}

pub(super) const fn dependencies(dependencies: Dependencies) -> Meaning {
    Meaning::Dependencies(dependencies)
}

pub(super) const fn hand_on(hand_on: HandOn) -> Meaning {
    Meaning::HandOn(hand_on)
}

pub(super) const fn input(input: Input) -> Meaning {
    Meaning::Input(input)
}

pub(super) const fn output(output: Output) -> Meaning {
    Meaning::Output(output)
}

pub(super) const fn seed(seed: Seed) -> Meaning {
    Meaning::Seed(seed)
}

pub(super) const fn diagnostic(diagnostic: Diagnostic) -> Meaning {
    Meaning::Diagnostic(diagnostic)
}
