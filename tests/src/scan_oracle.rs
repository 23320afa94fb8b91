//! The scanner's oracle: the compilers themselves.
//!
//! A case is a tree of files and a command line. The compiler's own answer comes in two forms: what it lists (`-M`), and
//! what it does in a replica that holds nothing of the case but the closure. The second sees everything that the first is
//! blind to (`__has_include`, `.incbin`, empty directories): the output, the messages and the exit code have to be those
//! of the local run.
//!
//! Knows nothing about how the scanner works; compares answers only.

pub mod compiler;
pub mod depfile;
pub mod replica;
pub mod trace;
pub mod tree;

use crate::scan_oracle::compiler::Invocation;
use pumphouse::fallback::Fallback;
use pumphouse::scan::closure::Closure;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a closure and a compiler's own list differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Files that the compiler read and the closure lacks.
    pub misses: Vec<PathBuf>,
    /// Files of the closure, other than probed ones, that the compiler did not list.
    pub surplus: Vec<PathBuf>,
}

/// Compares `closure` with the files that the compiler listed, as it spelled them.
pub fn compare(closure: &Closure, listed: &[PathBuf], invocation: &Invocation) -> Difference {
    let resolve = |path: &PathBuf| {
        let path = invocation.directory.join(path);
        std::fs::canonicalize(&path).unwrap_or(path)
    };
    let listed: BTreeSet<PathBuf> = listed.iter().map(resolve).collect();
    let closed: BTreeSet<&Path> = closure.files.iter().map(|file| &*file.path).collect();
    let probed: BTreeSet<&Path> = closure.probed.iter().map(|path| &**path).collect();
    Difference {
        misses: listed.iter().filter(|path| !closed.contains(path.as_path())).cloned().collect(),
        surplus: closed
            .iter()
            .filter(|path| !listed.contains(**path) && !probed.contains(**path))
            .map(|path| path.to_path_buf())
            .collect(),
    }
}

/// The scanner as it is asked here: with a compile as a user would write it.
#[derive(Debug)]
pub struct Scanner(pumphouse::scan::Scanner);

impl Scanner {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self(pumphouse::scan::Scanner::open(None))
    }

    /// One that keeps in `state` what the next one can use.
    pub fn with_state(state: &Path) -> Self {
        Self(pumphouse::scan::Scanner::open(Some(state)))
    }

    /// Keeps what the next one can use.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn keep(&self) -> std::io::Result<()> {
        self.0.keep()
    }

    /// What the compile of `invocation` reads.
    ///
    /// # Errors
    /// The parser's or the scanner's refusal.
    pub fn scan(&self, invocation: &Invocation) -> Result<Arc<Closure>, Fallback> {
        let arguments = invocation.compile_arguments(Path::new("/tmp/never-written.o"));
        let mut environment = invocation.environment.clone();
        environment.push(("PATH".into(), "/usr/bin:/bin".into()));
        environment.push(("PWD".into(), invocation.directory.clone().into()));
        environment.push(("LC_ALL".into(), "C".into()));
        let command = pumphouse::command::parse(&arguments, &invocation.directory, &environment)?;
        self.0.scan(&command)
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}
