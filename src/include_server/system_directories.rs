//! The directories that a compiler searches by itself: what lies in them is not sent.
//!
//! distcc's convention is that every server has the same system headers. A server runs the compiler below a directory
//! of its own that stands for the client's root, and puts that directory in front of the absolute paths on the command
//! line; so that `-I/usr/include/x` still means the server's `/usr/include/x`, symbolic links are sent along that lead
//! out of it again.
//!
//! What it does not know: a compile's own search path.
//!
//! Invariants: the directories are free of symbolic links, and none lies in another.
//!
//! **Source:** the "DESCRIPTION" of distcc(1) and the behaviour of distcc 3.4's include server.

use crate::command::options::{self, Selects};
use crate::command::{CompileCommand, Family, Language};
use crate::compiler::answer::SearchPath;
use crate::compiler::driver;
use crate::compiler::environment::{About, asking};
use crate::compiler::process::Request;
use crate::fallback::{Fallback, Reason};
use crate::files::as_path;
use crate::files::stamp::watch::Watch;
use quick_cache::sync::Cache;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How deep the directory is at most that stands for the client's root on a server. The links climb that far and
/// further, which does no harm at the top.
const MAX_SERVER_ROOT_DEPTH: usize = 20;
/// How many compilers (under how many flags) are remembered; a build has a handful.
const MAX_COMPILERS: usize = 1024;

/// What a compiler searches by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SystemDirectories {
    directories: Vec<PathBuf>,
    links: Vec<(Arc<Path>, Arc<Path>)>,
}

impl SystemDirectories {
    /// Those of `directories` (free of symbolic links) that don't lie in another of them.
    fn new(mut directories: Vec<PathBuf>) -> Self {
        directories.sort();
        let mut outermost: Vec<PathBuf> = Vec::new();
        for directory in directories {
            if outermost.last().is_none_or(|last| !directory.starts_with(last)) {
                outermost.push(directory);
            }
        }
        let links =
            outermost.iter().map(|directory| (Arc::from(directory.as_path()), leading_out(directory))).collect();
        Self { directories: outermost, links }
    }

    /// Whether `path` is one of them or lies in one.
    pub(super) fn contain(&self, path: &Path) -> bool {
        self.directories.iter().any(|directory| path.starts_with(directory))
    }

    /// The symbolic links, with their targets, that lead from a server's copy of the client's root to its own directories.
    pub(super) fn links(&self) -> &[(Arc<Path>, Arc<Path>)] {
        &self.links
    }
}

/// A target that leads from the link at `directory` below any root to `directory` itself.
fn leading_out(directory: &Path) -> Arc<Path> {
    let depth = directory.components().count() - 1;
    let mut target = "../".repeat(MAX_SERVER_ROOT_DEPTH + depth).into_bytes();
    target.extend_from_slice(&directory.as_os_str().as_bytes()[1..]);
    Path::new(OsStr::from_bytes(&target)).into()
}

/// The answers of compilers.
#[derive(Debug)]
pub(super) struct Compilers {
    known: Cache<Question, Arc<(Watch, Arc<SystemDirectories>)>>,
}

impl Default for Compilers {
    fn default() -> Self {
        Self { known: Cache::new(MAX_COMPILERS) }
    }
}

/// What an answer depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    request: Request,
    language: Language,
}

impl Compilers {
    /// The directories that the compiler of `command` searches for its language. Costs a run of the compiler where it
    /// is new, else a `stat`.
    ///
    /// A relative sysroot is no part of them: distcc's servers don't have it, so what lies in it must be sent.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where the compiler can't be run or says nothing that is understood.
    pub(super) fn directories(&self, command: &CompileCommand) -> Result<Arc<SystemDirectories>, Fallback> {
        let refuse = |detail: String| {
            let compiler = command.compiler.display();
            let text = format!("couldn't determine default system include directories of {compiler}: {detail}");
            Fallback::new(Reason::Compiler, text)
        };
        let question = Question {
            // What the answer can't depend on is left out: where the compile takes place.
            request: Request {
                program: command.compiler.clone(),
                arguments: flags(command),
                environment: asking(command.environment.iter().chain(&command.tool_environment), About::Itself),
                directory: "/".into(),
            },
            language: command.language,
        };
        if let Some(known) = self.known.get(&question).filter(|known| known.0.holds()) {
            return Ok(Arc::clone(&known.1));
        }
        let watch = Watch::of(&command.compiler);
        let directories = Arc::new(ask(&question, command.family).map_err(refuse)?);
        self.known.insert(question, Arc::new((watch, Arc::clone(&directories))));
        Ok(directories)
    }
}

/// The flags under which the compiler has other directories of its own, and which distcc's servers pass on unchanged.
fn flags(command: &CompileCommand) -> Vec<OsString> {
    let root = command.preprocessor.sysroot.as_deref().filter(|root| root.is_absolute());
    let mut flags: Vec<OsString> = root.map(options::system_root).into_iter().collect();
    let selecting =
        command.flags_in(&command.probe_arguments).filter(|(flag, ..)| flag.selects == Selects::Directories);
    flags.extend(selecting.flat_map(|(_, _, written)| written.iter().cloned()));
    flags
}

fn ask(question: &Question, family: Family) -> Result<SystemDirectories, String> {
    let output = driver::search_path(&question.request, asked_language(question.language).name());
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.standard_error).trim_end()));
    }
    let path = SearchPath::read(&output.standard_error);
    if !path.is_whole {
        return Err(format!("its answer is not understood ({family:?})"));
    }
    let canonical = path.bracketed.iter().filter_map(|directory| as_path(directory).canonicalize().ok());
    Ok(SystemDirectories::new(canonical.collect()))
}

/// The language to ask about: preprocessed and assembler sources have no search path of their own.
const fn asked_language(language: Language) -> Language {
    match language {
        Language::Assembler => Language::C,
        language => language.asked_as(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(directories: &[&str]) -> SystemDirectories {
        SystemDirectories::new(directories.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn none_lies_in_another() {
        let system =
            system(&["/usr/include/x86_64-linux-gnu", "/usr/lib/gcc/12/include", "/usr/include", "/usr/include"]);
        let links: Vec<_> = system.links().iter().map(|(path, _)| path.to_str().expect("UTF-8")).collect();
        assert_eq!(links, ["/usr/include", "/usr/lib/gcc/12/include"]);
        assert_eq!(*system.links()[0].1, *Path::new(&format!("{}usr/include", "../".repeat(22))));
        for (path, expect) in [
            ("/usr/include", true),
            ("/usr/include/stdio.h", true),
            ("/usr/includes/x.h", false),
            ("/usr/lib/gcc/12/plugin/x.h", false),
        ] {
            assert_eq!(system.contain(Path::new(path)), expect, "{path}");
        }
    }

    #[test]
    fn a_real_compiler() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let arguments = ["/usr/bin/g++", "-c", "a.cc"].map(OsString::from);
        let command = crate::command::parse(&arguments, directory.path(), &[]).expect("understood");
        let compilers = Compilers::default();
        let first = compilers.directories(&command).expect("an answer");
        assert!(first.contain(Path::new("/usr/include/c++/12/vector")));
        assert!(first.contain(Path::new("/usr/lib/gcc/x86_64-linux-gnu/12/include/stddef.h")));
        assert!(!first.contain(directory.path()));
        assert!(Arc::ptr_eq(&first, &compilers.directories(&command).expect("an answer")), "it is remembered");
    }

    #[test]
    fn what_is_no_compiler() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let arguments = ["/usr/bin/gcc", "-c", "a.c"].map(OsString::from);
        let command = crate::command::parse(&arguments, directory.path(), &[]).expect("understood");
        let check = |compiler: &str, expect: &str| {
            let command = CompileCommand { compiler: compiler.into(), ..command.clone() };
            let refusal = Compilers::default().directories(&command).expect_err("no compiler");
            assert_eq!(refusal.reason, Reason::Compiler);
            assert!(refusal.detail.contains(expect), "{}", refusal.detail);
        };
        check("/nowhere/gcc", "No such file or directory");
        check("/bin/true", "its answer is not understood");
        check("/bin/false", "exit status: 1");
    }
}
