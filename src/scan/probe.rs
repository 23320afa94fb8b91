//! What a compiler says of itself: predefined macros, its own search path, the features that it has.
//!
//! One run of the real driver, under the flags at hand and with the language at hand, answers all of it; the answer is
//! kept by the compiler's identity, the flags and the environment. Questions about features that nobody thought of
//! before cost another run, and are kept as well.
//!
//! What it does not know: the directories and macros that a command line names; those are the caller's business.

mod answer;
mod key;
mod question;
mod run;

use crate::command::{Command, Family, Language};
use crate::fallback::Fallback;
use crate::files::resolve::Trail;
use crate::files::stamp::{KeptStamp, Stamp};
use crate::files::{FileStore, View};
use crate::scan::definitions::{Builtin, DefinitionId, Definitions};
use crate::scan::directives::LexModes;
use crate::scan::limits::MAX_FEATURE_QUESTIONS;
use crate::scan::symbols::{Symbol, Symbols, known};
use crate::scan::tokens::TokenModes;
use answer::{Answer, Feature, Transcript};
use dashmap::DashMap;
use dashmap::mapref::multiple::RefMulti;
pub(crate) use key::ProbeKey;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A compiler's answers under one set of flags.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The macros that are defined before the first line, in order.
    pub(crate) predefined: Vec<(Symbol, DefinitionId)>,
    /// Directories that the driver puts before the user's `-isystem` ones (`-B`).
    pub(crate) driver_directories: Vec<Vec<u8>>,
    /// The compiler's own directories, in order.
    pub(crate) standard_directories: Vec<Vec<u8>>,
    /// The header that is included before all others, if there is one.
    pub(crate) preinclude: Option<&'static [u8]>,
    pub(crate) lex_modes: LexModes,
    pub(crate) token_modes: TokenModes,
    /// Whether `__VA_OPT__` is an operator.
    pub(crate) has_va_opt: bool,
    /// A number that no other probe of the scanner has.
    pub(crate) id: u32,
    trail: Trail,
    key: ProbeKey,
    /// The program that the driver runs.
    front_end: Option<(PathBuf, Stamp)>,
    request: run::Request,
    later_features: AtomicBool,
    features: DashMap<Vec<u8>, Option<u64>, foldhash::fast::RandomState>,
}

/// All probes of a scanner.
#[derive(Debug)]
pub(crate) struct Probes {
    known: DashMap<ProbeKey, Arc<Probe>, foldhash::fast::RandomState>,
    directory: Option<PathBuf>,
    next: AtomicU32,
    asking: Mutex<()>,
}

impl Probes {
    /// Answers are kept in `directory` across daemons, if one is given.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self {
            known: DashMap::default(),
            directory: directory.map(|directory| directory.join("probes")),
            next: AtomicU32::new(0),
            asking: Mutex::new(()),
        }
    }

    /// What the compiler of `command` says under its flags. Costs a run of the compiler where that is new.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where the compiler gives no understandable answer.
    pub(crate) fn get(
        &self,
        command: &Command,
        store: &FileStore,
        view: View,
        symbols: &Symbols,
        definitions: &Definitions,
    ) -> Result<Arc<Probe>, Fallback> {
        let key = ProbeKey::of(command, store, view)?;
        let current = || {
            let probe = self.known.get(&key).map(|probe| Arc::clone(&probe));
            probe.filter(|probe| probe.trail.is_current(view, store) && probe.is_same_compiler())
        };
        if let Some(probe) = current() {
            return Ok(probe);
        }
        let _one_at_a_time = self.asking.lock().expect("no holder of the probes' lock panics");
        if let Some(probe) = current() {
            return Ok(probe);
        }
        let request = run::Request::new(command);
        let answer = match self.recall(&key, command) {
            Some(answer) => answer,
            None => self.ask(&request, &key, command)?,
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let probe = Arc::new(build(answer, key.clone(), request, command, store, view, symbols, definitions, id)?);
        self.known.insert(key, Arc::clone(&probe));
        Ok(probe)
    }

    fn ask(&self, request: &run::Request, key: &ProbeKey, command: &Command) -> Result<Answer, Fallback> {
        let output = request.run(&question::first())?;
        let mut text = Transcript {
            standard_output: output.standard_output,
            standard_error: output.standard_error,
            ..Transcript::default()
        };
        let answer = Answer::parse(&text, command.family)
            .ok_or_else(|| request.refuse("gave an answer that is not understood"))?;
        text.front_end = answer.front_end.as_deref().and_then(|program| KeptStamp::of(key::stamp(program)));
        if let Some(directory) = &self.directory
            && let Err(error) = key.save(directory, &text)
        {
            tracing::debug!(%error, directory = %directory.display(), "a compiler's answers were not kept");
        }
        Ok(answer)
    }

    /// The answer that another daemon got, if the compiler and its directories are the same.
    fn recall(&self, key: &ProbeKey, command: &Command) -> Option<Answer> {
        let text = key.load(self.directory.as_deref()?)?;
        let answer = Answer::parse(&text, command.family)?;
        let stamp = answer.front_end.as_deref().map(key::stamp);
        let is_same = stamp == text.front_end.as_ref().map(KeptStamp::stamp);
        (is_same && answer.directories_stand()).then_some(answer)
    }

    /// Keeps what compilers said since they were asked first.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn keep(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for probe in self.known.iter().filter(|probe| probe.later_features.swap(false, Ordering::Relaxed)) {
            if let Some(mut text) = probe.key.load(directory) {
                let feature = |entry: RefMulti<'_, Vec<u8>, Option<u64>>| Feature {
                    question: entry.key().clone(),
                    value: *entry.value(),
                };
                text.features = probe.features.iter().map(feature).collect();
                probe.key.save(directory, &text)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a scanner that make a probe of an answer")]
fn build(
    answer: Answer,
    key: ProbeKey,
    request: run::Request,
    command: &Command,
    store: &FileStore,
    view: View,
    symbols: &Symbols,
    definitions: &Definitions,
    id: u32,
) -> Result<Probe, Fallback> {
    let defines = |name: &[u8]| answer.value_of(name);
    let (family, traits) = (command.family, &answer.traits);
    let is_assembler = matches!(command.language, Language::Assembler | Language::AssemblerWithCpp);
    let lex_modes = LexModes {
        raw_strings: traits.raw_strings,
        lines_end_raw_strings: family == Family::Gcc,
        digit_separators: traits.digit_separators,
        trigraphs: traits.trigraphs,
        carriage_return_ends_line: family == Family::Clang,
        modules: defines(b"__cpp_modules").is_some(),
        no_digraphs: !traits.digraphs,
        no_line_comments: traits.no_line_comments && family == Family::Gcc,
        blocks_before_lines: traits.no_line_comments && family == Family::Clang,
        no_elifdef: !traits.elifdef,
        assembler: is_assembler,
    };
    let token_modes = TokenModes {
        digit_separators: traits.digit_separators,
        cplusplus: command.language.is_cplusplus(),
        raw_strings: traits.raw_strings,
    };
    let mut predefined = Vec::new();
    for (name, definition) in &answer.macros {
        let state = definition.as_deref().map_or(DefinitionId::NONE, |text| definitions.text(text, token_modes));
        predefined.push((symbols.intern(name), state));
    }
    for name in &answer.builtins {
        let symbol = symbols.intern(name);
        predefined.push((symbol, definitions.builtin(builtin(symbol))));
    }
    // Debug information decides, and whether the compiler only preprocesses.
    let is_unwind_flag = |argument: &std::ffi::OsString| {
        [b"unwind-tables".as_slice(), b"cfi"]
            .iter()
            .any(|part| memchr::memmem::find(argument.as_bytes(), part).is_some())
    };
    if command.probe_arguments.iter().any(is_unwind_flag) {
        let with_debug = definitions.text(b"__GCC_HAVE_DWARF2_CFI_ASM 1", token_modes);
        let either = definitions.several([DefinitionId::NONE, with_debug]);
        predefined.push((symbols.intern(b"__GCC_HAVE_DWARF2_CFI_ASM"), either));
    }
    let mut trail = Trail::default();
    for directory in answer.directories.iter().chain(&answer.missing) {
        let start = start_directory(command, store, view)?;
        store.resolve(&start, directory, view, &mut trail)?;
    }
    let features = DashMap::default();
    for (question, value) in answer.features {
        features.insert(question, value);
    }
    Ok(Probe {
        predefined,
        driver_directories: answer.driver_directories,
        standard_directories: answer.standard_directories,
        preinclude: answer.preinclude.then_some(b"stdc-predef.h".as_slice()),
        lex_modes,
        token_modes,
        has_va_opt: answer.has_va_opt,
        id,
        trail,
        key,
        front_end: answer.front_end.map(|program| (program.clone(), key::stamp(&program))),
        request,
        later_features: AtomicBool::new(false),
        features,
    })
}

fn start_directory(
    command: &Command,
    store: &FileStore,
    view: View,
) -> Result<Arc<crate::files::directory::Directory>, Fallback> {
    crate::scan::working_directory(command, store, view, &mut Trail::default())
}

fn builtin(name: Symbol) -> Builtin {
    match name {
        known::FILE => Builtin::File,
        known::FILE_NAME => Builtin::FileName,
        known::BASE_FILE => Builtin::BaseFile,
        known::LINE => Builtin::Line,
        known::COUNTER => Builtin::Counter,
        known::INCLUDE_LEVEL => Builtin::IncludeLevel,
        known::DATE | known::TIME | known::TIMESTAMP => Builtin::Time,
        _ => Builtin::Operator,
    }
}

impl Probe {
    /// Whether the compiler is the same one still. Costs a `stat` for each file of it.
    pub(crate) fn is_same_compiler(&self) -> bool {
        let is_same = |(program, stamp): &(PathBuf, Stamp)| key::stamp(program) == *stamp;
        self.key.is_current() && self.front_end.as_ref().is_none_or(is_same)
    }

    /// The value of `question`, say `__has_builtin(__builtin_expect)`; `None` where the compiler refuses it. Costs a
    /// run of the compiler where it is new; `others` are asked in the same run.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where the compiler can't be run.
    pub(crate) fn feature(&self, question: &[u8]) -> Result<Option<u64>, Fallback> {
        if let Some(answer) = self.features.get(question) {
            return Ok(*answer);
        }
        if self.features.len() >= MAX_FEATURE_QUESTIONS {
            return Ok(None);
        }
        let questions = [question.to_vec()];
        let output = self.request.run(&question::about(&questions))?;
        let answers = answer::features(&output.standard_output, &questions);
        for (question, value) in answers {
            self.features.insert(question, value);
        }
        self.later_features.store(true, Ordering::Relaxed);
        Ok(self.features.get(question).and_then(|answer| *answer))
    }
}
