//! By what a compiler's answers are kept.

use crate::command::Command;
use crate::compiler::process::Request;
use crate::fallback::{Fallback, Reason};
use crate::files::file::SourceFile;
use crate::files::resolve::{Place, Trail};
use crate::files::stamp::Stamp;
use crate::files::{FileStore, View};
use crate::scan::probe::answer::Transcript;
use crate::scan::probe::driver::DriverAnswer;
use crate::scan::probe::run;
use crate::state_file;
use pumphouse_proto::digest::Digest;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The compiler's identity, the flags, the language and the environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProbeKey {
    request: Request,
    files: Vec<(PathBuf, Stamp)>,
}

/// The version of the questions; other answers are not taken for theirs.
const FORMAT: &str = "pumphouse probe 8";

impl ProbeKey {
    /// The key of what the compiler proper says as the driver of `command` would run it, which `answer` tells.
    pub(super) fn of_proper(request: &Request, answer: &DriverAnswer) -> Self {
        let proper = request.program.clone();
        let identity = stamp(&proper);
        let mut files = answer.stamps().to_vec();
        files.push((proper, identity));
        Self { request: request.clone(), files }
    }

    /// The key of what the driver of `command` says to `request`. Costs a few `stat`s.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where the compiler isn't there.
    pub(super) fn of(request: &Request, command: &Command, store: &FileStore, view: View) -> Result<Self, Fallback> {
        let mut request = request.clone();
        if !run::depends_on_directory(&request) {
            request.directory = "/".into();
        }
        let missing = || Fallback::new(Reason::Compiler, format!("{} is not there", command.compiler.display()));
        let driver = resolve(&command.compiler, store, view)?.ok_or_else(missing)?;
        let mut files = vec![identity(&driver)];
        for input in &command.option_files {
            let path = command.working_directory.join(input);
            if let Some(file) = resolve(&path, store, view)? {
                files.push(identity(&file));
            }
        }
        Ok(Self { request, files })
    }

    /// The key of what the same compiler says to `request`.
    pub(super) fn for_request(&self, request: &Request) -> Self {
        let directory = self.request.directory.clone();
        Self { request: Request { directory, ..request.clone() }, files: self.files.clone() }
    }

    /// Whether the driver and the files of options are the same still.
    pub(super) fn is_current(&self) -> bool {
        self.files.iter().all(|(path, known)| stamp(path) == *known)
    }

    fn name(&self) -> String {
        Digest::of(format!("{FORMAT}\n{self:?}").as_bytes()).hash_hex()
    }

    /// The answer that another daemon kept in `directory`.
    pub(super) fn load(&self, directory: &Path) -> Option<Transcript> {
        state_file::read(&directory.join(self.name()))
    }

    /// Keeps the answer in `directory` for the next daemon.
    ///
    /// # Errors
    /// Where it can't be written; the next one asks again.
    pub(super) fn save(&self, directory: &Path, transcript: &Transcript) -> io::Result<()> {
        state_file::write(&directory.join(self.name()), transcript)
    }
}

fn resolve(path: &Path, store: &FileStore, view: View) -> Result<Option<Arc<SourceFile>>, Fallback> {
    let place = store.resolve(store.root(), path.as_os_str().as_bytes(), view, &mut Trail::default())?;
    Ok(match place {
        Place::File(file) => Some(file),
        _ => None,
    })
}

/// Path and stamp: the content of compilers is taken to change with its stamp.
fn identity(file: &SourceFile) -> (PathBuf, Stamp) {
    (file.path().to_path_buf(), stamp(file.path()))
}

pub(super) fn stamp(path: &Path) -> Stamp {
    rustix::fs::stat(path).map_or(Stamp::none(), |stat| Stamp::of(&stat))
}
