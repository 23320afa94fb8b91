//! What a program really looks for: a run in which every path that it tries is written down, with what it found there.
//!
//! The program, and all that it starts, runs under `ptrace`; a filter in the kernel stops it at calls that name paths and at
//! no others, so a traced compile costs little more than a plain one. It may write into a scratch directory (`TMPDIR` of the
//! run) and nowhere else: a run that would is ended before it does. The same is done with what can't be followed or
//! watched, sockets and data of the kernel's among them, and told by the tool's name.
//!
//! It does not know what an answer means, or why somebody asks. It blocks; a thread of its own follows each run.

mod calls;
pub(crate) mod shared;
pub(crate) mod sights;
mod tracee;
mod tracer;

use super::process::{Limits, Request};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use rustix::fs::MemfdFlags;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use tracee::{Prepared, Streams};
use tracer::{Followed, Tracer};

/// A program to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    /// The program is started under the name that stands in it, and with `TMPDIR` besides its variables.
    pub(crate) request: &'a Request,
    /// What it reads on standard input.
    pub(crate) input: &'a [u8],
    /// Where it may write: a directory without symbolic links on the way. Looks below it are not told of.
    pub(crate) scratch: &'a Path,
    /// The bytes are those of each file that it writes, its streams among them.
    pub(crate) limits: Limits,
}

/// What was found where somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Nothing.
    Absent,
    /// The system refused the look.
    Denied,
    /// Something: it was asked for, not read.
    Found,
    /// A file or a directory, which was opened.
    Read,
    /// A directory, whose names were read.
    Listed,
    /// A program, which was run.
    Executed,
}

/// Every look of a run.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Absolute paths, spelled as they were looked for.
    all: BTreeSet<(PathBuf, Outcome)>,
    first_program: Option<PathBuf>,
    has_relative: bool,
}

/// How a traced run went.
#[derive(Debug)]
pub(crate) struct Traced {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) standard_output: Vec<u8>,
    pub(crate) standard_error: Vec<u8>,
    pub(crate) looks: Looks,
}

/// A tool, and what it did that isn't followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unforeseen {
    pub(crate) tool: PathBuf,
    pub(crate) deed: Deed,
}

/// What a tool of a compile has no business to do, as far as this program can follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Writes outside the scratch directory.
    Writes(PathBuf),
    /// Reads what can't be watched.
    Reads(PathBuf),
    /// Talks to another process.
    Connects,
    /// Changes what paths mean, or looks at files by other means than paths.
    Escapes,
    /// Makes system calls of another architecture.
    Foreign,
    /// Is a script, or anything else that isn't a program of this machine.
    IsNoProgram,
    /// Runs a program that the driver doesn't name.
    Runs(PathBuf),
    /// Leaves processes behind.
    LeavesProcesses,
    /// Makes a call whose arguments can't be read.
    Unreadable(String),
}

/// Why it isn't known what a program looks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// This system lets no programs be traced.
    #[error("{0}")]
    Unavailable(String),
    /// The program did what isn't followed.
    #[error("{0}")]
    Unforeseen(Unforeseen),
    /// The program didn't start, or not end in time.
    #[error("{0}")]
    Failed(String),
}

impl fmt::Display for Unforeseen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.tool.display())?;
        match &self.deed {
            Deed::Writes(path) => write!(formatter, "writes {}", path.display()),
            Deed::Reads(path) => write!(formatter, "reads {}", path.display()),
            Deed::Connects => formatter.write_str("talks to another process"),
            Deed::Escapes => formatter.write_str("changes what paths mean"),
            Deed::Foreign => formatter.write_str("makes system calls of another architecture"),
            Deed::IsNoProgram => formatter.write_str("is a script, or no program of this machine"),
            Deed::Runs(path) => write!(formatter, "runs {}", path.display()),
            Deed::LeavesProcesses => formatter.write_str("leaves processes behind"),
            Deed::Unreadable(error) => write!(formatter, "makes a call that can't be read: {error}"),
        }
    }
}

impl Traced {
    /// How it ended, as a parent sees it.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        const CODE_SHIFT: i32 = 8;
        self.code.map(|code| ExitStatus::from_raw(code << CODE_SHIFT))
    }
}

impl Looks {
    /// Notes a look at `path`.
    fn note(&mut self, path: PathBuf, outcome: Outcome) {
        if outcome == Outcome::Executed && self.first_program.is_none() {
            self.first_program = Some(path.clone());
        }
        self.all.insert((path, outcome));
    }

    fn first_program(&self) -> PathBuf {
        self.first_program.clone().unwrap_or_default()
    }

    /// Every path with what was found there, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Path, Outcome)> {
        self.all.iter().map(|(path, outcome)| (path.as_path(), *outcome))
    }

    /// The programs that ran, as they were called.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Path> {
        self.iter().filter(|(_, outcome)| *outcome == Outcome::Executed).map(|(path, _)| path)
    }

    /// Whether the looks of `request` would be others from another working directory: something was looked for from there,
    /// or below it without its path having been in an argument or a variable.
    pub(crate) fn depend_on_directory(&self, request: &Request) -> bool {
        self.has_relative
            || self.iter().any(|(path, _)| {
                path != request.directory && path.starts_with(&request.directory) && !is_named(path, request)
            })
    }

    /// Leaves out the looks at `paths`.
    pub(crate) fn forget(&mut self, paths: &[PathBuf]) {
        self.all.retain(|(path, _)| !paths.contains(path));
    }
}

/// Whether an argument or a variable of `request` holds the beginning of `path`, from somewhere below its directory.
fn is_named(path: &Path, request: &Request) -> bool {
    let (path, directory) = (path.as_os_str().as_bytes(), request.directory.as_os_str().as_bytes());
    let texts = request.arguments.iter().chain(request.environment.iter().map(|(_, value)| value));
    texts.flat_map(|text| text.as_bytes().split(|byte| *byte == b':')).any(|text| {
        let named = memchr::memmem::find(text, directory).map(|at| &text[at..]);
        named.is_some_and(|named| named.len() > directory.len() && path.starts_with(named.trim_ascii_end()))
    })
}

/// Why programs can't be traced here, once that was found out.
static UNAVAILABLE: OnceLock<String> = OnceLock::new();

/// Runs a program and writes down what it looks for. Costs about as much as the run itself.
///
/// # Errors
/// Why that isn't known. Where this system doesn't let programs be traced, nothing is tried again.
pub(crate) fn trace(run: &Run<'_>) -> Result<Traced, TraceError> {
    if let Some(why) = UNAVAILABLE.get() {
        return Err(TraceError::Unavailable(why.clone()));
    }
    let traced = follow(run);
    if let Err(TraceError::Unavailable(why)) = &traced {
        tracing::warn!(%why, "compilers can't be traced: what they depend on is told by lists");
        let _ = UNAVAILABLE.set(why.clone());
    }
    traced
}

/// Refuses a tool that is a script, or else no program of this machine: what it runs may hang on its input.
///
/// # Errors
/// The tool.
pub(crate) fn check_programs(looks: &Looks, request: &Request) -> Result<(), Unforeseen> {
    let stranger = looks.programs().map(|program| request.directory.join(program)).find(|path| !is_program(path));
    stranger.map_or(Ok(()), |tool| Err(Unforeseen { tool, deed: Deed::IsNoProgram }))
}

/// Whether a file is a program of this machine's own architecture; scripts and what only an interpreter can run are none.
fn is_program(path: &Path) -> bool {
    const CLASS_64: u8 = 2;
    const MACHINE: u16 = if cfg!(target_arch = "x86_64") { object::elf::EM_X86_64 } else { object::elf::EM_AARCH64 };
    let mut head = [0; 20];
    let is_read = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok();
    is_read
        && head.starts_with(&object::elf::ELFMAG)
        && head[4] == CLASS_64
        && u16::from_le_bytes([head[18], head[19]]) == MACHINE
}

fn follow(run: &Run<'_>) -> Result<Traced, TraceError> {
    let failed = |error: io::Error| TraceError::Failed(error.to_string());
    let filter = calls::filter().map_err(TraceError::Unavailable)?;
    let prepared = Prepared::new(run, filter).ok_or_else(|| TraceError::Failed("an argument holds a zero".into()))?;
    let (mut input, mut output, mut errors) = (memory()?, memory()?, memory()?);
    input.write_all(run.input).and_then(|()| input.rewind()).map_err(failed)?;
    let clone = |file: &File| file.try_clone().map_err(failed);
    let streams = Streams { input, output: clone(&output)?, errors: clone(&errors)? };
    let Followed { code, looks } = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let follow = move || {
            stay_on_this_processor();
            let tracer = Tracer::start(&prepared, &streams, run.scratch)?;
            let _ = sender.send(tracer.handle()?);
            let followed = tracer.follow();
            drop(sender);
            followed
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, follow).map_err(failed)?;
        let is_late = ends_late(&receiver, run.limits.time);
        let followed = thread.join().map_err(|_| TraceError::Failed("the tracer panicked".into()))?;
        if is_late { Err(TraceError::Failed("did not answer in time".into())) } else { followed }
    })?;
    Ok(Traced {
        code,
        standard_output: read(&mut output).map_err(failed)?,
        standard_error: read(&mut errors).map_err(failed)?,
        looks,
    })
}

/// Keeps this thread, and what it starts, on the processor where it is: of the two only one runs at a time, and each stop wakes
/// the other, which costs twice as much elsewhere.
fn stay_on_this_processor() {
    let mut here = CpuSet::new();
    // Where it isn't granted it is only slower.
    let _ = sched_getcpu().and_then(|processor| here.set(processor)).and_then(|()| sched_setaffinity(SELF, &here));
}

/// This thread, to the scheduler's calls.
const SELF: Pid = Pid::from_raw(0);

/// Waits for the end of a run, which it brings about after `time`; whether it did.
fn ends_late(receiver: &mpsc::Receiver<OwnedFd>, time: Duration) -> bool {
    let Ok(process) = receiver.recv() else { return false };
    let is_late = matches!(receiver.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
    if is_late {
        // Its end is the end of all that it started.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    is_late
}

/// A file in memory, gone with its last descriptor.
fn memory() -> Result<File, TraceError> {
    let descriptor = rustix::fs::memfd_create("pumphouse", MemfdFlags::CLOEXEC);
    descriptor.map(File::from).map_err(|error| TraceError::Failed(error.to_string()))
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where a run may write; gone with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Scratch {
    /// Makes an empty directory.
    ///
    /// # Errors
    /// Where there is no place for temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self { path: directory.path().canonicalize()?, _directory: directory })
    }

    /// Its path, without symbolic links on the way.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether programs can be traced here, and why not. Runs a program that does nothing.
pub(crate) fn availability() -> Result<(), String> {
    let scratch = Scratch::new().map_err(|error| error.to_string())?;
    let request = Request {
        program: std::env::current_exe().map_err(|error| error.to_string())?,
        arguments: vec!["--version".into()],
        environment: Vec::new(),
        directory: "/".into(),
    };
    match trace(&Run { request: &request, input: b"", scratch: scratch.path(), limits: Limits::ANSWER }) {
        Err(TraceError::Unavailable(why)) => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
