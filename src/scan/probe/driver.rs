//! What a driver does with a command line where that is not all that it goes by: files of options, and directories that
//! hold tools, headers and specs.
//!
//! The driver is asked for the commands that it would run (`-###`), under the very arguments of the compile. An answer
//! serves each source that it doesn't name, as long as the files that the driver read and the places where it looked are
//! what they were.
//!
//! **Source:** gcc's gcc.cc (`process_command`, `read_specs`, `find_a_file`, `for_each_path`); clang's Driver.cpp
//! (`loadConfigFile`) and LLVM's CommandLine.cpp (`readConfigFile`).

use crate::command::handed_on::{HandedOn, check_specs, read_configuration};
use crate::command::options;
use crate::command::{CompileCommand, Family, LEADING_VARIABLES};
use crate::compiler::answer::{self, LIBRARIES, OptionFile, PROGRAMS, search_list};
use crate::compiler::driver;
use crate::compiler::process::Request;
use crate::compiler::trace::sights::{Sights, Validity};
use crate::fallback::{Fallback, Reason};
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::generation::Generation;
use crate::files::lexical::lexical;
use crate::files::resolve::{Resolution, Trail};
use crate::files::since::Since;
use crate::files::stamp::watch::Watch;
use crate::files::{FileStore, View, as_path};
use crate::scan::limits::MAX_OPTION_FILES;
use crate::scan::probe::places::installation_places;
use crate::scan::probe::run::{for_whole_command, traced, unanswered};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What all command lines have in common to which a driver's answer is the same but for the source's and the outputs'
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    request: Request,
    suffix: OsString,
}

/// A driver's answer, and all that it depends on.
#[derive(Debug)]
pub(crate) struct DriverAnswer {
    pub(crate) handed_on: HandedOn,
    /// The files of options that the driver read, with their generations.
    files: Vec<(Arc<SourceFile>, Generation)>,
    /// Where the driver would have found a file of options, a header or a program first.
    absent: Vec<Arc<Path>>,
    trail: Trail,
    /// The driver, and directories that it reads.
    watches: Vec<Watch>,
    /// Those of them that the validity doesn't hold, for they are reached by links.
    linked: Vec<Watch>,
    /// All that the driver looked for, where that could be traced.
    validity: Validity,
    /// Whether it holds for sources and outputs of other names.
    pub(super) is_common: bool,
}

impl Question {
    /// The question that `command` is; the names of its source and outputs are left open.
    ///
    /// # Errors
    /// [`Reason::ResponseFile`] where a response file can't be read.
    pub(super) fn of(command: &CompileCommand) -> Result<Self, Fallback> {
        let mut request = for_whole_command(command)?;
        let mut names_next = false;
        for argument in &mut request.arguments {
            if names_next || *argument == command.source.as_os_str() {
                argument.clear();
            }
            names_next = options::names_output_next(argument);
        }
        let suffix = command.source.extension().unwrap_or_default().to_owned();
        Ok(Self { request, suffix })
    }
}

impl DriverAnswer {
    /// Asks the driver of `command`. Runs it twice over, so that what it read is known before it is read.
    ///
    /// # Errors
    /// A [`Fallback`] that names the file of options where what it says isn't followed; [`Reason::Compiler`] where the
    /// driver gives no answer.
    pub(super) fn ask(
        command: &CompileCommand,
        start: &Arc<Directory>,
        store: &FileStore,
        view: View,
    ) -> Result<Self, Fallback> {
        let mut watches = vec![Watch::of(&command.compiler)];
        let mut sights = Sights::default();
        let request = for_whole_command(command)?;
        let commands = || driver::commands(&request).map(|output| output.standard_error);
        let (first, looks) = traced(&driver::commands_request(&request), "")?;
        let first = first.standard_error;
        let mut options = OptionFiles::default();
        options.read_answer(&first, command, store, view, start)?;
        let places = options.installations(&first, command)?;
        watches.extend(places.iter().map(|path| Watch::of(path)));
        if let Some(mut looks) = looks {
            let own = std::iter::once(&command.source).chain(command.outputs.all());
            looks.forget(&own.map(|path| command.working_directory.join(path)).collect::<Vec<_>>());
            sights.add(&looks).map_err(|changed| Fallback::new(Reason::Changing, changed.to_string()))?;
        }
        let answer = commands().map_err(|error| unanswered(&request, &error))?;
        if !answer::option_files(&answer).eq(answer::option_files(&first)) {
            let detail = format!("{} answers otherwise", command.compiler.display());
            return Err(Fallback::new(Reason::Changing, detail));
        }
        let handed_on = HandedOn::read(&answer, command).map_err(|fallback| options.blame(fallback, command))?;
        let is_common = !names_this(&handed_on, command);
        let mut candidates = options.missing.clone();
        if command.family == Family::Gcc {
            let directories = driver::search_lists(&request).map_err(|error| unanswered(&request, &error))?;
            candidates.extend(leading_directories(command));
            candidates.extend(gcc_candidates(&directories, &answer, &options, &handed_on, command));
        }
        let mut absent = Vec::new();
        for candidate in &candidates {
            if matches!(store.resolve(start, candidate, view, &mut options.trail)?, Resolution::Absent) {
                absent.push(lexical(start.path(), candidate));
            }
        }
        let linked = sights.take_over(&watches);
        Ok(Self {
            handed_on,
            files: options.files,
            absent,
            trail: options.trail,
            watches,
            linked,
            validity: sights.finish(),
            is_common,
        })
    }

    /// Whether the driver would answer the same. Costs a `stat` for each file and directory that it went by.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        self.is_same_driver(store.asked(view))
            && self.trail.is_current(view, store)
            && self.files.iter().all(|(file, generation)| file.generation(view).ok() == Some(*generation))
    }

    /// Whether the driver is the same one, and all that it looked for is as it was, but for what it is told of in
    /// [`add_to`](Self::add_to). Costs a `stat` for each file that nobody has looked at since `asked`.
    pub(crate) fn is_same_driver(&self, asked: Instant) -> bool {
        self.linked.iter().all(Watch::holds) && self.validity.holds(Since::at(asked))
    }

    /// `command` as the compiler proper and the assembler see it.
    pub(crate) fn command(&self, command: &CompileCommand) -> CompileCommand {
        let mut seen = command.clone();
        seen.preprocessor = self.handed_on.preprocessor.clone();
        if let Some(proper) = &self.handed_on.proper {
            seen.probe_arguments.clone_from(&proper.arguments);
        }
        seen.extra_inputs.extend(self.handed_on.inputs.iter().cloned());
        seen
    }

    /// Adds all that the driver itself read, and looked for, to what a compile depends on.
    pub(crate) fn add_to(&self, inputs: &mut Vec<Arc<SourceFile>>, absent: &mut Vec<Arc<Path>>, trail: &mut Trail) {
        inputs.extend(self.files.iter().map(|(file, _)| Arc::clone(file)));
        absent.extend(self.absent.iter().cloned());
        trail.absorb(self.trail.clone());
    }

    /// The driver and the directories that it reads.
    pub(super) fn watches(&self) -> &[Watch] {
        &self.watches
    }
}

/// The files of options that a driver read.
#[derive(Debug, Default)]
struct OptionFiles {
    /// The paths as they are spelled.
    names: Vec<Vec<u8>>,
    files: Vec<(Arc<SourceFile>, Generation)>,
    missing: Vec<Vec<u8>>,
    /// What stands in those of clang.
    arguments: Vec<OsString>,
    trail: Trail,
}

impl OptionFiles {
    fn read_answer(
        &mut self,
        answer: &[u8],
        command: &CompileCommand,
        store: &FileStore,
        view: View,
        start: &Arc<Directory>,
    ) -> Result<(), Fallback> {
        for file in answer::option_files(answer) {
            match file {
                OptionFile::Specs(name) => {
                    let content = self.read(name, store, view, start)?;
                    check_specs(&content).map_err(|fallback| name_file(fallback, name))?;
                }
                OptionFile::NoSpecs(name) => self.missing.push(name.to_vec()),
                OptionFile::Configuration(name) if command.family == Family::Clang => {
                    self.read_configuration(name, store, view, start)?;
                }
                OptionFile::Configuration(_) => {}
            }
        }
        Ok(())
    }

    /// Reads a configuration file and those that it names.
    fn read_configuration(
        &mut self,
        name: &[u8],
        store: &FileStore,
        view: View,
        start: &Arc<Directory>,
    ) -> Result<(), Fallback> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        let content = self.read(name, store, view, start)?;
        let directory = as_path(name).parent().unwrap_or(Path::new(""));
        let mut configuration =
            read_configuration(&content, directory).map_err(|fallback| name_file(fallback, name))?;
        self.arguments.append(&mut configuration.arguments);
        for named in configuration.files {
            let path = named.into_os_string().into_vec();
            match store.resolve(start, &path, view, &mut self.trail)? {
                Resolution::File(_) => self.read_configuration(&path, store, view, start)?,
                _ => self.missing.push(path),
            }
        }
        Ok(())
    }

    /// The content of the file that the driver calls `name`.
    fn read(
        &mut self,
        name: &[u8],
        store: &FileStore,
        view: View,
        start: &Arc<Directory>,
    ) -> Result<Vec<u8>, Fallback> {
        let changing = || Fallback::at(Reason::Changing, "changed during the scan", as_path(name), 0);
        let Resolution::File(file) = store.resolve(start, name, view, &mut self.trail)? else { return Err(changing()) };
        if self.names.len() >= MAX_OPTION_FILES {
            return Err(Fallback::at(Reason::ScanLimit, "too many files of options", as_path(name), 0));
        }
        self.names.push(name.to_vec());
        self.files.push((Arc::clone(&file), file.generation(view)?));
        std::fs::read(file.path()).map_err(|_| changing())
    }

    /// The directories in which the driver that gave `answer` looks for gcc and headers.
    fn installations(&self, answer: &[u8], command: &CompileCommand) -> Result<Vec<PathBuf>, Fallback> {
        let handed_on = HandedOn::read(answer, command).map_err(|fallback| self.blame(fallback, command))?;
        let proper = handed_on.proper.map(|proper| proper.arguments).unwrap_or_default();
        let arguments: Vec<OsString> =
            command.probe_arguments.iter().chain(&self.arguments).chain(&proper).cloned().collect();
        Ok(installation_places(&arguments, command))
    }

    /// Names the file because of which a command can't be followed: the user's own one where there is one.
    fn blame(&self, fallback: Fallback, command: &CompileCommand) -> Fallback {
        let named = command.option_files.first().map(|file| file.as_os_str().as_bytes());
        match named.or(self.names.first().map(Vec::as_slice)) {
            Some(name) if fallback.reason != Reason::Compiler => name_file(fallback, name),
            _ => fallback,
        }
    }
}

/// `fallback` as one for what stands in the file `name`.
fn name_file(mut fallback: Fallback, name: &[u8]) -> Fallback {
    if fallback.reason != Reason::HostDependent {
        fallback.reason = Reason::UnsupportedFlag;
    }
    fallback.location.get_or_insert_with(|| (as_path(name).to_owned(), 0));
    fallback
}

/// What leads gcc's driver elsewhere: it matters whether these are directories.
fn leading_directories(command: &CompileCommand) -> impl Iterator<Item = Vec<u8>> {
    let leading = |name: &OsString| LEADING_VARIABLES.iter().any(|leading| name == leading);
    let values = command.environment.iter().filter(move |(name, _)| leading(name));
    let named = values.flat_map(|(_, value)| value.as_bytes().split(|byte| *byte == b':'));
    let tools = command.tool_directories.iter().map(|directory| directory.as_os_str().as_bytes());
    named.chain(tools).filter(|path| !path.is_empty()).map(<[u8]>::to_vec)
}

/// Where gcc would find a file of options, a header or a program before, or besides, where it found it.
fn gcc_candidates(
    directories: &[u8],
    answer: &[u8],
    options: &OptionFiles,
    handed_on: &HandedOn,
    command: &CompileCommand,
) -> Vec<Vec<u8>> {
    let target = answer::target(answer);
    let list = |title| search_list(directories, title).collect::<Vec<_>>();
    let (programs, libraries) = (list(PROGRAMS), list(LIBRARIES));
    let mut specs: Vec<&[u8]> = vec![b"specs"];
    specs.extend(command.option_files.iter().map(|file| file.as_os_str().as_bytes()));
    for name in options.names.iter().chain(&options.missing) {
        let asked = libraries.iter().filter_map(|prefix| name.strip_prefix(*prefix)).filter(|rest| !rest.is_empty());
        specs.extend(asked.chain([name.as_slice()]));
    }
    specs.retain(|name| !name.starts_with(b"/"));
    let mut tools: Vec<Vec<u8>> = [&b"include"[..], b"include-fixed"].map(<[u8]>::to_vec).into();
    tools.extend(handed_on.programs.iter().map(|name| name.as_bytes().to_vec()));
    tools.extend(target.map(|target| [target, b"-as"].concat()));
    tools.push(b"as".to_vec());
    let mut candidates: Vec<Vec<u8>> = Vec::new();
    for prefix in libraries {
        candidates.extend(specs.iter().map(|name| [prefix, name].concat()));
    }
    for prefix in programs {
        candidates.extend(tools.iter().map(|name| [prefix, name].concat()));
    }
    candidates.sort_unstable();
    candidates.dedup();
    candidates
}

/// Whether what is handed on may have been made from the name of the source or of an output.
fn names_this(handed_on: &HandedOn, command: &CompileCommand) -> bool {
    let text = format!("{:?}{:?}{:?}", handed_on.preprocessor, handed_on.proper, handed_on.inputs);
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let paths = std::iter::once(&command.source).chain(command.outputs.all());
    paths.map(stem).any(|stem| text.contains(stem.split('.').next().unwrap_or_default()))
}
