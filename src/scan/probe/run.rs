//! A run of the compiler that only preprocesses a source of ours.

use crate::command::handed_on::Proper;
use crate::command::{Command, Language};
use crate::fallback::{Fallback, Reason};
use crate::scan::limits::{MAX_PROBE_BYTES, MAX_PROBE_TIME};
use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc;
use std::thread;

/// Variables that add directories to the search path: the scanner adds these itself.
const SEARCH_VARIABLES: &[&str] =
    &["CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH"];
/// Variables that make the compiler write files, or speak otherwise than the answers are read.
const UNWANTED_VARIABLES: &[&str] =
    &["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANGUAGE"];

/// How a compiler is asked, the question aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) compiler: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) working_directory: PathBuf,
}

/// What makes a compiler show its macros and directories, with a source on standard input: the end of a request.
const PREPROCESSING: [&str; 4] = ["-E", "-dD", "-v", "-"];

/// What the compiler said.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) standard_output: Vec<u8>,
    pub(super) standard_error: Vec<u8>,
}

impl Request {
    /// The request for the compiler, the flags, the language and the environment of `command`.
    pub(super) fn new(command: &Command) -> Self {
        let mut arguments: Vec<OsString> =
            command.probe_arguments.iter().filter(|argument| matters(argument)).cloned().collect();
        let language = command.language.asked_as().name();
        arguments.extend(["-x", language].into_iter().chain(PREPROCESSING).map(OsString::from));
        Self::to(command.compiler.clone(), arguments, command)
    }

    /// The request for the compiler proper, as the driver of `command` would run it.
    pub(super) fn of_proper(proper: &Proper, command: &Command) -> Self {
        let mut arguments = proper.arguments.clone();
        arguments.extend(PREPROCESSING.map(OsString::from));
        Self::to(proper.program.clone(), arguments, command)
    }

    /// The request for the driver of `command` under all of its arguments, those in response files in their place: gcc
    /// would show the name of another such file.
    ///
    /// # Errors
    /// [`Reason::ResponseFile`] where one can't be read.
    pub(super) fn of_driver(command: &Command) -> Result<Self, Fallback> {
        Ok(Self::to(command.compiler.clone(), command.expanded_arguments()?, command))
    }

    /// The same request with `flags` before all others.
    pub(super) fn asking(&self, flags: &[&str]) -> Self {
        let arguments = flags.iter().map(OsString::from).chain(self.arguments.iter().cloned()).collect();
        Self { arguments, ..self.clone() }
    }

    /// The same request for the compiler's macros, with `flags` behind the command's own.
    pub(super) fn also_under(&self, flags: Vec<OsString>) -> Self {
        let mut arguments = self.arguments.clone();
        let end = arguments.len() - PREPROCESSING.len();
        arguments.splice(end..end, flags);
        Self { arguments, ..self.clone() }
    }

    fn to(compiler: PathBuf, arguments: Vec<OsString>, command: &Command) -> Self {
        let unwanted =
            |name: &OsString| SEARCH_VARIABLES.iter().chain(UNWANTED_VARIABLES).any(|unwanted| name == unwanted);
        let variables = command.environment.iter().chain(&command.tool_environment);
        let environment = variables.filter(|(name, _)| !unwanted(name)).cloned().collect();
        Self { compiler, arguments, environment, working_directory: command.working_directory.clone() }
    }

    pub(super) fn refuse(&self, detail: &str) -> Fallback {
        Fallback::new(Reason::Compiler, format!("{} {detail}", self.compiler.display()))
    }

    /// Runs the compiler over `source`. Its exit code does not matter: a question that it refuses is answered by that.
    ///
    /// # Errors
    /// [`Reason::Compiler`] where it can't be run, takes too long or says too much.
    pub(super) fn run(&self, source: &str) -> Result<Output, Fallback> {
        self.run_from(&self.working_directory, source)
    }

    /// The same from another directory, where the first one may be gone.
    ///
    /// # Errors
    /// As above.
    pub(super) fn run_from(&self, directory: &Path, source: &str) -> Result<Output, Fallback> {
        let mut command = std::process::Command::new(&self.compiler);
        command.args(&self.arguments).env_clear();
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.arguments.iter().all(names_no_file) {
            // A process that starts elsewhere takes a copy of this one's page tables, which costs more than the rest.
            command.current_dir(directory);
        }
        let mut child = command.spawn().map_err(|error| self.refuse(&format!("can't be run: {error}")))?;
        let (sender, receiver) = mpsc::channel();
        let input = child.stdin.take().expect("standard input is a pipe");
        let output = child.stdout.take().expect("standard output is a pipe");
        let errors = child.stderr.take().expect("standard error is a pipe");
        let source = source.to_owned();
        thread::spawn(move || feed(input, &source));
        read_aside(0, output, sender.clone());
        read_aside(1, errors, sender);
        let mut texts = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            let Ok((which, text)) = receiver.recv_timeout(MAX_PROBE_TIME) else {
                // The process is ours; where it is gone already there is nothing to end.
                let _ = child.kill();
                let _ = child.wait();
                return Err(self.refuse("did not answer in time"));
            };
            texts[which] = text;
        }
        child.wait().map_err(|error| self.refuse(&format!("can't be waited for: {error}")))?;
        let [standard_output, standard_error] = texts;
        Ok(Output { standard_output, standard_error })
    }
}

/// Writes the source; a compiler that does not read it has failed, and its answer shows that.
fn feed(mut input: ChildStdin, source: &str) {
    let _ = input.write_all(source.as_bytes());
}

fn read_aside(which: usize, stream: impl Read + Send + 'static, sender: mpsc::Sender<(usize, Vec<u8>)>) {
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stream.take(MAX_PROBE_BYTES).read_to_end(&mut text);
        let _ = sender.send((which, text));
    });
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

impl Request {
    /// Whether the answer may depend on the working directory: a flag names a relative path.
    pub(super) fn depends_on_directory(&self) -> bool {
        self.arguments.iter().any(|argument| {
            let text = argument.as_bytes();
            let value = text.iter().position(|byte| *byte == b'=').map_or(text, |at| &text[at + 1..]);
            let names_path = value.contains(&b'/') && !value.starts_with(b"/");
            names_path
                || [b"-B".as_slice(), b"-specs", b"--specs", b"--config", b"-iprefix", b"--include-prefix", b"@"]
                    .iter()
                    .any(|flag| text.starts_with(flag))
        })
    }
}
