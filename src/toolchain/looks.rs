//! What a compile's own programs look for: a compile of nothing under the command's flags, traced.
//!
//! The driver, the compiler proper, the assembler and the dynamic linker of each run as they would for the command itself,
//! in its directory and under its variables. What they read is a part of the toolchain, and what they looked for
//! tells how long it is the same.

use crate::command::{CompileCommand, Language};
use crate::compiler::driver;
use crate::compiler::process::{Limits, Request};
use crate::compiler::trace::{Deed, Looks, Outcome, Run, Scratch, TraceError, Unforeseen, check_programs, trace};
use crate::fallback::{Fallback, Reason};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a compile looked for.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) looks: Looks,
    /// Whether it would look elsewhere from another working directory.
    pub(super) depends_on_directory: bool,
}

/// Compiles nothing under the flags of `command`. `None` where programs can't be traced here.
///
/// # Errors
/// [`Reason::Tool`] where a program does what isn't followed; [`Reason::Compiler`] where the compile fails.
pub(super) fn look(command: &CompileCommand) -> Result<Option<Looked>, Fallback> {
    let refuse = |error: &str| Fallback::new(Reason::Compiler, format!("{}: {error}", command.compiler.display()));
    let scratch = Scratch::new().map_err(|error| refuse(&error.to_string()))?;
    let language = command.language.asked_as();
    // Strict dialects want something to be declared.
    let text = if language == Language::AssemblerWithCpp { "\n" } else { "extern int nothing;\n" };
    let source = scratch.path().join("nothing");
    std::fs::write(&source, text).map_err(|error| refuse(&error.to_string()))?;
    let compile = driver::compile(language.name(), &source, &scratch.path().join("nothing.o"));
    let request = Request {
        program: command.compiler.clone(),
        arguments: command.toolchain_arguments.iter().cloned().chain(compile).collect(),
        environment: command.environment.iter().chain(&command.tool_environment).cloned().collect(),
        directory: command.working_directory.clone(),
    };
    let traced = trace(&Run { request: &request, input: b"", scratch: scratch.path(), limits: Limits::ANSWER });
    let checked = traced.and_then(|traced| {
        check_programs(&traced.looks, &request).map_err(TraceError::Unforeseen)?;
        Ok(traced)
    });
    match checked {
        Ok(traced) if traced.code == Some(0) => {
            let depends_on_directory = traced.looks.depend_on_directory(&request);
            Ok(Some(Looked { looks: traced.looks, depends_on_directory }))
        }
        Ok(traced) => {
            let message = String::from_utf8_lossy(&traced.standard_error).into_owned();
            Err(refuse(message.lines().next_back().unwrap_or("fails")))
        }
        Err(TraceError::Unavailable(_)) => Ok(None),
        Err(TraceError::Unforeseen(unforeseen)) => Err(Fallback::new(Reason::Tool, unforeseen.to_string())),
        Err(TraceError::Failed(error)) => Err(refuse(&error)),
    }
}

impl Looked {
    /// The files that were read, programs and libraries among them; but for the dynamic linker's cache, which is an input
    /// only where something is found through nothing else.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let is_read = |outcome| matches!(outcome, Outcome::Read | Outcome::Executed);
        let files = self.looks.iter().filter(move |(path, outcome)| is_read(*outcome) && path.is_file());
        files.map(|(path, _)| path).filter(|path| *path != Path::new(super::libraries::CACHE))
    }

    /// Refuses a program that ran though the driver doesn't name it: another input may have it run yet another one.
    ///
    /// # Errors
    /// [`Reason::Tool`], by the programs' names.
    pub(super) fn check_programs(&self, named: &BTreeSet<PathBuf>) -> Result<(), Fallback> {
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let named: BTreeSet<PathBuf> = named.iter().map(|program| canonical(program)).collect();
        let Some(stranger) = self.looks.programs().find(|program| !named.contains(&canonical(program))) else {
            return Ok(());
        };
        let has_its_name = |program: &&PathBuf| program.file_name() == stranger.file_name();
        let tool = named.iter().find(has_its_name).cloned().unwrap_or_else(|| PathBuf::from("the compiler"));
        let unforeseen = Unforeseen { tool, deed: Deed::Runs(stranger.to_owned()) };
        Err(Fallback::new(Reason::Tool, unforeseen.to_string()))
    }
}
