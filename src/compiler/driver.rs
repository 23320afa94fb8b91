//! The questions that drivers answer, and the flags that ask them: no other place asks a compiler.
//!
//! A question is a [`Request`] with the flags of the command line that the answer depends on; what is added here makes
//! the driver tell instead of compile.
//!
//! **Source:** gcc's manual, "Overall Options" (`-###`, `-v`), "Developer Options" (`-print-file-name=`,
//! `-print-search-dirs`) and "Preprocessor Options" (`-M`, `-H`, `-dD`); clang's manual.

use super::process::{Answer, Limits, NoAnswer, Request};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Prints the commands instead of running them, and the files of options that were read.
const COMMANDS: [&str; 2] = ["-###", "-v"];
/// Prints where programs and libraries are looked for.
const SEARCH_LISTS: &str = "-print-search-dirs";
/// Prints where a file of the compiler's own is, or its name again.
const FILE_NAME: &str = "-print-file-name=";
/// Preprocesses standard input, with the definitions of macros left in, and tells of the search path.
pub(crate) const PREPROCESSING: [&str; 4] = ["-E", "-dD", "-v", "-"];
/// Tells of the search path, and of nothing else.
const SEARCH_PATH: [&str; 3] = ["-v", "-E", "/dev/null"];
/// Prints a rule with all that is included, and each file as it is opened.
const DEPENDENCIES: [&str; 4] = ["-M", "-MT", "x", "-H"];
/// Selects a language.
const LANGUAGE: &str = "-x";

/// The arguments that select `language`, which is an operand of `-x`.
pub(crate) fn language(language: &str) -> [&str; 2] {
    [LANGUAGE, language]
}

/// The arguments of a compile of nothing, in `language`.
pub(crate) fn empty_compile(language: &str) -> [&str; 6] {
    [LANGUAGE, language, "-c", "/dev/null", "-o", "/dev/null"]
}

/// The arguments of a compile of `source`, in `language`, into `object`.
pub(crate) fn compile(language: &str, source: &Path, object: &Path) -> [OsString; 6] {
    [LANGUAGE.into(), language.into(), "-c".into(), source.into(), "-o".into(), object.into()]
}

/// Whether a question under this flag would leave a file beside the user's own.
pub(crate) fn leaves_a_file(flag: &OsStr) -> bool {
    flag.as_bytes().starts_with(b"-ftime-trace")
}

/// The commands that the driver would run for `request`, which is a compile: what [`answer`](super::answer) reads.
///
/// # Errors
/// Where there is no answer.
pub(crate) fn commands(request: &Request) -> Result<Answer, NoAnswer> {
    commands_request(request).run(Limits::ANSWER)
}

/// What [`commands`] runs.
pub(crate) fn commands_request(request: &Request) -> Request {
    request.with_first(&COMMANDS)
}

/// The lists of gcc's driver under the flags of `request`: what [`answer::search_list`](super::answer::search_list) reads.
///
/// # Errors
/// Where there is no answer.
pub(crate) fn search_lists(request: &Request) -> Result<Vec<u8>, NoAnswer> {
    Ok(request.with_first(&[SEARCH_LISTS]).run(Limits::ANSWER)?.standard_output)
}

/// Where gcc's driver finds the file `name` of its own under the flags of `request`; `None` where it doesn't.
///
/// # Errors
/// Where there is no answer.
pub(crate) fn file_name(request: &Request, name: &Path) -> Result<Option<PathBuf>, NoAnswer> {
    let mut question = OsString::from(FILE_NAME);
    question.push(name);
    let output = request.with_last([question]).run(Limits::ANSWER)?;
    // What isn't found comes back as it was asked for.
    let path = PathBuf::from(OsStr::from_bytes(output.standard_output.trim_ascii()));
    Ok(Some(path).filter(|path| path.is_absolute()))
}

/// The search path of `language` under the flags of `request`: what [`SearchPath`](super::answer::SearchPath) reads.
///
/// # Errors
/// Where there is no answer.
pub(crate) fn search_path(request: &Request, language: &str) -> Result<Answer, NoAnswer> {
    request.with_last([LANGUAGE, language]).with_last(SEARCH_PATH).run(Limits::ANSWER)
}

/// What the compile `request`, without what says what is made, would include: a rule on standard output, which
/// [`prerequisites`](super::make_rule::prerequisites) reads, and on standard error each file as it is opened, which
/// [`answer::opened`](super::answer::opened) reads.
///
/// # Errors
/// Where there is no answer.
pub(crate) fn dependencies(request: &Request) -> Result<Answer, NoAnswer> {
    request.with_last(DEPENDENCIES).run(Limits::PREPROCESSING)
}
