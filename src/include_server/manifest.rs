//! What distcc's servers need for a compile: which of a closure's entries are sent, and by which names the compiler is to
//! know the files.
//!
//! A server has the client's files below a directory of its own. A header that is found through an absolute directory
//! would be known to the compiler by a path that starts there, and `__FILE__` and warnings would say so; such a file is
//! sent with a first line that names it as the client's compiler would.
//!
//! What it does not know: how files are compressed and sent.
//!
//! Invariants: nothing that is sent lies in a directory of the compiler's own, through which servers lead a link out.
//!
//! **Source:** the behaviour of distcc 3.4's client, server and include server.

use crate::command::CompileCommand;
use crate::fallback::{Fallback, Reason};
use crate::include_server::system_directories::SystemDirectories;
use crate::scan::closure::{Closure, InputFile};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// What is sent for a compile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Files, with the names that they must be known by where the compiler would find another.
    pub(super) files: Vec<(Arc<InputFile>, Option<Arc<Path>>)>,
    /// Symbolic links with their targets.
    pub(super) symlinks: Vec<(Arc<Path>, Arc<Path>)>,
    /// Directories that must exist, and that nothing else makes exist.
    pub(super) directories: Vec<Arc<Path>>,
    /// Files that were included by an absolute path, which the compiler finds on the server or not.
    pub(super) ignored: Vec<Arc<Path>>,
}

/// What the user wants of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// A file that is included by an absolute path is no reason to refuse the compile.
    pub(super) ignore_absolute_includes: bool,
    /// Directories are made to exist in which no file is needed.
    pub(super) force_directories: bool,
}

impl Manifest {
    /// What is sent of `closure` for `command`.
    ///
    /// # Errors
    /// [`Reason::Unscannable`] where the compile would read another file on a server than here.
    pub(super) fn new(
        closure: &Closure,
        command: &CompileCommand,
        system: &SystemDirectories,
        wishes: Wishes,
    ) -> Result<Self, Fallback> {
        let directory = command.working_directory.as_path();
        if system.contain(directory) {
            let detail = "the working directory is one of the compiler's own, which distcc's servers have already";
            return Err(Fallback::at(Reason::Unscannable, detail, directory, 0));
        }
        let mut manifest = Self::default();
        for path in &closure.absolute {
            if !wishes.ignore_absolute_includes {
                let detail = format!("filepath must be relative but isn't: '{}'", path.display());
                return Err(Fallback::new(Reason::Unscannable, detail));
            }
            manifest.ignored.push(Arc::clone(path));
        }
        manifest.add_files(closure, command, system)?;
        let links = closure.symlinks.iter().filter(|(path, _)| !system.contain(path));
        manifest.symlinks = system.links().iter().chain(links).cloned().collect();
        if wishes.force_directories {
            manifest.add_directories(closure, directory, system);
        }
        Ok(manifest)
    }

    fn add_files(
        &mut self,
        closure: &Closure,
        command: &CompileCommand,
        system: &SystemDirectories,
    ) -> Result<(), Fallback> {
        let names: HashMap<&Path, &Arc<Path>> = closure.names.iter().map(|(path, name)| (&**path, name)).collect();
        let probed: HashSet<&Path> = closure.probed.iter().map(|path| &**path).collect();
        for file in &closure.files {
            if system.contain(&file.path) {
                let name = names.get(&*file.path).map_or(&file.path, |name| *name);
                if **name == *command.source {
                    let detail = "the source lies in a directory of the compiler's own, which is not sent";
                    return Err(Fallback::at(Reason::Unscannable, detail, &*file.path, 0));
                }
                continue;
            }
            let is_included = !probed.contains(&*file.path) && command.language.is_preprocessed_by_compiler();
            let name = is_included.then(|| Arc::clone(names.get(&*file.path).copied().unwrap_or(&file.path)));
            self.files.push((Arc::clone(file), name.filter(|name| name.is_absolute())));
        }
        Ok(())
    }

    /// Only those directories that a server doesn't make for the sake of something in them.
    fn add_directories(&mut self, closure: &Closure, working_directory: &Path, system: &SystemDirectories) {
        let mut made = HashSet::from([Path::new("/")]);
        make(&mut made, Some(working_directory));
        for (file, _) in &self.files {
            make(&mut made, file.path.parent());
        }
        for (link, _) in &self.symlinks {
            make(&mut made, link.parent());
        }
        // The deepest first: they make the others.
        let wanted = closure.directories.iter().rev().filter(|directory| !system.contain(directory));
        self.directories.extend(wanted.filter(|directory| make(&mut made, Some(directory))).cloned());
    }
}

/// Adds a directory and those above it to those that are `made`; gives whether it is new.
fn make<'a>(made: &mut HashSet<&'a Path>, directory: Option<&'a Path>) -> bool {
    // Where one is there, so are those above it.
    let ancestors = directory.map(Path::ancestors).into_iter().flatten();
    ancestors.take_while(|directory| made.insert(directory)).count() > 0
}
