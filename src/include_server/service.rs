//! Answers to requests: from a command line to the paths of what distcc's servers need.
//!
//! What it does not know: sockets and processes.
//!
//! Invariants: an answer is given again only where the scanner says that nothing has changed. Whatever can't be known
//! for sure is left to the client, which then preprocesses by itself.

use crate::command::{self, CompileCommand};
use crate::fallback::{Fallback, Reason};
use crate::include_server::client_root::ClientRoots;
use crate::include_server::email::{Mailer, Urgency};
use crate::include_server::exact;
use crate::include_server::log::Log;
use crate::include_server::manifest::{Manifest, Wishes};
use crate::include_server::mirror::{Mirror, MirrorError};
use crate::include_server::not_covered::NotCovered;
use crate::include_server::options::IncludeServerArguments;
use crate::include_server::protocol::{self, Request};
use crate::include_server::statistics::Statistics;
use crate::include_server::system_directories::{Compilers, SystemDirectories};
use crate::include_server::translation;
use crate::include_server::triggers::Event;
use crate::scan::Scanner;
use crate::scan::closure::Closure;
use parking_lot::Mutex;
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How many answers are kept.
const MAX_ANSWERS: usize = 1 << 15;
/// How often a compile is scanned anew because its files change.
const MAX_ATTEMPTS: u32 = 4;
/// The variables of this process that a compiler is found and run by. Clients send none of theirs; those that have
/// `CPATH` or the like don't ask.
const VARIABLES: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// All that answers need.
#[derive(Debug)]
pub(super) struct Service {
    arguments: IncludeServerArguments,
    wishes: Wishes,
    log: Log,
    mailer: Option<Mailer>,
    environment: Vec<(OsString, OsString)>,
    scanner: Scanner,
    compilers: Compilers,
    mirror: Mirror,
    answers: Cache<Request, Arc<Answer>>,
    statistics: Mutex<Statistics>,
}

/// An answer, with that on which it depends.
#[derive(Debug, Clone)]
struct Answer {
    closure: Arc<Closure>,
    system: Arc<SystemDirectories>,
    paths: u64,
    bytes: Arc<[u8]>,
}

/// What was found out about a compile.
struct Analysis {
    closure: Arc<Closure>,
    system: Arc<SystemDirectories>,
}

impl Service {
    /// A service with the wishes of `arguments`, whose copies go below `client_roots`.
    ///
    /// # Errors
    /// When a directory can't be made, or an environment variable is wrong.
    pub(super) fn new(arguments: IncludeServerArguments, client_roots: ClientRoots, log: Log) -> anyhow::Result<Self> {
        let address = std::env::var_os(crate::include_server::email::VARIABLE);
        let mailer = arguments.sends_email().then(|| Mailer::new(address.as_deref(), arguments.email_bound, log));
        let wishes = Wishes {
            ignore_absolute_includes: arguments.unsafe_absolute_includes,
            force_directories: !arguments.no_force_dirs,
        };
        let variables = VARIABLES.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        Ok(Self {
            wishes,
            log,
            mailer: mailer.transpose()?,
            environment: variables.collect(),
            scanner: Scanner::open(None),
            compilers: Compilers::default(),
            mirror: Mirror::new(client_roots)?,
            answers: Cache::new(MAX_ANSWERS),
            statistics: Mutex::default(),
            arguments,
        })
    }

    /// The answer to `request`, which came at `asked`: ready to be written, with no path where the client has to
    /// preprocess by itself. Never fails, and never panics.
    pub(super) fn answer(&self, request: &Request, asked: Instant) -> Arc<[u8]> {
        self.log.trace(format_args!("request from {}: {:?}", request.directory.display(), request.arguments));
        let mut unit = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_answer(request, asked, &mut unit)));
        let unit = unit.unwrap_or_else(|| PathBuf::from("unknown translation unit"));
        let answer = match outcome {
            Ok(Ok(answer)) => {
                self.count(|statistics| statistics.covered += 1);
                answer
            }
            Ok(Err(refusal)) => {
                self.count(|statistics| statistics.count_not_covered(refusal.name));
                let message = format!(
                    "Preprocessing locally. Include server not covering: {refusal} for translation unit '{}'",
                    unit.display()
                );
                self.report(&message, refusal.is_trouble.then_some(Urgency::Usual));
                no_path()
            }
            Err(_) => {
                self.count(|statistics| statistics.count_not_covered("internal-error"));
                let message = format!(
                    "Preprocessing locally. Include server internal error for translation unit '{}'",
                    unit.display()
                );
                self.report(&message, Some(Urgency::Urgent));
                no_path()
            }
        };
        self.count(|statistics| statistics.took(asked.elapsed()));
        if self.arguments.statistics {
            use std::io::Write as _;
            let statistics = self.statistics.lock().to_string();
            let text = format!("TRANSLATION_UNIT: {}\n{statistics}\n", unit.display());
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
        answer
    }

    /// Notes a request that was not understood.
    pub(super) fn malformed(&self, error: &protocol::ProtocolError) {
        if matches!(error, protocol::ProtocolError::Nothing) {
            self.log.trace(format_args!("{error}"));
            return;
        }
        self.count(|statistics| statistics.malformed += 1);
        self.log.warning(format_args!("a request can't be understood: {error}"));
    }

    /// Removes everything that was made below the client roots.
    pub(super) fn clean_out(&self) {
        self.mirror.clean_out();
    }

    fn count(&self, change: impl FnOnce(&mut Statistics)) {
        change(&mut self.statistics.lock());
    }

    fn report(&self, message: &str, urgency: Option<Urgency>) {
        self.log.warning(format_args!("{message}"));
        if let (Some(mailer), Some(urgency)) = (&self.mailer, urgency) {
            mailer.send(message, urgency);
        }
    }

    fn try_answer(
        &self,
        request: &Request,
        asked: Instant,
        unit: &mut Option<PathBuf>,
    ) -> Result<Arc<[u8]>, NotCovered> {
        self.look_at_triggers();
        if !self.mirror.is_intact() {
            self.log.warning(format_args!("the client root directory is gone; making another"));
            self.flush();
        }
        let command = command::parse(&request.arguments, &request.directory, &self.environment)?;
        *unit = Some(command.source.clone());
        let mut since = asked;
        for _ in 1..MAX_ATTEMPTS {
            match self.answer_command(request, &command, since) {
                Err(refusal) if refusal.name == Reason::Changing.name() => since = Instant::now(),
                outcome => return outcome,
            }
        }
        self.answer_command(request, &command, since)
    }

    fn answer_command(
        &self,
        request: &Request,
        command: &CompileCommand,
        since: Instant,
    ) -> Result<Arc<[u8]>, NotCovered> {
        let closure = self.scanner.scan_since(command, since)?;
        let system = self.compilers.directories(command)?;
        self.observe(command, &closure);
        let analysis = self.consult_compiler(command, Analysis { closure, system })?;
        if let Some(known) = self.known(request, &analysis) {
            return Ok(known);
        }
        translation::check(&request.arguments, command, &analysis.system)?;
        let manifest = Manifest::new(&analysis.closure, command, &analysis.system, self.wishes)?;
        for path in &manifest.ignored {
            self.log.warning(format_args!("Absolute filepath '{}' was IGNORED", path.display()));
        }
        let paths = self.provide(&manifest)?;
        let bytes: Arc<[u8]> = protocol::answer(paths.iter().map(|path| &**path)).into();
        self.log.data(|| listing(&paths));
        let answer = Answer {
            closure: analysis.closure,
            system: analysis.system,
            paths: paths.len() as u64,
            bytes: Arc::clone(&bytes),
        };
        self.count(|statistics| {
            statistics.closure_files += answer.closure.files.len() as u64;
            statistics.paths += answer.paths;
        });
        self.answers.insert(request.clone(), Arc::new(answer));
        Ok(bytes)
    }

    /// The answer that was given before, where it still stands.
    fn known(&self, request: &Request, analysis: &Analysis) -> Option<Arc<[u8]>> {
        let known = self.answers.get(request)?;
        let stands = Arc::ptr_eq(&known.closure, &analysis.closure) && Arc::ptr_eq(&known.system, &analysis.system);
        let known = stands.then_some(known)?;
        self.count(|statistics| {
            statistics.repeated += 1;
            statistics.closure_files += known.closure.files.len() as u64;
            statistics.paths += known.paths;
        });
        Some(Arc::clone(&known.bytes))
    }

    /// Makes what the manifest lists, and gives the paths that the client is told.
    fn provide(&self, manifest: &Manifest) -> Result<Vec<Arc<[u8]>>, NotCovered> {
        let mut paths = Vec::with_capacity(manifest.files.len() + manifest.symlinks.len() + manifest.directories.len());
        let mut once_only: HashSet<&Digest> = HashSet::new();
        let (mut copies, mut copied_bytes) = (0, 0);
        for (file, name) in &manifest.files {
            let name = name.as_deref().map(|name| name.as_os_str().as_encoded_bytes());
            let copy = self.mirror.file(file, name)?;
            if copy.is_once_only && !once_only.insert(&file.digest) {
                // A compiler may tell such files apart by their times, which are others on a server.
                let detail = "another file with #pragma once has the same content".to_owned();
                return Err(MirrorError::Refused { path: file.path.to_path_buf(), detail }.into());
            }
            if copy.is_new {
                copies += 1;
                copied_bytes += copy.bytes;
            }
            paths.push(copy.path);
        }
        for (path, target) in &manifest.symlinks {
            paths.push(self.mirror.symlink(path, target)?);
        }
        for directory in &manifest.directories {
            paths.push(self.mirror.placeholder(directory)?);
        }
        self.count(|statistics| {
            statistics.copies += copies;
            statistics.copied_bytes += copied_bytes;
        });
        Ok(paths)
    }

    /// What `--verify`, `--exact_analysis` and `--write_include_closure` ask for.
    fn consult_compiler(&self, command: &CompileCommand, analysis: Analysis) -> Result<Analysis, NotCovered> {
        let arguments = &self.arguments;
        let Analysis { closure, system } = &analysis;
        let is_foreign = |path: &Path| !system.contain(path);
        if arguments.write_include_closure {
            let files = closure.files.iter().map(|file| &*file.path).filter(|path| is_foreign(path));
            exact::write_list(&exact::beside_output(command, ".d_approx"), files)?;
        }
        if !arguments.verify && !arguments.exact_analysis {
            return Ok(analysis);
        }
        let found = exact::dependencies(command)?;
        if arguments.write_include_closure {
            let files = found.iter().map(PathBuf::as_path);
            let files = files.filter(|path| arguments.exact_analysis || is_foreign(path));
            exact::write_list(&exact::beside_output(command, ".d_exact"), files)?;
        }
        if arguments.verify {
            let known: HashSet<&Path> = closure.files.iter().map(|file| &*file.path).collect();
            let missing: Vec<_> =
                found.iter().filter(|path| is_foreign(path) && !known.contains(path.as_path())).collect();
            if let Some(first) = missing.first() {
                let message = format!(
                    "calculated include closure does not contain: '{}'. Missing dependencies: {}.",
                    first.display(),
                    missing.len()
                );
                return Err(NotCovered::discrepancy(message));
            }
        }
        if arguments.exact_analysis {
            return Ok(Analysis {
                closure: Arc::new(restricted(closure, &found, system)?),
                system: Arc::clone(system),
            });
        }
        Ok(analysis)
    }

    fn observe(&self, command: &CompileCommand, closure: &Closure) {
        let Some(observation) = &self.arguments.path_observation_re else { return };
        let names: HashMap<&Path, &Arc<Path>> = closure.names.iter().map(|(path, name)| (&**path, name)).collect();
        for path in observation.new_matches(closure.files.iter().map(|file| &file.path)) {
            let name = names.get(&**path).map_or(path, |name| *name);
            self.log.warning(format_args!(
                "For translation unit '{}', lookup of file '{}' resolved to '{}' whose realpath is '{}'.",
                command.source.display(),
                name.file_name().unwrap_or_default().display(),
                name.display(),
                path.display()
            ));
        }
    }

    fn look_at_triggers(&self) {
        let Some(triggers) = &self.arguments.stat_reset_triggers else { return };
        let events = triggers.events();
        for event in &events {
            let (path, what) = match event {
                Event::Changed(path) => (path, "changed"),
                Event::Appeared(path) => (path, "came into existence"),
                Event::Gone(path) => (path, "no longer exists"),
            };
            self.log.warning(format_args!("Path '{}' {what}. Clearing caches.", path.display()));
        }
        if !events.is_empty() {
            self.flush();
        }
    }

    fn flush(&self) {
        self.answers.clear();
        if let Err(error) = self.mirror.flush() {
            self.log.warning(format_args!("{error:#}"));
        }
    }
}

/// The answer that leaves a compile to its client.
pub(super) fn no_path() -> Arc<[u8]> {
    protocol::answer(std::iter::empty()).into()
}

fn listing(paths: &[Arc<[u8]>]) -> String {
    let lines: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
    format!("answer:\n{}", lines.join("\n"))
}

/// `closure` with those of its included files alone that the compiler `found`, and what it found besides.
fn restricted(closure: &Closure, found: &BTreeSet<PathBuf>, system: &SystemDirectories) -> Result<Closure, Fallback> {
    let probed: HashSet<&Path> = closure.probed.iter().map(|path| &**path).collect();
    let wanted = |path: &Path| found.contains(path) || probed.contains(path);
    let mut exact = Closure {
        files: closure.files.iter().filter(|file| wanted(&file.path)).cloned().collect(),
        probed: closure.probed.clone(),
        names: closure.names.clone(),
        absolute: closure.absolute.iter().filter(|path| wanted(path)).cloned().collect(),
        symlinks: closure.symlinks.clone(),
        directories: closure.directories.clone(),
        absent: closure.absent.clone(),
        time_dependent: closure.time_dependent,
    };
    let known: HashSet<&Path> = closure.files.iter().map(|file| &*file.path).collect();
    for path in found.iter().filter(|path| !known.contains(path.as_path()) && !system.contain(path)) {
        let content =
            std::fs::read(path).map_err(|error| Fallback::at(Reason::Unreadable, error.to_string(), path, 0))?;
        let path: Arc<Path> = Arc::from(path.as_path());
        exact.probed.push(Arc::clone(&path));
        let digest = Digest::of(&content);
        exact.files.push(Arc::new(crate::scan::closure::InputFile { path, digest, is_executable: false }));
    }
    Ok(exact)
}
