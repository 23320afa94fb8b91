//! Whole closures by command, checked at each use: the fast way for a compile that was scanned before.

use crate::command::Command;
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::{FileStore, View};
use crate::scan::assemble::Assembled;
use crate::scan::closure::{Closure, InputFile};
use crate::scan::limits::MAX_CLOSURE_BYTES;
use crate::scan::probe::ProbeKey;
use dashmap::DashMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Closures by command.
#[derive(Debug, Default)]
pub(crate) struct ClosureMemo {
    closures: DashMap<u64, Arc<Remembered>, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
    bytes: AtomicUsize,
}

#[derive(Debug)]
struct Remembered {
    command: Command,
    compiler: ProbeKey,
    closure: Arc<Closure>,
    files: Box<[(Arc<SourceFile>, u32)]>,
    directories: Box<[(Arc<Directory>, u32)]>,
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
    pub(crate) fn get(&self, command: &Command, store: &FileStore, view: View) -> Option<Arc<Closure>> {
        let known = Arc::clone(&*self.closures.get(&self.key(command))?);
        let is_current = known.command == *command
            && known.directories.iter().all(|(directory, generation)| directory.generation(view, store) == *generation)
            && known.files.iter().all(|(file, generation)| file.generation(view).ok() == Some(*generation))
            && known.compiler.is_current();
        is_current.then(|| Arc::clone(&known.closure))
    }

    /// Remembers the closure of `command`.
    pub(crate) fn insert(&self, command: &Command, assembled: Assembled, compiler: ProbeKey) {
        let Assembled { closure, files, directories } = assembled;
        let remembered = Remembered { command: command.clone(), compiler, closure, files, directories };
        let bytes = remembered.bytes();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_CLOSURE_BYTES {
            self.closures.clear();
            self.bytes.store(bytes, Ordering::Relaxed);
        }
        if let Some(replaced) = self.closures.insert(self.key(command), Arc::new(remembered)) {
            self.bytes.fetch_sub(replaced.bytes().min(self.bytes()), Ordering::Relaxed);
        }
    }

    /// About how many bytes all closures take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn key(&self, command: &Command) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        command.compiler.hash(&mut hasher);
        command.arguments.hash(&mut hasher);
        command.working_directory.hash(&mut hasher);
        command.environment.hash(&mut hasher);
        hasher.finish()
    }
}
