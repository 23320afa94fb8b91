//! Child processes that can't outlive a test: commands that end by a deadline, and services that say when they are ready.
//!
//! Nothing here polls on a timer: ends are awaited through process descriptors, readiness through the service's own words.

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The variables that a command line sets in front, and its words.
pub fn variables_and_words(command_line: &str) -> (Vec<(&str, &str)>, Vec<&str>) {
    let words: Vec<_> = command_line.split_whitespace().collect();
    let variables: Vec<_> = words.iter().map_while(|word| word.split_once('=')).collect();
    let words = words[variables.len()..].to_vec();
    (variables, words)
}

/// How long any one command of a suite may take before it counts as hanging.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(600);

/// How long a service may take to say that it is ready, or to leave when it is told to.
pub const SERVICE_DEADLINE: Duration = Duration::from_secs(120);

/// Runs `command` to its end without standard input, and gives what it printed.
///
/// # Errors
/// When it can't be started, or has not ended by [`COMMAND_DEADLINE`] (it is killed then, with its process group).
pub fn run(command: &mut Command) -> Result<Output> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let Some(status) = wait(&mut child, COMMAND_DEADLINE)? else {
        let _ = rustix::process::kill_process_group(pid(&child), Signal::KILL);
        child.wait()?;
        bail!("{command:?} has not ended in {COMMAND_DEADLINE:?}\n{}", String::from_utf8_lossy(&whole(&mut stderr)?));
    };
    Ok(Output { status, stdout: whole(&mut stdout)?, stderr: whole(&mut stderr)? })
}

/// As [`run`], for a command that must succeed: gives its standard output.
///
/// # Errors
/// As [`run`]; and when the command fails, with all that it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(stdout)
}

fn whole(file: &mut File) -> Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits until `child` has ended, at most for `limit`: nothing when it still runs then.
///
/// # Errors
/// When the kernel can't say.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let descriptor = pidfd_open(pid(child), PidfdFlags::empty())?;
    let end = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(child.wait()?)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How often a log is looked into that something is expected in.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A long-running process, with all that it printed in a log. It is killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Service {
    /// Starts `command`, which writes standard output and error to `log` as well.
    ///
    /// # Errors
    /// When it can't be started or the log can't be written.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let stderr = File::options().create(true).append(true).open(log)?;
        let mut copy = stderr.try_clone()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = writeln!(copy, "{line}");
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines, log: log.to_owned() })
    }

    /// Waits for a line on standard output that starts with `prefix`, and gives the rest of it.
    ///
    /// # Errors
    /// When the process ends or [`SERVICE_DEADLINE`] passes before.
    pub fn says(&self, prefix: &str) -> Result<String> {
        let end = Instant::now() + SERVICE_DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("no `{prefix}` in {SERVICE_DEADLINE:?}\n{}", self.log()),
                Err(RecvTimeoutError::Disconnected) => bail!("ended before it said `{prefix}`\n{}", self.log()),
            }
        }
    }

    /// The process's id.
    pub fn id(&self) -> Pid {
        pid(&self.child)
    }

    /// All that it printed so far, on both streams.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|error| format!("({}: {error})", self.log.display()))
    }

    /// Waits until `text` stands in the log.
    ///
    /// # Errors
    /// When [`SERVICE_DEADLINE`] passes before.
    pub fn until_log_holds(&self, text: &str) -> Result<()> {
        let end = Instant::now() + SERVICE_DEADLINE;
        while !self.log().contains(text) {
            if Instant::now() > end {
                bail!("no `{text}` in {SERVICE_DEADLINE:?}\n{}", self.log());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.id(), signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after [`SERVICE_DEADLINE`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        wait(&mut self.child, SERVICE_DEADLINE)?
            .ok_or_else(|| anyhow!("still running after {SERVICE_DEADLINE:?}\n{}", self.log()))
    }

    /// Asks it to leave (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it doesn't leave in time, or with another exit code than 0.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait()?;
        if status.success() { Ok(()) } else { bail!("left with {status}\n{}", self.log()) }
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.wait()?;
        if status.signal() == Some(Signal::KILL.as_raw()) { Ok(()) } else { bail!("had left before with {status}") }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.id(), Signal::KILL);
        let _ = self.child.wait();
    }
}
