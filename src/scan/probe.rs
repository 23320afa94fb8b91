//! What a compiler says of itself: predefined macros, its own search path, the features that it has.
//!
//! One run of the real driver, under the flags at hand and with the language at hand, answers all of it; the answer is
//! kept by the compiler's identity, the flags and the environment. Questions about features that nobody thought of
//! before cost another run, and are kept as well.
//!
//! * [`probes`]: all answers that a scanner has, and who is asked next
//! * [`key`]: what tells questions apart; [`run`]: how one is asked; [`question`] and [`answer`]: its text, and the reply's
//! * [`build`]: from a reply to what a replay needs
//! * [`driver`]: what a driver would run, where the command line alone doesn't tell
//! * [`places`]: what is watched where a compiler can't be traced
//!
//! What it does not know: the directories and macros that a command line names; those are the caller's business.

mod answer;
mod build;
mod driver;
mod key;
mod places;
mod probes;
mod question;
mod run;

use crate::compiler::process::Request;
use crate::compiler::trace::sights::Validity;
use crate::fallback::Fallback;
use crate::files::file::SourceFile;
use crate::files::resolve::Trail;
use crate::files::since::Since;
use crate::files::stamp::watch::Watch;
use crate::scan::lex::directives::LexModes;
use crate::scan::limits::{MAX_FEATURE_QUESTIONS, MAX_FEATURES_AT_ONCE};
use crate::scan::preprocess::definitions::DefinitionId;
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::preprocess::tokens::TokenModes;
use answer::Values;
pub(crate) use build::Context;
use dashmap::{DashMap, DashSet};
pub(crate) use driver::DriverAnswer;
use key::ProbeKey;
pub(crate) use probes::Probes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A compiler's answers under one set of flags.
#[expect(clippy::struct_excessive_bools, reason = "independent traits of a compiler")]
#[derive(Debug)]
pub(crate) struct Probe {
    /// The macros that are defined before the first line, in order.
    pub(crate) predefined: Vec<(Symbol, DefinitionId)>,
    /// Directories that the driver puts before the user's `-isystem` ones (`-B`).
    pub(crate) driver_directories: Vec<Vec<u8>>,
    /// The compiler's own directories, in order.
    pub(crate) standard_directories: Vec<Vec<u8>>,
    /// Those among its own directories that don't exist.
    pub(crate) missing_directories: Vec<Vec<u8>>,
    /// Files of the compiler's resource directory that every compile reads: lists of sanitizers.
    pub(crate) resources: Vec<Arc<SourceFile>>,
    /// The header that is included before all others, if there is one.
    pub(crate) preinclude: Option<&'static [u8]>,
    pub(crate) lex_modes: LexModes,
    pub(crate) token_modes: TokenModes,
    /// Whether `__VA_OPT__` is an operator.
    pub(crate) has_va_opt: bool,
    /// Whether the comma stays where a macro's only parameter is variadic and its argument empty.
    pub(crate) keeps_lone_comma: bool,
    /// Whether characters don't have the numbers of ASCII.
    pub(crate) has_foreign_characters: bool,
    /// A number that no other probe of the scanner has.
    pub(crate) id: u32,
    /// Whether the driver read a file of options, which this is asked without understanding.
    is_configured: bool,
    trail: Trail,
    key: ProbeKey,
    /// What the driver and the compiler proper looked for.
    /// The compiler's files that the validity doesn't hold, for they are reached by links.
    linked: Vec<Watch>,
    validity: Validity,
    request: Request,
    later_features: AtomicBool,
    features: DashMap<Vec<u8>, Option<u64>, foldhash::fast::RandomState>,
    /// What any compiler was asked so far.
    asked: Arc<Asked>,
}

/// Questions about features.
type Asked = DashSet<Vec<u8>, foldhash::fast::RandomState>;

impl Probe {
    /// Whether the compiler is the same one still. Costs a `stat` for each file of it that nobody has looked at since `asked`.
    pub(crate) fn is_same_compiler(&self, asked: Instant) -> bool {
        self.linked.iter().all(Watch::holds) && self.validity.holds(Since::at(asked))
    }

    /// The value of `question`, say `__has_builtin(__builtin_expect)`; `None` where the compiler refuses it. Costs a run of
    /// the compiler from `directory` where it is new: `others`, and what other compilers were asked, are asked in the same
    /// run.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where the compiler can't be run.
    pub(crate) fn feature(
        &self,
        question: &[u8],
        others: impl FnOnce() -> Vec<Vec<u8>>,
        directory: &Path,
    ) -> Result<Option<u64>, Fallback> {
        if let Some(answer) = self.features.get(question) {
            return Ok(*answer);
        }
        if self.features.len() >= MAX_FEATURE_QUESTIONS {
            return Ok(None);
        }
        if self.asked.len() < MAX_FEATURE_QUESTIONS {
            self.asked.insert(question.to_vec());
        }
        let is_new = |other: &Vec<u8>| other != question && !self.features.contains_key(other);
        let asked = self.asked.iter().map(|other| other.clone());
        let room = (MAX_FEATURE_QUESTIONS - self.features.len()).min(MAX_FEATURES_AT_ONCE);
        let questions: BTreeSet<Vec<u8>> = others().into_iter().chain(asked).filter(is_new).take(room).collect();
        let questions: Vec<_> = [question.to_vec()].into_iter().chain(questions).collect();
        let mut answers = self.ask(&questions, directory)?;
        answers.retain(|(_, value)| value.is_some());
        if answers.first().is_none_or(|(first, _)| first != question) {
            // Where the compiler refuses it, the others may be to blame.
            answers.extend(self.ask(&questions[..1], directory)?);
        }
        for (question, value) in answers {
            self.features.insert(question, value);
        }
        self.later_features.store(true, Ordering::Relaxed);
        Ok(self.features.get(question).and_then(|answer| *answer))
    }

    fn ask(&self, questions: &[Vec<u8>], directory: &Path) -> Result<Values, Fallback> {
        // Where it doesn't matter, that is cheaper.
        let directory = if self.key.is_from_anywhere() { PathBuf::new() } else { directory.to_owned() };
        let request = Request { directory, ..self.request.clone() };
        let output = run::preprocess(&request, &question::about(questions))?;
        Ok(answer::features(&output.standard_output, questions))
    }
}
