//! Whole closures by command, checked at each use: the fast way for a compile that was scanned before.

use crate::command::CompileCommand;
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::generation::Generation;
use crate::files::{FileStore, View};
use crate::scan::closure::assemble::Assembled;
use crate::scan::closure::{Closure, InputFile};
use crate::scan::limits::MAX_CLOSURE_BYTES;
use crate::scan::probe::{DriverAnswer, Probe};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

/// About how large one closure is: what the cache's own table is sized by.
const USUAL_CLOSURE_BYTES: usize = 16 << 10;

/// Closures by command. Where they exceed [`MAX_CLOSURE_BYTES`] a part of them stays, for a large project is built in the
/// same order again, and forgetting the oldest would forget each one just before its use.
#[derive(Debug)]
pub(crate) struct ClosureMemo {
    closures: Cache<u64, Arc<Remembered>, ByBytes, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
}

impl Default for ClosureMemo {
    fn default() -> Self {
        let closures = Cache::with(
            MAX_CLOSURE_BYTES / USUAL_CLOSURE_BYTES,
            MAX_CLOSURE_BYTES as u64,
            ByBytes,
            foldhash::fast::RandomState::default(),
            DefaultLifecycle::default(),
        );
        Self { closures, hasher: foldhash::fast::RandomState::default() }
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<u64, Arc<Remembered>> for ByBytes {
    fn weight(&self, _: &u64, remembered: &Arc<Remembered>) -> u64 {
        remembered.bytes() as u64
    }
}

/// What compilers said for a closure.
#[derive(Debug)]
pub(crate) struct Said {
    /// The compiler's own answers.
    pub(crate) compiler: Arc<Probe>,
    /// The driver's, where it had to be asked what it hands on.
    pub(crate) driver: Option<Arc<DriverAnswer>>,
}

impl Said {
    /// Whether they would say the same, as far as that isn't told by a closure's files and directories. Costs a `stat` for
    /// each file that nobody has looked at since `asked`.
    fn stands(&self, asked: Instant) -> bool {
        self.compiler.is_same_compiler(asked) && self.driver.as_ref().is_none_or(|driver| driver.is_same_driver(asked))
    }
}

#[derive(Debug)]
struct Remembered {
    command: CompileCommand,
    said: Said,
    closure: Arc<Closure>,
    files: Box<[(Arc<SourceFile>, Generation)]>,
    directories: Box<[(Arc<Directory>, Generation)]>,
}

impl Remembered {
    fn bytes(&self) -> usize {
        let closure = &self.closure;
        let command =
            self.command.arguments.len() + self.command.probe_arguments.len() + self.command.environment.len();
        closure.files.len() * size_of::<Arc<InputFile>>()
            + closure.absent.bytes()
            + ((closure.symlinks.len() + closure.names.len()) * 2 + closure.directories.len() + closure.probed.len())
                * 16
            + (self.files.len() + self.directories.len()) * 16
            + command * 64
            + 512
    }
}

impl ClosureMemo {
    /// The closure of `command`, if it is known and everything that it depends on is as it was. Costs a `stat` for each
    /// file and directory that `view` has not seen.
    pub(crate) fn get(&self, command: &CompileCommand, store: &FileStore, view: View) -> Option<Arc<Closure>> {
        let known = self.closures.get(&self.key(command))?;
        let is_current = known.command == *command
            && known.directories.iter().all(|(directory, generation)| directory.generation(view, store) == *generation)
            && known.files.iter().all(|(file, generation)| file.generation(view).ok() == Some(*generation))
            && known.said.stands(store.asked(view));
        is_current.then(|| Arc::clone(&known.closure))
    }

    /// Remembers the closure of `command`.
    pub(crate) fn insert(&self, command: &CompileCommand, assembled: Assembled, said: Said) {
        let Assembled { closure, files, directories } = assembled;
        let remembered = Remembered { command: command.clone(), said, closure, files, directories };
        self.closures.insert(self.key(command), Arc::new(remembered));
    }

    fn key(&self, command: &CompileCommand) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        command.compiler.hash(&mut hasher);
        command.arguments.hash(&mut hasher);
        command.working_directory.hash(&mut hasher);
        command.environment.hash(&mut hasher);
        hasher.finish()
    }
}
