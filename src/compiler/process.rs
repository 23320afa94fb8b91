//! The one way in which a program of the toolchain is asked: under a given environment, in a given directory, within a
//! limit of time and a limit of output.
//!
//! What it does not know: what is asked, and what the answer means.
//!
//! Invariants: a question's process leads a group of its own, which is ended whole where an answer comes too late or grows
//! too large; nothing of it is left behind.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to tell of itself.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much it may tell, on each of its two streams.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How long a compiler may take to preprocess a whole source.
const MAX_PREPROCESSING_TIME: Duration = Duration::from_secs(300);
/// How much it may say of it, on each of its two streams.
const MAX_PREPROCESSING_BYTES: usize = 64 << 20;

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How much an answer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(super) time: Duration,
    /// How much each stream may bring.
    pub(super) bytes: usize,
}

impl Limits {
    /// Of a question about the program itself.
    pub(crate) const ANSWER: Self = Self { time: MAX_ANSWER_TIME, bytes: MAX_ANSWER_BYTES };
    /// Of a run that preprocesses a source of the user's.
    pub(crate) const PREPROCESSING: Self = Self { time: MAX_PREPROCESSING_TIME, bytes: MAX_PREPROCESSING_BYTES };
}

/// A program with all that it is run with, but for what it reads on standard input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// All of it: nothing is inherited.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Empty where it doesn't matter, which is much cheaper: a process that starts elsewhere than this one takes a copy of
    /// its page tables.
    pub(crate) directory: PathBuf,
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) standard_output: Vec<u8>,
    pub(crate) standard_error: Vec<u8>,
}

impl Answer {
    /// The last line of standard error: where a failure says why.
    pub(crate) fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.standard_error).lines().next_back().unwrap_or("says nothing").to_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The program is not there, not executable, or this process lacks what it takes.
    #[error("can't be run: {0}")]
    NotRun(#[source] io::Error),
    /// Past [`Limits`]'s time.
    #[error("did not answer in time")]
    Late,
    /// Past [`Limits`]'s bytes.
    #[error("says too much")]
    TooMuch,
    /// The number of the signal.
    #[error("was ended by signal {0}")]
    Signal(i32),
}

impl Request {
    /// A request like this one, with `flags` before all others.
    pub(crate) fn with_first(&self, flags: &[&str]) -> Self {
        let arguments = flags.iter().map(OsString::from).chain(self.arguments.iter().cloned()).collect();
        Self { arguments, ..self.clone() }
    }

    /// A request like this one, with `arguments` behind all others.
    pub(crate) fn with_last(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let mut request = self.clone();
        request.arguments.extend(arguments.into_iter().map(Into::into));
        request
    }

    /// Runs the program with nothing on standard input. A failure of its own is an answer too: the exit code doesn't count.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn run(&self, limits: Limits) -> Result<Answer, NoAnswer> {
        self.run_with(b"", limits)
    }

    /// Runs the program with `input` on standard input.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn run_with(&self, input: &[u8], limits: Limits) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + limits.time;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        let mut child = command.spawn().map_err(NoAnswer::NotRun)?;
        let answer = converse(&mut child, input, limits.bytes, deadline)
            .and_then(|texts| await_end(&child, deadline).map(|()| texts));
        if answer.is_err() {
            end_group(&child);
        }
        let status = child.wait().map_err(NoAnswer::NotRun)?;
        let (standard_output, standard_error) = answer?;
        match status.signal() {
            Some(signal) => Err(NoAnswer::Signal(signal)),
            None => Ok(Answer { status, standard_output, standard_error }),
        }
    }
}

/// Writes `input` to the child and reads all that it says, both at once.
fn converse(
    child: &mut Child,
    input: &[u8],
    max_bytes: usize,
    deadline: Instant,
) -> Result<(Vec<u8>, Vec<u8>), NoAnswer> {
    let mut source = child.stdin.take().map(|stream| Source { stream, rest: input });
    let mut output = Sink::new(child.stdout.take());
    let mut errors = Sink::new(child.stderr.take());
    let streams = [source.as_ref().map(|source| source.stream.as_fd()), output.fd(), errors.fd()];
    for stream in streams.into_iter().flatten() {
        make_nonblocking(stream).map_err(|error| NoAnswer::NotRun(error.into()))?;
    }
    while output.stream.is_some() || errors.stream.is_some() {
        let reading = [output.fd(), errors.fd()].into_iter().flatten();
        let mut polled: Vec<PollFd<'_>> =
            reading.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)).collect();
        polled.extend(source.iter().map(|source| PollFd::new(&source.stream, PollFlags::OUT)));
        await_any(&mut polled, deadline)?;
        if source.as_mut().is_some_and(Source::is_done) {
            source = None;
        }
        output.read(max_bytes)?;
        errors.read(max_bytes)?;
    }
    Ok((output.text, errors.text))
}

/// What is still to be written.
struct Source<'a> {
    stream: ChildStdin,
    rest: &'a [u8],
}

impl Source<'_> {
    /// Writes what there is room for; whether that was the last. A program that does not read it all has its reasons, and
    /// its answer shows them.
    fn is_done(&mut self) -> bool {
        loop {
            match self.stream.write(self.rest) {
                Ok(0) => return true,
                Ok(written) => self.rest = &self.rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
            if self.rest.is_empty() {
                return true;
            }
        }
    }
}

/// What was read so far; the stream is gone once it ended.
struct Sink<S> {
    stream: Option<S>,
    text: Vec<u8>,
}

impl<S: Read + AsFd> Sink<S> {
    const fn new(stream: Option<S>) -> Self {
        Self { stream, text: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    fn read(&mut self, max_bytes: usize) -> Result<(), NoAnswer> {
        while let Some(stream) = &mut self.stream {
            let old = self.text.len();
            self.text.resize(old + CHUNK_BYTES, 0);
            let read = stream.read(&mut self.text[old..]);
            self.text.truncate(old + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.stream = None,
                Ok(_) if self.text.len() > max_bytes => return Err(NoAnswer::TooMuch),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(()),
                    _ => return Err(NoAnswer::NotRun(error)),
                },
            }
        }
        Ok(())
    }
}

fn make_nonblocking(stream: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fcntl_setfl(stream, fcntl_getfl(stream)? | OFlags::NONBLOCK)
}

/// Waits until one of `descriptors` is ready.
fn await_any(descriptors: &mut [PollFd<'_>], deadline: Instant) -> Result<(), NoAnswer> {
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
        match poll(descriptors, Some(&timeout)) {
            Ok(0) => return Err(NoAnswer::Late),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(NoAnswer::NotRun(error.into())),
        }
    }
}

/// Waits for the end of a child that has said all.
fn await_end(child: &Child, deadline: Instant) -> Result<(), NoAnswer> {
    // On a kernel without process descriptors there is no limit but the wait itself.
    let Ok(descriptor) = pidfd_open(pid(child), PidfdFlags::empty()) else { return Ok(()) };
    await_any(&mut [PollFd::new(&descriptor, PollFlags::IN)], deadline)
}

/// Ends the child, which has not been waited for yet, and all that it started.
fn end_group(child: &Child) {
    // It may have ended by itself; either way it is gone afterwards.
    let _ = kill_process_group(pid(child), Signal::KILL);
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Request {
        Request {
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(OsString::from).into(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONE".into(), "1".into())],
            directory: "/".into(),
        }
    }

    #[test]
    fn both_streams_and_the_code_are_an_answer() {
        let output = shell("pwd; echo $ONE$HOME >&2; exit 3").run(Limits::ANSWER).expect("an answer");
        assert_eq!(output.standard_output, b"/\n");
        assert_eq!(output.standard_error, b"1\n");
        assert_eq!(output.last_words(), "1");
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn large_inputs_go_through_while_the_answer_is_read() {
        let input = vec![b'x'; 1 << 20];
        let output = shell("cat; cat /proc/self/environ >&2").run_with(&input, Limits::ANSWER).expect("an answer");
        assert_eq!(output.standard_output, input);
        // Who doesn't read is no less of an answer.
        let output = shell("echo no").run_with(&input, Limits::ANSWER).expect("an answer");
        assert_eq!(output.standard_output, b"no\n");
    }

    #[test]
    fn who_says_too_much_or_nothing_at_all_is_ended_with_all_that_it_started() {
        let few = Limits { bytes: 1 << 10, ..Limits::ANSWER };
        assert!(matches!(shell("exec yes").run(few), Err(NoAnswer::TooMuch)));
        let short = Limits { time: Duration::from_millis(200), ..Limits::ANSWER };
        let scratch = tempfile::tempdir().expect("temporary directory");
        let pid_file = scratch.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", pid_file.display());
        assert!(matches!(shell(&script).run(short), Err(NoAnswer::Late)));
        let sleeper = std::fs::read_to_string(&pid_file).expect("the shell got that far");
        let sleeper = sleeper.trim().parse().ok().and_then(Pid::from_raw).expect("a number");
        if let Ok(descriptor) = pidfd_open(sleeper, PidfdFlags::empty()) {
            let gone = await_any(&mut [PollFd::new(&descriptor, PollFlags::IN)], Instant::now() + MAX_ANSWER_TIME);
            gone.expect("it was ended as well");
        }
        // One that closes its streams and stays is late as well.
        assert!(matches!(shell("exec >&- 2>&-; exec sleep 1000").run(short), Err(NoAnswer::Late)));
    }

    #[test]
    fn failures_are_named() {
        let check = |request: &Request, expect: &str| {
            let error = request.run(Limits::ANSWER).expect_err("no answer").to_string();
            assert_eq!(error, expect);
        };
        check(&shell("kill -9 $$"), "was ended by signal 9");
        let absent = Request { program: "/nowhere/gcc".into(), ..shell("") };
        check(&absent, "can't be run: No such file or directory (os error 2)");
    }
}
