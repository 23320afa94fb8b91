//! The requests by which a compiler is made to preprocess a source of ours.

use crate::command::handed_on::Proper;
use crate::command::{Command, Language};
use crate::compiler::driver::{self, PREPROCESSING};
use crate::compiler::environment::{About, asking};
use crate::compiler::process::{Answer, Limits, NoAnswer, Request};
use crate::compiler::trace::{Looks, Run, Scratch, TraceError, trace};
use crate::fallback::{Fallback, Reason};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The request for the compiler, the flags, the language and the environment of `command`.
pub(super) fn for_driver(command: &Command) -> Request {
    let mut arguments: Vec<OsString> =
        command.probe_arguments.iter().filter(|argument| matters(argument)).cloned().collect();
    let language = driver::language(command.language.asked_as().name());
    arguments.extend(language.into_iter().chain(PREPROCESSING).map(OsString::from));
    request(command.compiler.clone(), arguments, command)
}

/// The request for the compiler proper, as the driver of `command` would run it.
pub(super) fn for_proper(proper: &Proper, command: &Command) -> Request {
    let mut arguments = proper.arguments.clone();
    arguments.extend(PREPROCESSING.map(OsString::from));
    request(proper.program.clone(), arguments, command)
}

/// The request for the driver of `command` under all of its arguments, those in response files in their place: gcc would
/// show the name of another such file.
///
/// # Errors
/// [`Reason::ResponseFile`] where one can't be read.
pub(super) fn for_whole_command(command: &Command) -> Result<Request, Fallback> {
    Ok(request(command.compiler.clone(), command.expanded_arguments()?, command))
}

/// A request for the compiler's macros like `request`, with `flags` behind the command's own.
pub(super) fn also_under(request: &Request, flags: Vec<OsString>) -> Request {
    let mut arguments = request.arguments.clone();
    let end = arguments.len() - PREPROCESSING.len();
    arguments.splice(end..end, flags);
    Request { arguments, ..request.clone() }
}

fn request(program: PathBuf, arguments: Vec<OsString>, command: &Command) -> Request {
    let variables = command.environment.iter().chain(&command.tool_environment);
    let environment = asking(variables, About::Itself);
    Request { program, arguments, environment, directory: command.working_directory.clone() }
}

/// Runs the compiler over `source`, from `directory`, since the request's own may be gone. Its exit code does not matter:
/// a question that it refuses is answered by that.
///
/// # Errors
/// [`Reason::Compiler`] where it can't be run, takes too long or says too much.
pub(super) fn preprocess(request: &Request, directory: &Path, source: &str) -> Result<Answer, Fallback> {
    let directory = (!request.arguments.iter().all(names_no_file)).then_some(directory);
    request.run_in(directory, source.as_bytes(), Limits::ANSWER).map_err(|error| unanswered(request, &error))
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
        Err(TraceError::Unavailable(_)) => Ok((preprocess(request, &request.directory, source)?, None)),
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

/// Whether a flag can change what the compiler says of itself. Those that surely can't are left out, so that more
/// compiles share an answer.
fn matters(argument: &OsString) -> bool {
    const HARMLESS: &[&[u8]] = &[
        b"-fdiagnostics-",
        b"-fdebug-prefix-map=",
        b"-ffile-prefix-map=",
        b"-fmacro-prefix-map=",
        b"-frandom-seed=",
        b"-fmessage-length=",
        b"-Wa,",
        b"-Wl,",
        b"-fcolor-diagnostics",
        b"-fno-color-diagnostics",
        // It would leave a file beside the user's own.
        b"-ftime-trace",
    ];
    let text = argument.as_bytes();
    let is_warning = text.starts_with(b"-W") && !text.starts_with(b"-Wp,");
    let is_debug = text.starts_with(b"-g") && !text.starts_with(b"-gcc") && !text.starts_with(b"-gsplit");
    !(is_warning || is_debug || HARMLESS.iter().any(|flag| text.starts_with(flag)))
}

/// Whether a flag surely names no file by a relative path.
fn names_no_file(argument: &OsString) -> bool {
    const WITH_VALUE: &[&[u8]] = &[b"-std=", b"-march=", b"-mtune=", b"-mcpu="];
    let text = argument.as_bytes();
    !text.contains(&b'/')
        && (WITH_VALUE.iter().any(|flag| text.starts_with(flag))
            || !text.contains(&b'=')
                && [b"-O".as_slice(), b"-f", b"-m", b"-x", b"-E", b"-d", b"-v"]
                    .iter()
                    .any(|flag| text.starts_with(flag))
            || text == b"-"
            || text == b"-ansi"
            || text == b"-pthread"
            || !text.starts_with(b"-") && Language::ALL.iter().any(|language| language.name().as_bytes() == text))
}

/// Whether the answer may depend on the working directory: a flag names a relative path.
pub(super) fn depends_on_directory(request: &Request) -> bool {
    request.arguments.iter().any(|argument| {
        let text = argument.as_bytes();
        let value = text.iter().position(|byte| *byte == b'=').map_or(text, |at| &text[at + 1..]);
        let names_path = value.contains(&b'/') && !value.starts_with(b"/");
        names_path
            || [b"-B".as_slice(), b"-specs", b"--specs", b"--config", b"-iprefix", b"--include-prefix", b"@"]
                .iter()
                .any(|flag| text.starts_with(flag))
    })
}
