//! What a program really looks for: a run in which every path that it tries is written down, with what it found there.
//!
//! The program, and all that it starts, runs under `ptrace`; a filter in the kernel stops it at calls that name paths and at
//! no others, so a traced compile costs little more than a plain one. It may write into a scratch directory (`TMPDIR` of the
//! run) and nowhere else: a run that would is ended before it does. The same is done with what can't be followed or
//! watched, sockets and data of the kernel's among them, and told by the tool's name.
//!
//! It does not know what an answer means, or why somebody asks. It blocks; a thread of its own follows each run.

mod calls;
mod tracee;
mod tracer;

use rustix::fs::MemfdFlags;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tracee::{Prepared, Streams};
use tracer::{Followed, Tracer};

/// What a run may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    /// How large each file may become that it writes, its streams among them.
    pub(crate) bytes: u64,
}

/// A program to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    /// It is started under this name, too.
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [OsString],
    pub(crate) directory: &'a Path,
    /// All of it, but for `TMPDIR`.
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) input: &'a [u8],
    /// Where it may write: a directory without symbolic links on the way. Looks below it are not told of.
    pub(crate) scratch: &'a Path,
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

impl Looks {
    /// Notes a look at `path`.
    fn note(&mut self, path: PathBuf, outcome: Outcome, is_relative: bool) {
        if outcome == Outcome::Executed && self.first_program.is_none() {
            self.first_program = Some(path.clone());
        }
        self.has_relative |= is_relative;
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

    /// Whether a path was looked for from the working directory.
    pub(crate) const fn has_relative(&self) -> bool {
        self.has_relative
    }

    /// Adds what another run looked for.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.has_relative |= other.has_relative;
        self.all.extend(other.all);
    }
}

/// Runs a program and writes down what it looks for. Costs about as much as the run itself.
///
/// # Errors
/// Why that isn't known.
pub(crate) fn trace(run: &Run<'_>) -> Result<Traced, TraceError> {
    let failed = |error: io::Error| TraceError::Failed(error.to_string());
    let filter = calls::filter().map_err(TraceError::Unavailable)?;
    let prepared = Prepared::new(run, filter).ok_or_else(|| TraceError::Failed("an argument holds a zero".into()))?;
    let (mut input, mut output, mut errors) = (memory()?, memory()?, memory()?);
    input.write_all(run.input).and_then(|()| input.rewind()).map_err(failed)?;
    let clone = |file: &File| file.try_clone().map_err(failed);
    let streams = Streams { input, output: clone(&output)?, errors: clone(&errors)? };
    let Followed { code, looks } = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let thread = scope.spawn(move || {
            let tracer = Tracer::start(&prepared, &streams, run.scratch)?;
            // While the process isn't waited for, its number is its own.
            let process = rustix::process::Pid::from_raw(tracer.root().as_raw());
            let _ = sender.send(process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok()));
            let followed = tracer.follow();
            drop(sender);
            followed
        });
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

/// Waits for the end of a run, which it brings about after `time`; whether it did.
fn ends_late(receiver: &mpsc::Receiver<Option<OwnedFd>>, time: Duration) -> bool {
    let Ok(process) = receiver.recv() else { return false };
    let is_late = matches!(receiver.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
    if is_late && let Some(process) = process {
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

/// Whether programs can be traced here, and why not. Runs a program that does nothing.
pub(crate) fn availability() -> Result<(), String> {
    let scratch = tempfile::tempdir().and_then(|scratch| Ok((scratch.path().canonicalize()?, scratch)));
    let (path, _scratch) = scratch.map_err(|error| error.to_string())?;
    let limits = Limits { time: Duration::from_secs(5), bytes: 1 << 20 };
    let arguments = ["--version".into()];
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Run {
        program: &program,
        arguments: &arguments,
        directory: Path::new("/"),
        environment: &[],
        input: b"",
        scratch: &path,
        limits,
    };
    match trace(&run) {
        Err(TraceError::Unavailable(why)) => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
