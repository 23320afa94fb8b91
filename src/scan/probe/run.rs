//! The requests by which a compiler is made to preprocess a source of ours.

use crate::command::CompileCommand;
use crate::command::handed_on::Proper;
use crate::compiler::driver::{self, PREPROCESSING};
use crate::compiler::environment::{About, asking};
use crate::compiler::process::{Answer, Limits, NoAnswer, Request};
use crate::compiler::trace::{Looks, Run, Scratch, TraceError, trace};
use crate::fallback::{Fallback, Reason};
use std::ffi::OsString;
use std::path::PathBuf;

/// The request for the compiler, the flags, the language and the environment of `command`.
pub(super) fn for_driver(command: &CompileCommand) -> Request {
    let mut arguments = command.probe_arguments.clone();
    arguments.retain(|argument| !driver::leaves_a_file(argument));
    let language = driver::language(command.language.asked_as().name());
    arguments.extend(language.into_iter().chain(PREPROCESSING).map(OsString::from));
    request(command.compiler.clone(), arguments, command)
}

/// The request for the compiler proper, as the driver of `command` would run it.
pub(super) fn for_proper(proper: &Proper, command: &CompileCommand) -> Request {
    let mut arguments = proper.arguments.clone();
    arguments.retain(|argument| !driver::leaves_a_file(argument));
    arguments.extend(PREPROCESSING.map(OsString::from));
    request(proper.program.clone(), arguments, command)
}

/// The request for the driver of `command` under all of its arguments, those in response files in their place: gcc would
/// show the name of another such file.
///
/// # Errors
/// [`Reason::ResponseFile`] where one can't be read.
pub(super) fn for_whole_command(command: &CompileCommand) -> Result<Request, Fallback> {
    Ok(request(command.compiler.clone(), command.expanded_arguments()?, command))
}

/// A request for the compiler's macros like `request`, with `flags` behind the command's own.
pub(super) fn also_under(request: &Request, flags: Vec<OsString>) -> Request {
    let mut arguments = request.arguments.clone();
    let end = arguments.len() - PREPROCESSING.len();
    arguments.splice(end..end, flags);
    Request { arguments, ..request.clone() }
}

fn request(program: PathBuf, arguments: Vec<OsString>, command: &CompileCommand) -> Request {
    let variables = command.environment.iter().chain(&command.tool_environment);
    let environment = asking(variables, About::Itself);
    Request { program, arguments, environment, directory: command.working_directory.clone() }
}

/// Runs the compiler over `source`. Its exit code does not matter: a question that it refuses is answered by that.
///
/// # Errors
/// [`Reason::Compiler`] where it can't be run, takes too long or says too much.
pub(super) fn preprocess(request: &Request, source: &str) -> Result<Answer, Fallback> {
    request.run_with(source.as_bytes(), Limits::ANSWER).map_err(|error| unanswered(request, &error))
}

/// Runs the compiler over `source` in the request's own directory, and tells what it looked for, where that can be traced.
///
/// # Errors
/// As for [`preprocess`], and [`Reason::Tool`] where a program does what isn't followed.
pub(super) fn traced(request: &Request, source: &str) -> Result<(Answer, Option<Looks>), Fallback> {
    let scratch = Scratch::new().map_err(|error| refuse(request, &error.to_string()))?;
    let run = Run { request, input: source.as_bytes(), scratch: scratch.path(), limits: Limits::ANSWER };
    match trace(&run) {
        Ok(traced) => {
            let status = traced.status().ok_or_else(|| refuse(request, "was ended by a signal"))?;
            let answer =
                Answer { status, standard_output: traced.standard_output, standard_error: traced.standard_error };
            Ok((answer, Some(traced.looks)))
        }
        Err(TraceError::Unavailable(_)) => Ok((preprocess(request, source)?, None)),
        Err(TraceError::Unforeseen(unforeseen)) => Err(Fallback::new(Reason::Tool, unforeseen.to_string())),
        Err(TraceError::Failed(error)) => Err(refuse(request, &error)),
    }
}

/// A refusal, since `request` had no answer.
pub(super) fn unanswered(request: &Request, error: &NoAnswer) -> Fallback {
    refuse(request, &error.to_string())
}

/// A refusal by name of the program.
pub(super) fn refuse(request: &Request, detail: &str) -> Fallback {
    Fallback::new(Reason::Compiler, format!("{} {detail}", request.program.display()))
}
