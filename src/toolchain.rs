//! The compiler as an input: which programs a compile runs, and everything that they need, by content.
//!
//! Two compilers with different bytes are different compilers, and a worker needs none of its own: the driver, the compiler
//! proper, the assembler, their shared libraries, specs, sanitizer lists, locales and symbolic links travel like headers.
//! All of it is found by asking the driver and the dynamic linker and by tracing a compile of nothing, and is remembered
//! until `stat` says that something that they looked for has changed. The linker and its plugins are not part of it,
//! since a compile never starts them.
//!
//! It does not know headers: those are the scanner's. It blocks; the first question about a compiler starts a few
//! processes and hashes the compiler, later ones cost a `stat` for each file.

use crate::command::{AskedFrom, CompileCommand, Family, Language};
use crate::compiler::trace::sights::{Sights, Validity};
use crate::fallback::{Fallback, Reason};
use crate::files::since::Since;
use crate::files::stamp::Moment;
use crate::scan::closure::InputFile;
use digests::Digests;
use driver::Description;
use libraries::{Needs, Traceable};
use parking_lot::{Mutex, RwLock};
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tree::{Grown, Tree};

mod digests;
mod driver;
mod libraries;
mod locale;
mod looks;
#[cfg(test)]
mod tests;
mod tree;

/// How many questions are remembered: one for each compiler and set of flags.
const MAX_MEMORIES: usize = 4096;
/// How many programs are remembered with the libraries that they need.
const MAX_NEEDS: usize = 1024;
/// How often a compiler is asked whose files change meanwhile.
const MAX_ATTEMPTS: u32 = 3;

/// A compiler and all that it needs to run.
///
/// The lists have the shape of those of a [`Closure`](crate::scan::closure::Closure): absolute paths without links on
/// the way, sorted, without duplicates. The same `Arc` is given again as long as nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The digest of everything below.
    pub identity: Digest,
    /// Programs, libraries and the files that they read.
    pub files: Vec<InputFile>,
    /// Symbolic links, with their targets as `readlink` gives them.
    pub symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    /// Directories that must exist though no file in them may be needed.
    pub directories: Vec<Arc<Path>>,
    /// Variables that the action needs besides those of the command, sorted by name: `PATH` where the driver looks for its
    /// programs there, `LD_LIBRARY_PATH` where the libraries are only found through it.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the same inputs give the same object.
    pub objects: Objects,
}

/// What a toolchain writes into objects besides what follows from its inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Objects {
    /// Nothing.
    #[default]
    Lasting,
    /// The time of day, or what happens to be in memory.
    Passing,
}

/// Every toolchain that has been asked for.
#[derive(Debug)]
pub(crate) struct Toolchains {
    digests: Digests,
    memories: Cache<Question, Arc<Memory>>,
    /// Toolchains that are the same thing are the same `Arc`, under whatever flags they were asked for.
    known: Cache<Digest, Arc<Toolchain>>,
    needs: Cache<NeedsQuestion, Arc<(Validity, Needs)>>,
    /// Questions whose answers hang on the working directory, which they don't name.
    directory_bound: Cache<Question, ()>,
}

/// A program, the dynamic linker that loads it where it names none, and `LD_LIBRARY_PATH`.
type NeedsQuestion = (PathBuf, Option<PathBuf>, Option<OsString>);

/// What asking for a toolchain gave.
struct Found {
    toolchain: Toolchain,
    validity: Validity,
    depends_on_directory: bool,
}

/// All that the answer can depend on, besides files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    compiler: PathBuf,
    family: Family,
    language: Language,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Only where a flag or a variable names something by a relative path.
    directory: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Memory {
    answer: RwLock<Option<(Arc<Toolchain>, Validity)>>,
    /// Held while the driver is asked, so that it is asked once.
    asking: Mutex<()>,
}

impl Memory {
    fn get(&self, asked: Since) -> Option<Arc<Toolchain>> {
        let answer = self.answer.read();
        answer.as_ref().filter(|(_, validity)| validity.holds(asked)).map(|(toolchain, _)| toolchain.clone())
    }
}

impl Toolchains {
    /// Starts with the digests that `state_directory` remembers, if there is one.
    pub(crate) fn open(state_directory: Option<&Path>) -> Self {
        Self {
            digests: Digests::open(state_directory),
            memories: Cache::new(MAX_MEMORIES),
            known: Cache::new(MAX_MEMORIES),
            needs: Cache::new(MAX_NEEDS),
            directory_bound: Cache::new(MAX_MEMORIES),
        }
    }

    /// Forgets everything, what is kept for the next daemon too: something that was learned is wrong.
    pub(crate) fn forget(&self) {
        self.memories.clear();
        self.known.clear();
        self.needs.clear();
        self.digests.forget();
    }

    /// The toolchain of `command`. Blocks: where it is not known yet, by a few processes and the hashing of the compiler.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where the driver or the dynamic linker doesn't answer, or a program is missing;
    /// [`Reason::Unreadable`] where a file can't be read.
    pub(crate) fn of(&self, command: &CompileCommand) -> Result<Arc<Toolchain>, Fallback> {
        self.of_since(command, Instant::now())
    }

    /// Like [`Toolchains::of`], as of `asked`: what was seen to stand after that moment isn't looked at again.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn of_since(&self, command: &CompileCommand, asked: Instant) -> Result<Arc<Toolchain>, Fallback> {
        let asked = Since::at(asked);
        let mut question = Question::of(command);
        if question.directory.is_none() && self.directory_bound.contains_key(&question) {
            question.directory = Some(command.working_directory.clone());
        }
        let memory = self.memory(&question);
        if let Some(toolchain) = memory.get(asked) {
            return Ok(toolchain);
        }
        let _asking = memory.asking.lock();
        if let Some(toolchain) = memory.get(asked) {
            return Ok(toolchain);
        }
        let Found { toolchain, validity, depends_on_directory } = self.find_standing_still(command)?;
        let identity = toolchain.identity;
        let Ok::<_, Infallible>(toolchain) = self.known.get_or_insert_with(&identity, || Ok(Arc::new(toolchain)));
        let kept = if depends_on_directory && question.directory.is_none() {
            self.directory_bound.insert(question.clone(), ());
            question.directory = Some(command.working_directory.clone());
            self.memory(&question)
        } else {
            Arc::clone(&memory)
        };
        *kept.answer.write() = Some((toolchain.clone(), validity));
        self.digests.save();
        Ok(toolchain)
    }

    /// The memory for `question`, which may be empty yet.
    fn memory(&self, question: &Question) -> Arc<Memory> {
        let Ok::<_, Infallible>(memory) = self.memories.get_or_insert_with(question, || Ok(Arc::default()));
        memory
    }

    /// Asks until nothing changes meanwhile.
    fn find_standing_still(&self, command: &CompileCommand) -> Result<Found, Fallback> {
        let mut attempt = 1;
        loop {
            match self.find(command) {
                Err(fallback) if fallback.reason == Reason::Changing && attempt < MAX_ATTEMPTS => attempt += 1,
                found => return found,
            }
        }
    }

    /// Asks the driver and gathers what it names, and what a compile reads and looks for.
    fn find(&self, command: &CompileCommand) -> Result<Found, Fallback> {
        let refuse =
            |error: io::Error| Fallback::new(Reason::Compiler, format!("{}: {error}", command.compiler.display()));
        // What is looked at before the question is asked can't change unseen while it is answered; what is looked at after it
        // must have stood since before.
        let began = Moment::now();
        let mut tree = Tree::default();
        tree.depend_on(Path::new(libraries::CACHE));
        tree.depend_on(Path::new(libraries::PRELOADED));
        if libraries::preloads_anything() {
            return Err(Fallback::new(Reason::HostDependent, libraries::PRELOADED));
        }
        let description = driver::describe(command).map_err(refuse)?;
        let mut programs = BTreeSet::from([command.compiler.clone()]);
        let mut path_directories: Vec<PathBuf> = Vec::new();
        for program in &description.programs {
            programs.insert(locate(program, command, &mut path_directories).map_err(refuse)?);
        }
        let mut wanted: BTreeSet<PathBuf> = &description.files | &description.option_files;
        wanted.extend(description.directories.iter().cloned());
        wanted.extend(description.gcc_installations.iter().flat_map(|installation| gcc_evidence(installation)));
        let looked = looks::look(command)?;
        match &looked {
            Some(looked) => {
                looked.check_programs(&programs)?;
                tree.depend_on_looks(&looked.looks, began)
                    .map_err(|changed| Fallback::new(Reason::Changing, changed.to_string()))?;
                wanted.extend(looked.files().map(Path::to_owned));
            }
            None => depend_on_lists(&mut tree, &programs, &description, command),
        }
        let mut variables = Vec::new();
        let libraries = self.libraries(&programs, &description.files, command, &mut variables).map_err(refuse)?;
        wanted.extend(locale::files(&command.environment, command.characters, &libraries));
        for file in programs.iter().chain(&libraries).chain(&wanted) {
            tree.add(file, &self.digests)
                .map_err(|error| Fallback::at(Reason::Unreadable, error.to_string(), file, 0))?;
        }
        if !path_directories.is_empty() {
            let path = std::env::join_paths(&path_directories)
                .map_err(|error| Fallback::new(Reason::Compiler, error.to_string()))?;
            variables.push((OsString::from("PATH"), path));
        }
        variables.sort();
        let (toolchain, validity) = Toolchain::new(tree.finish(), variables, description.objects);
        let depends_on_directory = looked.is_some_and(|looked| looked.depends_on_directory);
        Ok(Found { toolchain, validity, depends_on_directory })
    }

    /// The libraries of programs and plugins, and what it takes to find them.
    fn libraries(
        &self,
        programs: &BTreeSet<PathBuf>,
        files: &BTreeSet<PathBuf>,
        command: &CompileCommand,
        variables: &mut Vec<(OsString, OsString)>,
    ) -> io::Result<BTreeSet<PathBuf>> {
        let library_path = variable(&command.tool_environment, "LD_LIBRARY_PATH").filter(|path| !path.is_empty());
        let mut libraries = BTreeSet::new();
        let mut linker = None;
        for program in programs.iter().chain(files) {
            let needs = self.needs(program, linker.as_deref(), library_path)?;
            if linker.is_none() {
                linker = needs.files.last().cloned();
            }
            if needs.through_cache {
                libraries.insert(PathBuf::from(libraries::CACHE));
            }
            if needs.through_library_path && variables.is_empty() {
                let value = library_path.unwrap_or_default().to_owned();
                variables.push((OsString::from("LD_LIBRARY_PATH"), value));
            }
            libraries.extend(needs.files);
        }
        Ok(libraries)
    }

    fn needs(&self, program: &Path, linker: Option<&Path>, library_path: Option<&OsStr>) -> io::Result<Needs> {
        let question = (program.to_owned(), linker.map(Path::to_owned), library_path.map(OsStr::to_owned));
        let kept = self.needs.get(&question).filter(|kept| kept.0.holds(Since::now()));
        if let Some(kept) = kept {
            return Ok(kept.1.clone());
        }
        let mut sights = Sights::default();
        let (needs, traceable) = libraries::needs(program, linker, library_path, &mut sights)?;
        sights.watch(Path::new(libraries::CACHE));
        for file in &needs.files {
            sights.watch(file);
        }
        // Else with a library path, the answer depends on directories that are not watched: it is not kept.
        if traceable == Traceable::Yes || library_path.is_none() {
            self.needs.insert(question, Arc::new((sights.finish(), needs.clone())));
        }
        Ok(needs)
    }
}

impl Question {
    fn of(command: &CompileCommand) -> Self {
        let mut environment = command.environment.clone();
        environment.retain(|(name, _)| name != "PWD");
        environment.extend(command.tool_environment.iter().cloned());
        Self {
            compiler: command.compiler.clone(),
            family: command.family,
            language: command.language.asked_as(),
            arguments: command.toolchain_arguments.clone(),
            environment,
            directory: match command.asked_from(command.asked_from, &["PATH"]) {
                AskedFrom::Anywhere => None,
                AskedFrom::WorkingDirectory => Some(command.working_directory.clone()),
            },
        }
    }
}

impl Toolchain {
    fn new(grown: Grown, environment: Vec<(OsString, OsString)>, objects: Objects) -> (Self, Validity) {
        let mut text: Vec<u8> = Vec::new();
        let mut line = |parts: &[&[u8]]| {
            for part in parts {
                text.extend((part.len() as u64).to_le_bytes());
                text.extend(*part);
            }
        };
        for file in &grown.files {
            let mode: &[u8] = if file.is_executable { b"program" } else { b"file" };
            line(&[mode, file.path.as_os_str().as_bytes(), file.digest.to_string().as_bytes()]);
        }
        for (link, target) in &grown.symlinks {
            line(&[b"link", link.as_os_str().as_bytes(), target.as_os_str().as_bytes()]);
        }
        for directory in &grown.directories {
            line(&[b"directory", directory.as_os_str().as_bytes()]);
        }
        for (name, value) in &environment {
            line(&[b"variable", name.as_bytes(), value.as_bytes()]);
        }
        if objects == Objects::Passing {
            line(&[b"passing objects"]);
        }
        let toolchain = Self {
            identity: Digest::of(&text),
            files: grown.files,
            symlinks: grown.symlinks,
            directories: grown.directories,
            environment,
            objects,
        };
        (toolchain, grown.validity)
    }
}

/// Where a program is that the driver names: absolute, or a bare name in `PATH`.
fn locate(program: &Path, command: &CompileCommand, path_directories: &mut Vec<PathBuf>) -> io::Result<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(command.working_directory.join(program));
    }
    let path = variable(&command.tool_environment, "PATH").unwrap_or_default();
    for directory in std::env::split_paths(path) {
        let directory = command.working_directory.join(directory);
        let found = directory.join(program);
        if found.is_file() {
            if !path_directories.contains(&directory) {
                path_directories.push(directory);
            }
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("{} not found in PATH", program.display())))
}

fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

/// The files by which clang recognises an installation of gcc and its variants.
fn gcc_evidence(installation: &Path) -> Vec<PathBuf> {
    ["crtbegin.o", "32/crtbegin.o", "64/crtbegin.o", "x32/crtbegin.o"]
        .iter()
        .map(|name| installation.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// Where nothing can be traced, the places in which new files are known to change the answer: directories of `PATH`, what
/// stands beside the programs (specs, configuration files), other versions of gcc.
fn depend_on_lists(tree: &mut Tree, programs: &BTreeSet<PathBuf>, description: &Description, command: &CompileCommand) {
    let path = variable(&command.tool_environment, "PATH").unwrap_or_default();
    for directory in std::env::split_paths(path) {
        tree.depend_on(&command.working_directory.join(directory));
    }
    for candidate in &description.candidates {
        tree.depend_on(candidate);
    }
    for program in programs {
        for place in [Some(program.clone()), program.canonicalize().ok()].into_iter().flatten() {
            if let Some(directory) = place.parent() {
                tree.depend_on(directory);
            }
        }
    }
    for installation in &description.gcc_installations {
        // The version's directory, its siblings, and the targets.
        for directory in installation.ancestors().take(3) {
            tree.depend_on(directory);
        }
    }
}
