//! Runs a command where it can read its inputs and the compiler, write its outputs, and do nothing else.
//!
//! A [`Sandbox`] belongs to one slot. It is the worker's end of a supervisor process, which keeps the slot's namespaces
//! and runs one command at a time. What the command wrote is reached through the directory that [`Finished`] holds
//! open; its mounts are gone from everywhere else by then, and its processes are dead.
//!
//! It does not know what the inputs and outputs are.

mod confinement;
mod control_groups;
mod early_entry;
mod failure;
mod isolation;
mod message;
mod mounts;
mod slot;
mod supervisor;
mod syscalls;

pub use control_groups::{ControlGroups, Refusals, SlotGroups};
pub use isolation::{Isolation, NEUTRAL_EXEC_ROOT};
pub use message::Level;

use anyhow::Context as _;
use bytes::Bytes;
use message::{Ending, FRAME_SIZE_BYTES, Frame, Ready, Receiver, Report, Setup};
use prost::Message as _;
use rustix::process::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// How long a supervisor may take to make its namespaces.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long after its kill a command may take to be dead and reported.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a supervisor may take to kill what it runs and leave, and how often it is looked whether it has.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
const LEAVE_INTERVAL: Duration = Duration::from_millis(1);

/// The first of the user and group ids under which a privileged worker runs actions, one a slot.
const FIRST_ACTION_ID: u32 = 62_000;

/// What confines every action of a worker.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Directories directly below `/` that actions without an absolute input root see, read-only.
    pub host_entries: Vec<PathBuf>,
    /// How much an action may write in all, in bytes. It is memory.
    pub scratch_size_bytes: u64,
    /// How many files an action may create.
    pub scratch_files: u64,
    /// How many processes an action may have at a time.
    pub processes: u64,
    /// How much memory an action may take, in bytes. Where there are no control groups each of its processes may.
    pub memory_size_bytes: Option<u64>,
    /// How much of each of standard output and standard error is taken, in bytes.
    pub output_size_bytes: u64,
}

/// A command as the sandbox runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program, relative to the working directory or bare, and its arguments.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// The absolute path at which the input root stands; `/` where it is the whole root directory.
    pub exec_root: PathBuf,
    /// Relative to the exec root.
    pub working_directory: PathBuf,
    /// Directories to create before, relative to the exec root.
    pub directories: Vec<PathBuf>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// It could not be started, through the action's own fault.
    Refused(String),
    /// It ran longer than it may, and was killed.
    TimedOut,
    /// Nobody wanted it any more, and it was killed.
    Cancelled,
    /// The named stream carried more than [`Limits::output_size_bytes`], and it was killed.
    OutputTooLarge(String),
}

/// A command that has ended, with all of its processes.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to standard output.
    pub stdout: Bytes,
    /// What it wrote to standard error.
    pub stderr: Bytes,
    /// The exec root with all that the command wrote; absent where the command was refused.
    pub exec_root: Option<ExecRoot>,
    /// Processor time in user mode, the command's and its waited-for children's.
    pub user_time: Duration,
    /// Processor time in the kernel, likewise.
    pub system_time: Duration,
    /// The largest resident set of any one process, in bytes.
    pub peak_resident_bytes: u64,
    /// What the command had to do without, in words.
    pub lacks: Vec<String>,
}

/// A directory with what a command wrote. What the sandbox mounted below it (`/proc`, `/dev`) is still there: who looks
/// around in it must not cross into other mounts.
#[derive(Debug)]
pub struct ExecRoot {
    directory: OwnedFd,
    /// Keeps the mounts in their namespace.
    _namespace: Option<OwnedFd>,
}

impl AsFd for ExecRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The worker's end of a slot's supervisor.
#[derive(Debug)]
pub struct Sandbox {
    stream: UnixStream,
    receiver: Receiver,
    supervisor: Child,
    is_running: bool,
    output_size_bytes: u64,
}

impl Sandbox {
    /// Starts a supervisor for slot number `slot` with the directory `slot_dir`, which holds `root/` and `stage/`.
    ///
    /// # Errors
    /// The level can't be had here: the text says which step failed.
    pub async fn start(
        level: Level,
        limits: &Limits,
        groups: &SlotGroups,
        slot: usize,
        slot_dir: &Path,
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("making a socket pair")?;
        ours.set_nonblocking(true).context("making a socket non-blocking")?;
        let supervisor = std::process::Command::new("/proc/self/exe")
            .arg0(std::ffi::OsStr::from_bytes(early_entry::SUPERVISOR_NAME.to_bytes()))
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .context("starting a supervisor")?;
        let stream = UnixStream::from_std(ours).context("registering a socket")?;
        let mut sandbox = Self {
            stream,
            receiver: Receiver::default(),
            supervisor,
            is_running: false,
            output_size_bytes: limits.output_size_bytes,
        };
        let entrances = groups.entrances();
        let setup = Setup {
            level: level.into(),
            slot_dir: slot_dir.as_os_str().as_bytes().to_vec(),
            host_entries: limits.host_entries.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
            scratch_size_bytes: limits.scratch_size_bytes,
            scratch_files: limits.scratch_files,
            action_id: action_id(slot),
            processes: limits.processes,
            // Together in a group, or else each for itself.
            process_memory_bytes: limits.memory_size_bytes.filter(|_| entrances.is_empty()).unwrap_or_default(),
            control_groups: entrances.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        };
        let ready = tokio::time::timeout(START_TIMEOUT, sandbox.set_up(level, slot, &setup));
        let ready = ready.await.context("the supervisor does not answer")??;
        anyhow::ensure!(ready.error.is_empty(), "{}", ready.error);
        Ok(sandbox)
    }

    async fn set_up(&mut self, level: Level, slot: usize, setup: &Setup) -> anyhow::Result<Ready> {
        self.send(&setup.encode_to_vec()).await?;
        let (mut body, _) = self.receive().await?;
        if level == Level::UserNamespaces && body.is_empty() {
            map_ids(Pid::from_child(&self.supervisor), action_id(slot))?;
            self.send(&[]).await?;
            (body, _) = self.receive().await?;
        }
        Ready::decode(body.as_slice()).context("decoding the supervisor's answer")
    }

    /// Whether it can run a command: false once a run was left before its end, or the supervisor died.
    pub fn is_usable(&self) -> bool {
        !self.is_running
    }

    /// Runs `command` to its end, to its kill after `timeout`, or to its kill when `cancelled`.
    ///
    /// # Errors
    /// The sandbox itself is broken. It is of no use after that.
    ///
    /// # Cancel safety
    /// A dropped run leaves the sandbox unusable; the command is killed when the sandbox is dropped.
    pub async fn run(
        &mut self,
        command: &Command,
        timeout: Duration,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Finished> {
        anyhow::ensure!(self.is_usable(), "the sandbox is broken");
        self.is_running = true;
        self.send(&self.encode(command)).await?;
        let killed = {
            let deadline = tokio::time::sleep(timeout);
            tokio::select! {
                frame = self.receive() => {
                    let finished = finish(frame?, None)?;
                    self.is_running = false;
                    return Ok(finished);
                }
                () = deadline => Outcome::TimedOut,
                () = cancelled.cancelled() => Outcome::Cancelled,
            }
        };
        self.send(&[]).await?;
        let frame =
            tokio::time::timeout(KILL_TIMEOUT, self.receive()).await.context("a command survives its kill")??;
        let finished = finish(frame, Some(killed))?;
        self.is_running = false;
        Ok(finished)
    }

    fn encode(&self, command: &Command) -> Vec<u8> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        message::Command {
            arguments: command.arguments.iter().map(|word| word.clone().into_bytes()).collect(),
            environment: command
                .environment
                .iter()
                .flat_map(|(name, value)| [name.clone().into_bytes(), value.clone().into_bytes()])
                .collect(),
            exec_root: bytes(&command.exec_root),
            working_directory: bytes(&command.working_directory),
            directories: command.directories.iter().map(|path| bytes(path)).collect(),
            output_size_bytes: self.output_size_bytes,
        }
        .encode_to_vec()
    }

    async fn send(&mut self, body: &[u8]) -> anyhow::Result<()> {
        anyhow::ensure!(body.len() <= FRAME_SIZE_BYTES, "a command of {} bytes is too large", body.len());
        self.stream.write_all(&message::frame(body)).await.context("writing to the supervisor")
    }

    /// Cancel safe: what has arrived stays in the receiver.
    async fn receive(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = self.receiver.take().context("reading from the supervisor")? {
                return Ok(frame);
            }
            self.stream.readable().await.context("waiting for the supervisor")?;
            let stream = &self.stream;
            match stream.try_io(Interest::READABLE, || self.receiver.fill(stream)) {
                Ok(true) => {}
                Ok(false) => anyhow::bail!("the supervisor died"),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).context("reading from the supervisor"),
            }
        }
    }
}

impl Drop for Sandbox {
    /// Tells the supervisor to leave, which kills what it runs, and waits for that: some milliseconds.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while Instant::now() < deadline {
            match self.supervisor.try_wait() {
                Ok(None) => std::thread::sleep(LEAVE_INTERVAL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// The user and group id of a slot's actions, as the kernel outside sees them: the worker's own without privileges.
pub fn action_id(slot: usize) -> u32 {
    if gives_ids() { FIRST_ACTION_ID + slot as u32 } else { rustix::process::geteuid().as_raw() }
}

/// Whether this worker can give files and processes to other users: as root, unless of a user namespace that lacks their ids
/// (`unshare -r`, containers without subordinate ids), where root can do no more than its user outside.
pub(crate) fn gives_ids() -> bool {
    static ANSWER: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let maps = |name: &str| {
            fs::read_to_string(format!("/proc/self/{name}")).map_or(true, |map| covers(&map, FIRST_ACTION_ID))
        };
        rustix::process::geteuid().is_root() && maps("uid_map") && maps("gid_map")
    });
    *ANSWER
}

/// Whether a user namespace's map has this id.
fn covers(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (first..first + count).contains(&u64::from(id))
    })
}

fn finish(frame: Frame, killed: Option<Outcome>) -> anyhow::Result<Finished> {
    let (body, descriptors) = frame;
    let mut descriptors = descriptors.into_iter();
    let exec_root = descriptors.next().map(|directory| ExecRoot { directory, _namespace: descriptors.next() });
    let report = Report::decode(body.as_slice()).context("decoding the supervisor's report")?;
    let outcome = match report.ending {
        Some(Ending::Exited(code)) => Outcome::Exited(code),
        Some(Ending::Signaled(signal)) => killed.unwrap_or(Outcome::Signaled(signal)),
        Some(Ending::Refused(why)) => Outcome::Refused(why),
        Some(Ending::Broken(why)) => anyhow::bail!("sandbox: {why}"),
        None => anyhow::bail!("sandbox: the report says nothing"),
    };
    let outcome = if report.overflow.is_empty() { outcome } else { Outcome::OutputTooLarge(report.overflow) };
    Ok(Finished {
        outcome,
        stdout: report.stdout,
        stderr: report.stderr,
        exec_root,
        user_time: Duration::from_micros(report.user_us),
        system_time: Duration::from_micros(report.system_us),
        peak_resident_bytes: report.peak_resident_bytes,
        lacks: report.lacks,
    })
}

/// Says which of the host's ids the ids in a supervisor's new user namespace are. A privileged worker maps two: root,
/// which owns the replica and which no action can become, and the action's own.
fn map_ids(supervisor: Pid, action_id: u32) -> anyhow::Result<()> {
    let inner = supervisor::INNER_ID;
    let is_root = gives_ids();
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{}/{name}", supervisor.as_raw_nonzero());
        fs::write(&path, text).with_context(|| format!("writing {text:?} to {path}"))
    };
    if is_root {
        let map = format!("0 0 1\n{inner} {action_id} 1\n");
        write("uid_map", &map)?;
        write("gid_map", &map)
    } else {
        write("setgroups", "deny")?;
        write("uid_map", &format!("{inner} {} 1\n", rustix::process::geteuid().as_raw()))?;
        write("gid_map", &format!("{inner} {} 1\n", rustix::process::getegid().as_raw()))
    }
}

#[cfg(test)]
mod tests;
