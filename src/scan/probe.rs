//! What a compiler says of itself: predefined macros, its own search path, the features that it has.
//!
//! One run of the real driver, under the flags at hand and with the language at hand, answers all of it; the answer is
//! kept by the compiler's identity, the flags and the environment. Questions about features that nobody thought of
//! before cost another run, and are kept as well.
//!
//! What it does not know: the directories and macros that a command line names; those are the caller's business.

mod answer;
mod driver;
mod key;
mod question;
mod run;

use crate::command::{CompileCommand, Family, Language, PathKind};
use crate::compiler::installation;
use crate::compiler::process::Request;
use crate::compiler::trace::shared::Since;
use crate::compiler::trace::sights::{Role, Sights, Validity};
use crate::fallback::{Fallback, Reason};
use crate::files::resolve::Trail;
use crate::files::stamp::{Moment, Stamp};
use crate::files::{FileStore, View, as_path};
use crate::scan::MAX_SCAN_ATTEMPTS;
use crate::scan::lex::directives::LexModes;
use crate::scan::limits::{MAX_DRIVER_ANSWERS, MAX_FEATURE_QUESTIONS, MAX_FEATURES_AT_ONCE, MAX_PROBES};
use crate::scan::preprocess::definitions::{Builtin, DefinitionId, Definitions};
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::TokenModes;
use answer::{Answer, Feature, KeptSight, Transcript, Values};
use dashmap::mapref::multiple::RefMulti;
use dashmap::{DashMap, DashSet};
pub(crate) use driver::DriverAnswer;
use driver::Question;
use key::ProbeKey;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// A compiler's answers under one set of flags.
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
    /// The header that is included before all others, if there is one.
    pub(crate) preinclude: Option<&'static [u8]>,
    pub(crate) lex_modes: LexModes,
    pub(crate) token_modes: TokenModes,
    /// Whether `__VA_OPT__` is an operator.
    pub(crate) has_va_opt: bool,
    /// Whether characters don't have the numbers of ASCII.
    pub(crate) has_foreign_characters: bool,
    /// A number that no other probe of the scanner has.
    pub(crate) id: u32,
    /// Whether the driver read a file of options, which this is asked without understanding.
    is_configured: bool,
    trail: Trail,
    key: ProbeKey,
    /// What the driver and the compiler proper looked for.
    validity: Validity,
    request: Request,
    later_features: AtomicBool,
    features: DashMap<Vec<u8>, Option<u64>, foldhash::fast::RandomState>,
    /// What any compiler was asked so far.
    asked: Arc<Asked>,
}

/// Questions about features.
type Asked = DashSet<Vec<u8>, foldhash::fast::RandomState>;

/// An answer, and what it depends on.
type Asking = (Answer, Sights);

/// All probes of a scanner.
#[derive(Debug)]
pub(crate) struct Probes {
    known: Cache<ProbeKey, Arc<Probe>>,
    drivers: Cache<Question, Arc<DriverAnswer>>,
    /// Keys of answers that hang on the working directory, which they don't name.
    directory_bound: Cache<ProbeKey, ()>,
    directory: Option<PathBuf>,
    next: AtomicU32,
    asking: Mutex<()>,
    asked: Arc<Asked>,
}

/// What a scanner's probes are made with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a FileStore,
    pub(crate) view: View,
    pub(crate) symbols: &'a Symbols,
    pub(crate) definitions: &'a Definitions,
}

/// The directory of the answers that are kept.
const KEPT: &str = "probes";

impl Probes {
    /// Answers are kept in `directory` across daemons, if one is given.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self {
            known: Cache::new(MAX_PROBES),
            drivers: Cache::new(MAX_DRIVER_ANSWERS),
            directory_bound: Cache::new(MAX_PROBES),
            directory: directory.map(|directory| directory.join(KEPT)),
            next: AtomicU32::new(0),
            asking: Mutex::new(()),
            asked: Arc::default(),
        }
    }

    /// Removes the answers that are kept in `directory`.
    pub(crate) fn remove_kept(directory: &Path) {
        let _ = std::fs::remove_dir_all(directory.join(KEPT));
    }

    /// What the driver of `command` would run, where the command line alone doesn't tell; `None` where it does.
    ///
    /// Costs a few runs of the driver where that is new.
    ///
    /// # Errors
    /// A [`Fallback`] where that isn't followed.
    pub(crate) fn driver(
        &self,
        command: &CompileCommand,
        known: Option<&Probe>,
        store: &FileStore,
        view: View,
    ) -> Result<Option<Arc<DriverAnswer>>, Fallback> {
        if !command.is_led() && !known.is_some_and(|probe| probe.is_configured) {
            return Ok(None);
        }
        let question = Question::of(command)?;
        if let Some(answer) = self.drivers.get(&question).filter(|answer| answer.is_current(view, store)) {
            return Ok(Some(answer));
        }
        let start = start_directory(command, store, view)?;
        let answer = Arc::new(DriverAnswer::ask(command, &start, store, view)?);
        if answer.is_common {
            self.drivers.insert(question, Arc::clone(&answer));
        }
        Ok(Some(answer))
    }

    /// What the compiler of `command` says under its flags; where `driver` tells, the compiler proper as the driver runs
    /// it. Costs a run of the compiler where that is new.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where the compiler gives no understandable answer.
    pub(crate) fn get(
        &self,
        command: &CompileCommand,
        driver: Option<&DriverAnswer>,
        context: Context<'_>,
    ) -> Result<Arc<Probe>, Fallback> {
        let proper = driver.and_then(|answer| Some((answer, answer.handed_on.proper.as_ref()?)));
        let (request, key) = match proper {
            Some((answer, proper)) => {
                let request = run::for_proper(proper, command);
                let key = ProbeKey::of_proper(&request, proper.asked_from, command, answer);
                (request, key)
            }
            None => {
                let request = run::for_driver(command);
                let key = ProbeKey::of(&request, command, context.store, context.view)?;
                (request, key)
            }
        };
        let refusal = run::refuse(&request, "gave an answer that is not understood");
        self.answer(request, key, command, context)?.ok_or(refusal)
    }

    /// What the compiler that gave the answers of `probe` says under further `flags`; `None` where it takes no such flag.
    /// Costs a run of it where that is new.
    ///
    /// # Errors
    /// [`Reason::Compiler`](crate::fallback::Reason::Compiler) where it can't be run.
    pub(crate) fn get_under(
        &self,
        probe: &Probe,
        flags: Vec<OsString>,
        command: &CompileCommand,
        context: Context<'_>,
    ) -> Result<Option<Arc<Probe>>, Fallback> {
        let mut request = run::also_under(&probe.request, flags);
        // The first one to ask may have stood in a directory that is gone.
        request.directory.clone_from(&command.working_directory);
        let key = probe.key.for_request(&request);
        self.answer(request, key, command, context)
    }

    /// The probe for `key`; `None` where the compiler gives no understandable answer to `request`.
    fn answer(
        &self,
        request: Request,
        key: ProbeKey,
        command: &CompileCommand,
        context: Context<'_>,
    ) -> Result<Option<Arc<Probe>>, Fallback> {
        let mut key = key;
        if self.directory_bound.contains_key(&key) {
            key = key.bound_to(&request.directory);
        }
        let current = |key: &ProbeKey| {
            let probe = self.known.get(key);
            probe.filter(|probe| {
                probe.trail.is_current(context.view, context.store)
                    && probe.is_same_compiler(context.store.asked(context.view))
            })
        };
        if let Some(probe) = current(&key) {
            return Ok(Some(probe));
        }
        let _one_at_a_time = self.asking.lock();
        if let Some(probe) = current(&key) {
            return Ok(Some(probe));
        }
        let known = match self.recall(&key, command) {
            None => self.ask(&request, &mut key, command)?,
            recalled => recalled,
        };
        let Some((answer, sights)) = known else { return Ok(None) };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut probe = build(answer, key.clone(), request, command, context, id)?;
        probe.validity = sights.finish();
        probe.asked = Arc::clone(&self.asked);
        let probe = Arc::new(probe);
        self.known.insert(key, Arc::clone(&probe));
        Ok(Some(probe))
    }

    /// Asks the compiler until nothing changes meanwhile. An answer that hangs on the directory is one for `key` bound to it.
    fn ask(&self, request: &Request, key: &mut ProbeKey, command: &CompileCommand) -> Result<Option<Asking>, Fallback> {
        let mut attempt = 1;
        loop {
            match self.ask_once(request, key, command) {
                Err(fallback) if fallback.reason == Reason::Changing && attempt < MAX_SCAN_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    fn ask_once(
        &self,
        request: &Request,
        key: &mut ProbeKey,
        command: &CompileCommand,
    ) -> Result<Option<Asking>, Fallback> {
        // What is looked at before the question is asked can't change unseen while it is answered; what is looked at after it
        // must have stood since before.
        let began = Moment::now();
        let mut listed = Sights::default();
        for place in installation_places(&request.arguments, command) {
            listed.watch(&place);
        }
        let (output, looks) = run::traced(request, &question::first())?;
        let mut text = Transcript {
            standard_output: output.standard_output,
            standard_error: output.standard_error,
            ..Transcript::default()
        };
        let Some(answer) = Answer::parse(&text, command.family) else { return Ok(None) };
        let sights = match looks {
            Some(looks) => {
                if looks.depend_on_directory(request) && !key.is_bound_to(&request.directory) {
                    self.bind(key, &request.directory);
                }
                let mut sights = Sights::default();
                sights
                    .add(&looks)
                    .and_then(|()| sights.stood_at(began))
                    .map_err(|changed| Fallback::new(Reason::Changing, changed.to_string()))?;
                sights
            }
            None => {
                if let Some(program) = &answer.front_end {
                    listed.watch(&place_of_program(program, command));
                }
                listed
            }
        };
        let (outline, seen) = sights.outline();
        let kept = |(role, path): &(Role, PathBuf)| KeptSight {
            path: path.as_os_str().as_bytes().to_vec(),
            role: *role as u32,
        };
        text.sights = outline.iter().map(kept).collect();
        text.seen = seen.to_string();
        if let Some(directory) = &self.directory
            && key.is_lasting()
            && sights.is_lasting()
            && let Err(error) = key.save(directory, &text)
        {
            tracing::debug!(%error, directory = %directory.display(), "a compiler's answers were not kept");
        }
        Ok(Some((answer, sights)))
    }

    /// Notes that the answer for `key` hangs on `directory`, and makes it the key for that.
    fn bind(&self, key: &mut ProbeKey, directory: &Path) {
        self.directory_bound.insert(key.clone(), ());
        *key = key.bound_to(directory);
    }

    /// The answer that another daemon got, if all that it depends on is the same.
    fn recall(&self, key: &ProbeKey, command: &CompileCommand) -> Option<Asking> {
        let text = key.load(self.directory.as_deref()?)?;
        let answer = Answer::parse(&text, command.family)?;
        let known = |kept: &KeptSight| Some((Role::numbered(kept.role)?, as_path(&kept.path).to_path_buf()));
        let sights = Sights::again(text.sights.iter().map(known).collect::<Option<Vec<_>>>()?);
        let stands =
            sights.outline().1.to_string() == text.seen && answer.directories_stand(&command.working_directory);
        stands.then_some((answer, sights))
    }

    /// Keeps what compilers said since they were asked first.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(crate) fn keep(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for (_, probe) in self.known.iter().filter(|(_, probe)| probe.later_features.swap(false, Ordering::Relaxed)) {
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

fn build(
    answer: Answer,
    key: ProbeKey,
    request: Request,
    command: &CompileCommand,
    context: Context<'_>,
    id: u32,
) -> Result<Probe, Fallback> {
    let Context { store, view, symbols, definitions } = context;
    let defines = |name: &[u8]| answer.value_of(name);
    let (family, traits) = (command.family, &answer.traits);
    let is_assembler = matches!(command.language, Language::Assembler | Language::AssemblerWithCpp);
    let lex_modes = LexModes {
        raw_strings: traits.raw_strings,
        lines_end_raw_strings: family == Family::Gcc,
        digit_separators: traits.digit_separators,
        trigraphs: traits.trigraphs,
        splices_start_tokens: family == Family::Clang,
        modules: defines(b"__cpp_modules").is_some(),
        no_digraphs: !traits.digraphs,
        no_line_comments: traits.no_line_comments && family == Family::Gcc,
        blocks_before_lines: traits.no_line_comments && family == Family::Clang,
        no_elifdef: !traits.elifdef,
        no_dollars: traits.no_dollars,
        assembler: is_assembler,
    };
    let token_modes = TokenModes {
        digit_separators: traits.digit_separators,
        cplusplus: command.language.is_cplusplus(),
        raw_strings: traits.raw_strings,
        no_dollars: traits.no_dollars,
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
    // Debug information decides, and whether the compiler only preprocesses; unless tables are asked for, or the machine has
    // them by itself.
    let has_tables = answer.macros.iter().any(|(name, _)| *name == *b"__GCC_HAVE_DWARF2_CFI_ASM");
    if command.preprocessor.names_unwind_tables || !has_tables {
        let with_debug = definitions.text(b"__GCC_HAVE_DWARF2_CFI_ASM 1", token_modes);
        let either = definitions.several([DefinitionId::NONE, with_debug]);
        predefined.push((symbols.intern(b"__GCC_HAVE_DWARF2_CFI_ASM"), either));
    }
    // Where a system root has none, a directory of the command line may have one still.
    let looks_for_preinclude = family == Family::Gcc
        && !command.preprocessor.no_standard_includes
        && defines(b"__STDC_HOSTED__") == Some(b"1")
        && defines(b"__gnu_linux__").is_some();
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
        missing_directories: answer.missing,
        preinclude: (answer.preinclude || looks_for_preinclude).then_some(b"stdc-predef.h".as_slice()),
        lex_modes,
        token_modes,
        has_va_opt: answer.has_va_opt,
        has_foreign_characters: !answer.traits.ascii,
        id,
        trail,
        key,
        is_configured: answer.is_configured,
        validity: Validity::default(),
        request,
        later_features: AtomicBool::new(false),
        features,
        asked: Arc::default(),
    })
}

fn start_directory(
    command: &CompileCommand,
    store: &FileStore,
    view: View,
) -> Result<Arc<crate::files::directory::Directory>, Fallback> {
    crate::scan::working_directory(command, store, view, &mut Trail::default())
}

/// Directories in which the driver of `command` looks for gcc and headers under `arguments`.
fn installation_places(arguments: &[OsString], command: &CompileCommand) -> Vec<PathBuf> {
    match command.family {
        Family::Gcc => Vec::new(),
        Family::Clang => {
            let paths = |kind| command.paths_in(arguments, kind);
            installation::directories(&paths(PathKind::Root), &paths(PathKind::GccPrefix))
        }
    }
}

/// The path that tells when the driver of `command` runs another compiler proper than `program`. Where that is the
/// driver itself, its directory: a configuration file may appear beside it.
fn place_of_program(program: &Path, command: &CompileCommand) -> PathBuf {
    match program.parent() {
        Some(directory) if command.family == Family::Clang && Stamp::at(program) == Stamp::at(&command.compiler) => {
            directory.to_owned()
        }
        _ => program.to_owned(),
    }
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
    /// Whether the compiler is the same one still. Costs a `stat` for each file of it that nobody has looked at since `asked`.
    pub(crate) fn is_same_compiler(&self, asked: Instant) -> bool {
        self.key.is_current() && self.validity.holds(Since::at(asked))
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
