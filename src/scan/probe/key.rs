//! By what a compiler's answers are kept.

use crate::command::Command;
use crate::fallback::{Fallback, Reason};
use crate::files::file::SourceFile;
use crate::files::resolve::{Place, Trail};
use crate::files::stamp::Stamp;
use crate::files::{FileStore, View};
use crate::scan::probe::answer::Transcript;
use crate::scan::probe::run::Request;
use pumphouse_proto::digest::Digest;
use std::fs;
use std::io::Write as _;
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
const FORMAT: &str = "pumphouse probe 2";

impl ProbeKey {
    /// The key of `command`. Costs a few `stat`s.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where the compiler isn't there.
    pub(crate) fn of(command: &Command, store: &FileStore, view: View) -> Result<Self, Fallback> {
        let mut request = Request::new(command);
        if !request.depends_on_directory() {
            request.working_directory = "/".into();
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

    /// Whether the compiler is the same one still.
    pub(crate) fn is_current(&self) -> bool {
        self.files.iter().all(|(path, known)| stamp(path) == *known)
    }

    fn name(&self) -> String {
        Digest::of(format!("{FORMAT}\n{self:?}").as_bytes()).hash_hex()
    }

    /// The answer that another daemon kept in `directory`.
    pub(super) fn load(&self, directory: &Path) -> Option<Transcript> {
        let bytes = fs::read(directory.join(self.name())).ok()?;
        let (header, rest) = bytes.split_at_checked(32 + 8)?;
        let (digest, length) = header.split_at(32);
        if Digest::of(&[length, rest].concat()).hash() != digest {
            return None;
        }
        let length = u64::from_le_bytes(length.try_into().ok()?) as usize;
        let (output, errors) = rest.split_at_checked(length)?;
        Some(Transcript { standard_output: output.to_vec(), standard_error: errors.to_vec() })
    }

    /// Keeps the answer in `directory` for the next daemon; where that fails, the next one asks again.
    pub(super) fn save(&self, directory: &Path, transcript: &Transcript) {
        let length = (transcript.standard_output.len() as u64).to_le_bytes();
        let body = [&length, transcript.standard_output.as_slice(), &transcript.standard_error].concat();
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(Digest::of(&body).hash())?;
            file.write_all(&body)?;
            file.persist(directory.join(self.name()))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!(%error, directory = %directory.display(), "a compiler's answers were not kept");
        }
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

fn stamp(path: &Path) -> Stamp {
    rustix::fs::stat(path).map_or(Stamp::none(), |stat| Stamp::of(&stat))
}
