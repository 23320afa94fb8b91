//! The key under which a compiler's answers are kept.

use crate::command::{AskedFrom, CompileCommand, options};
use crate::compiler::process::Request;
use crate::fallback::{Fallback, Reason};
use crate::files::file::SourceFile;
use crate::files::resolve::{Resolution, Trail};
use crate::files::stamp::watch::Watch;
use crate::files::{FileStore, View};
use crate::scan::probe::answer::Transcript;
use crate::scan::probe::driver::DriverAnswer;
use crate::state_file;
use pumphouse_proto::digest::Digest;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// The compiler's identity, the flags, the language and the environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProbeKey {
    request: Request,
    files: Vec<Watch>,
}

/// What stands for all directories.
const ANYWHERE: &str = "/";

/// The version of the questions; other answers are not taken for theirs.
const FORMAT: &str = "pumphouse probe 12";

impl ProbeKey {
    /// The key of what the compiler proper says as the driver of `command` would run it, which `answer` tells.
    pub(super) fn of_proper(
        request: &Request,
        asked_from: AskedFrom,
        command: &CompileCommand,
        answer: &DriverAnswer,
    ) -> Self {
        let proper = request.program.clone();
        let mut files = answer.watches().to_vec();
        files.push(Watch::of(&proper));
        Self { request: shared(request, command, asked_from), files }
    }

    /// The key of what the driver of `command` says to `request`. Costs a few `stat`s.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where the compiler isn't there.
    pub(super) fn of(
        request: &Request,
        command: &CompileCommand,
        store: &FileStore,
        view: View,
    ) -> Result<Self, Fallback> {
        let request = shared(request, command, command.asked_from);
        let missing = || Fallback::new(Reason::Compiler, format!("{} is not there", command.compiler.display()));
        let driver = resolve(&command.compiler, store, view)?.ok_or_else(missing)?;
        let mut files = vec![Watch::of(driver.path())];
        for input in &command.option_files {
            let path = command.working_directory.join(input);
            if let Some(file) = resolve(&path, store, view)? {
                files.push(Watch::of(file.path()));
            }
        }
        Ok(Self { request, files })
    }

    /// Whether the answer is the same from any directory, as far as flags and variables tell.
    pub(super) fn is_from_anywhere(&self) -> bool {
        self.request.directory == Path::new(ANYWHERE)
    }

    /// The key without the flags that have a compiler look for nothing else.
    pub(super) fn alike(&self) -> Self {
        let mut key = self.clone();
        key.request.arguments.retain(|argument| !options::changes_no_look(argument));
        key
    }

    /// The key of what the same compiler says to `request`.
    pub(super) fn for_request(&self, request: &Request) -> Self {
        let directory = self.request.directory.clone();
        Self { request: Request { directory, ..request.clone() }, files: self.files.clone() }
    }

    /// This key for answers that hang on the working directory.
    pub(super) fn bound_to(&self, directory: &Path) -> Self {
        let request = Request { directory: directory.to_owned(), ..self.request.clone() };
        Self { request, files: self.files.clone() }
    }

    /// Whether the key names the directory that the answer hangs on.
    pub(super) fn is_bound_to(&self, directory: &Path) -> bool {
        self.request.directory == directory
    }

    /// The driver or the compiler proper, and the files of options, as they were.
    pub(super) fn files(&self) -> &[Watch] {
        &self.files
    }

    /// Whether the stamps of the compiler's files will tell of a change for good, and so can name an answer on disk.
    pub(super) fn is_lasting(&self) -> bool {
        self.files.iter().all(Watch::is_lasting)
    }

    fn name(&self) -> String {
        let files: Vec<_> = self.files.iter().map(|watch| (watch.path(), watch.stamp())).collect();
        Digest::of(format!("{FORMAT}\n{:?}\n{files:?}", self.request).as_bytes()).hash_hex()
    }

    /// The answer that another daemon kept in `directory`.
    pub(super) fn load(&self, directory: &Path) -> Option<Transcript> {
        self.is_lasting().then(|| state_file::read(&directory.join(self.name())))?
    }

    /// Keeps the answer in `directory` for the next daemon.
    ///
    /// # Errors
    /// Where it can't be written; the next one asks again.
    pub(super) fn save(&self, directory: &Path, transcript: &Transcript) -> io::Result<()> {
        state_file::write(&directory.join(self.name()), transcript)
    }
}

/// `request` as one for all directories, where its flags are `asked_from` anywhere and the variables of `command` name no
/// relative path.
fn shared(request: &Request, command: &CompileCommand, asked_from: AskedFrom) -> Request {
    let mut request = request.clone();
    if command.asked_from(asked_from, &[]) == AskedFrom::Anywhere {
        request.directory = ANYWHERE.into();
    }
    request
}

fn resolve(path: &Path, store: &FileStore, view: View) -> Result<Option<Arc<SourceFile>>, Fallback> {
    let place = store.resolve(store.root(), path.as_os_str().as_bytes(), view, &mut Trail::default())?;
    Ok(match place {
        Resolution::File(file) => Some(file),
        _ => None,
    })
}
