//! The thread that follows a traced program and all that it starts, from stop to stop.
//!
//! A thread stops before each call of the table ([`calls`]); where the call is one that must not happen, the whole run is
//! ended before it does, so a traced compiler never writes outside its scratch directory. Else it stops once more behind
//! the call, which shows the outcome, unless that is plain before.
//!
//! Invariants: it waits only for what this thread traces, never for other children of the process; nothing that it started
//! outlives it.
//!
//! **Source:** ptrace(2), wait(2), proc(5).

use super::calls::{self, Act, Operand};
use super::tracee::{self, Prepared, Started, Streams};
use super::{Deed, Looks, Outcome, TraceError, Unforeseen};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What is read though it can't be watched, and changes nothing that a compiler writes: how much memory and how many
/// processors there are, and the program's own name.
const HARMLESS: [&str; 11] = [
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/meminfo",
    "/proc/self/exe",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];
/// Where gcc would read a line of its standard input again, to quote it in a message.
const STANDARD_INPUT: &str = "<stdin>";
/// Where nothing that stands keeps its name or its content.
const FLEETING: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A run that goes on.
pub(super) struct Tracer<'a> {
    root: Pid,
    /// Lives as long as the run.
    _started: Started<'a>,
    scratch: &'a Path,
    alive: HashSet<Pid>,
    pending: HashMap<Pid, Pending>,
    looks: Looks,
    has_begun: bool,
    /// The errno with which the very first `execve` failed.
    refused_start: Option<i32>,
    unforeseen: Option<Unforeseen>,
    /// Why this kernel can't be asked for calls (before Linux 5.3, and where it is a process itself).
    untold: Option<Errno>,
    code: Option<i32>,
}

/// A call whose outcome isn't known yet.
struct Pending {
    act: Act,
    path: PathBuf,
    is_relative: bool,
}

/// How a run went.
pub(super) struct Followed {
    /// The exit code; `None` where a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) looks: Looks,
}

impl<'a> Tracer<'a> {
    /// Starts the program, for this thread to trace it: it looks at nothing yet.
    ///
    /// # Errors
    /// Where there is no room for another process.
    pub(super) fn start(prepared: &'a Prepared, streams: &'a Streams, scratch: &'a Path) -> Result<Self, TraceError> {
        let started = Started::new(prepared, streams).map_err(|error| TraceError::Failed(error.to_string()))?;
        let root = started.process;
        Ok(Self {
            root,
            _started: started,
            scratch,
            alive: HashSet::from([root]),
            pending: HashMap::new(),
            looks: Looks::default(),
            has_begun: false,
            refused_start: None,
            unforeseen: None,
            untold: None,
            code: None,
        })
    }

    /// The end of the run by whoever has the time: a descriptor of the process that was started.
    ///
    /// # Errors
    /// Where there is none to be had; the program has been ended then.
    pub(super) fn handle(&self) -> Result<OwnedFd, TraceError> {
        // While the process isn't waited for, its number is its own.
        let process = rustix::process::Pid::from_raw(self.root.as_raw()).ok_or(rustix::io::Errno::SRCH);
        process.and_then(|process| pidfd_open(process, PidfdFlags::empty())).map_err(|error| {
            self.abandon();
            match error {
                rustix::io::Errno::NOSYS | rustix::io::Errno::PERM => TraceError::Unavailable(error.to_string()),
                _ => TraceError::Failed(error.to_string()),
            }
        })
    }

    /// Ends a program that isn't followed.
    fn abandon(&self) {
        let _ = kill(self.root, Signal::SIGKILL);
        let _ = waitpid(self.root, Some(WaitPidFlag::__WALL));
    }

    /// Waits until the program stands before its first look.
    ///
    /// # Errors
    /// [`TraceError::Unavailable`] where this system doesn't let programs be traced.
    fn begin(&self) -> Result<(), TraceError> {
        let unavailable = |error: Errno| TraceError::Unavailable(error.to_string());
        match waitpid(self.root, Some(WaitPidFlag::__WALL)).map_err(unavailable)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            WaitStatus::Exited(_, tracee::NOT_TRACEABLE) => {
                return Err(TraceError::Unavailable("programs can't be traced here".into()));
            }
            _ => return Err(TraceError::Failed("its directory is not there".into())),
        }
        let options = Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.root, options).and_then(|()| ptrace::cont(self.root, None)).map_err(|error| {
            self.abandon();
            // Where it was ended meanwhile, nothing follows for others.
            if error == Errno::ESRCH { TraceError::Failed(error.to_string()) } else { unavailable(error) }
        })
    }

    /// Follows the run to its end.
    ///
    /// # Errors
    /// Why what it looked for isn't known.
    pub(super) fn follow(mut self) -> Result<Followed, TraceError> {
        self.begin()?;
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => self.step(status),
                Err(Errno::EINTR) => {}
                // Nothing is left to wait for.
                Err(Errno::ECHILD) => break,
                // A status that isn't understood; whatever it was of, it goes no further.
                Err(error) => {
                    let deed = Deed::Unreadable(error.to_string());
                    self.unforeseen.get_or_insert(Unforeseen { tool: self.looks.first_program(), deed });
                    self.end_all();
                }
            }
        }
        if let Some(error) = self.untold {
            return Err(TraceError::Unavailable(format!("the kernel doesn't tell of system calls: {error}")));
        }
        if let Some(unforeseen) = self.unforeseen {
            return Err(TraceError::Unforeseen(unforeseen));
        }
        match (self.has_begun, self.code) {
            (true, code) => Ok(Followed { code, looks: self.looks }),
            (false, Some(tracee::NOT_FILTERABLE)) => {
                Err(TraceError::Unavailable("system calls can't be filtered here".into()))
            }
            (false, _) => {
                let error = std::io::Error::from_raw_os_error(self.refused_start.unwrap_or(libc::ENOEXEC));
                Err(TraceError::Failed(error.to_string()))
            }
        }
    }

    fn step(&mut self, status: WaitStatus) {
        // Where a thread is gone meanwhile there is nothing to resume: its end is told of next.
        let _ = match status {
            WaitStatus::Exited(thread, code) => {
                self.ended(thread, Some(code));
                Ok(())
            }
            WaitStatus::Signaled(thread, signal, _) => {
                if signal == Signal::SIGSYS {
                    self.refuse(thread, Deed::Foreign);
                }
                self.ended(thread, None);
                Ok(())
            }
            WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_SECCOMP) => self.enter(thread),
            WaitStatus::PtraceSyscall(thread) => {
                self.leave(thread);
                ptrace::cont(thread, None)
            }
            WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_EXEC) => {
                self.executed(thread);
                ptrace::cont(thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => ptrace::cont(thread, None),
            // A new thread or process starts with this signal, which isn't its own.
            WaitStatus::Stopped(thread, Signal::SIGSTOP) if self.alive.insert(thread) => {
                self.started(thread);
                ptrace::cont(thread, None)
            }
            WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, signal),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => Ok(()),
        };
    }

    /// A thread or process that is seen for the first time, be it after the end of the program that started it.
    fn started(&mut self, thread: Pid) {
        if !self.alive.contains(&self.root) && self.unforeseen.is_none() {
            self.unforeseen = Some(Unforeseen { tool: self.looks.first_program(), deed: Deed::LeavesProcesses });
        }
        if self.unforeseen.is_some() {
            let _ = kill(thread, Signal::SIGKILL);
        }
    }

    /// Nothing may outlive the program itself.
    fn ended(&mut self, thread: Pid, code: Option<i32>) {
        self.alive.remove(&thread);
        self.pending.remove(&thread);
        if thread == self.root {
            self.code = code;
            if !self.alive.is_empty() && self.unforeseen.is_none() {
                self.unforeseen = Some(Unforeseen { tool: self.looks.first_program(), deed: Deed::LeavesProcesses });
            }
            self.end_all();
        }
    }

    fn refuse(&mut self, thread: Pid, deed: Deed) {
        let tool = std::fs::read_link(format!("/proc/{thread}/exe")).unwrap_or_else(|_| self.looks.first_program());
        self.unforeseen.get_or_insert(Unforeseen { tool, deed });
        self.end_all();
    }

    fn end_all(&self) {
        for thread in &self.alive {
            // None of them was waited for to its end, so no other process has the number.
            let _ = kill(*thread, Signal::SIGKILL);
        }
    }

    /// Before a call: decides whether it may happen, and whether its outcome matters.
    fn enter(&mut self, thread: Pid) -> nix::Result<()> {
        let entry = match tracee::entry(thread) {
            Ok(entry) => entry,
            // Not even the call that starts the program can be read: the program has nothing to do with it.
            Err(error) if !self.has_begun && error != Errno::ESRCH => {
                self.untold = Some(error);
                self.end_all();
                return Err(error);
            }
            Err(error) => {
                self.refuse(thread, Deed::Unreadable(error.to_string()));
                return Err(error);
            }
        };
        let Some((_, act, operands)) = calls::find(entry.number) else { return ptrace::cont(thread, None) };
        let is_wanted = self.prepare(thread, *act, operands, &entry.arguments);
        match is_wanted {
            Ok(true) => ptrace::syscall(thread, None),
            // The kernel doesn't make the call of a thread that is being killed.
            Ok(false) => ptrace::cont(thread, None),
            // What the kernel can't read either is an error of the program's own.
            Err(Errno::EFAULT | Errno::ENAMETOOLONG) => ptrace::cont(thread, None),
            // Its memory can't be read here, be it any program's.
            Err(error) if !self.has_begun && error != Errno::ESRCH => {
                self.untold = Some(error);
                self.end_all();
                Err(error)
            }
            Err(error) => {
                self.refuse(thread, Deed::Unreadable(error.to_string()));
                ptrace::cont(thread, None)
            }
        }
    }

    fn prepare(&mut self, thread: Pid, act: Act, operands: &[Operand], arguments: &[u64; 6]) -> nix::Result<bool> {
        match act {
            Act::Escape => self.refuse(thread, Deed::Escapes),
            Act::Socket if arguments[0] != libc::AF_UNIX as u64 => self.refuse(thread, Deed::Connects),
            Act::Socket => {}
            Act::Connect => return self.prepare_connection(thread, arguments),
            Act::Look | Act::Access | Act::Open(_) | Act::OpenHow(_) | Act::Execute | Act::List | Act::Change => {
                let mut is_wanted = false;
                for operand in operands {
                    is_wanted |= self.prepare_path(thread, act, *operand, arguments)?;
                }
                return Ok(is_wanted);
            }
        }
        Ok(false)
    }

    fn prepare_path(&mut self, thread: Pid, act: Act, operand: Operand, arguments: &[u64; 6]) -> nix::Result<bool> {
        let Some((path, is_relative)) = place(thread, operand, arguments)? else { return Ok(false) };
        let is_write = match act {
            Act::Change => true,
            Act::Open(flags) => writes(arguments[flags]),
            Act::OpenHow(how) => {
                let flags = tracee::read(thread, arguments[how], size_of::<u64>())?;
                writes(u64::from_ne_bytes(flags.try_into().map_err(|_| Errno::EFAULT)?))
            }
            _ => false,
        };
        if self.is_in_scratch(&path) {
            return Ok(false);
        }
        if is_write {
            if path != Path::new("/dev/null") {
                self.refuse(thread, Deed::Writes(path));
            }
            return Ok(false);
        }
        if self.has_begun
            && let Some(outcome) = foreseen(act, &path)
        {
            self.note(thread, Pending { act, path, is_relative }, outcome.err());
            return Ok(false);
        }
        self.pending.insert(thread, Pending { act, path, is_relative });
        Ok(true)
    }

    /// A socket in the file system is a look as well; one elsewhere can't be watched.
    fn prepare_connection(&mut self, thread: Pid, arguments: &[u64; 6]) -> nix::Result<bool> {
        let address = tracee::read(thread, arguments[1], (arguments[2] as usize).min(size_of::<libc::sockaddr_un>()))?;
        let path = address.get(size_of::<libc::sa_family_t>()..).unwrap_or_default();
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        if !path.starts_with(b"/") {
            self.refuse(thread, Deed::Connects);
            return Ok(false);
        }
        let path = OsStr::from_bytes(path).into();
        self.pending.insert(thread, Pending { act: Act::Connect, path, is_relative: false });
        Ok(true)
    }

    fn is_in_scratch(&self, path: &Path) -> bool {
        path.starts_with(self.scratch) && !path.components().any(|part| part == std::path::Component::ParentDir)
    }

    /// Behind a call.
    fn leave(&mut self, thread: Pid) {
        let Some(pending) = self.pending.remove(&thread) else { return };
        let result = match tracee::result(thread) {
            Ok(result) => result,
            Err(error) => return self.refuse(thread, Deed::Unreadable(error.to_string())),
        };
        let error = (result < 0).then(|| i32::try_from(-result).unwrap_or(libc::EINVAL));
        if !self.has_begun {
            self.refused_start = error;
            return;
        }
        self.note(thread, pending, error);
    }

    /// Behind an `execve`. The thread that called it has become the first of its process, under that one's number, and no end
    /// of its own is told of.
    fn executed(&mut self, thread: Pid) {
        self.has_begun = true;
        match ptrace::getevent(thread) {
            Ok(caller) if caller != libc::c_long::from(thread.as_raw()) => {
                let caller = Pid::from_raw(caller as libc::pid_t);
                self.alive.remove(&caller);
                self.pending.remove(&thread);
                if let Some(call) = self.pending.remove(&caller) {
                    self.pending.insert(thread, call);
                }
            }
            Ok(_) => {}
            Err(error) => return self.refuse(thread, Deed::Unreadable(error.to_string())),
        }
        if let Some(pending) = self.pending.remove(&thread) {
            self.note(thread, pending, None);
        }
    }

    fn note(&mut self, thread: Pid, pending: Pending, error: Option<i32>) {
        let Pending { act, path, is_relative } = pending;
        let outcome = match (error, act) {
            (None, Act::Execute) => Outcome::Executed,
            (None, Act::List) => Outcome::Listed,
            (None, Act::Open(_) | Act::OpenHow(_)) => Outcome::Read,
            (None, Act::Connect) => return self.refuse(thread, Deed::Connects),
            (None, _) => Outcome::Found,
            (Some(libc::ENOENT | libc::ENOTDIR), _) => Outcome::Absent,
            (Some(_), Act::Connect) => Outcome::Denied,
            (Some(libc::EACCES | libc::EPERM | libc::ELOOP | libc::ENAMETOOLONG | libc::EROFS), _) => Outcome::Denied,
            (Some(_), _) => Outcome::Found,
        };
        if FLEETING.iter().any(|place| path.starts_with(place)) {
            let is_read = matches!(outcome, Outcome::Read | Outcome::Listed | Outcome::Executed);
            if is_read && !HARMLESS.iter().any(|harmless| path == Path::new(harmless)) {
                self.refuse(thread, Deed::Reads(path));
            }
            return;
        }
        if outcome == Outcome::Absent && is_relative && path.ends_with(STANDARD_INPUT) {
            return;
        }
        self.looks.has_relative |= is_relative;
        self.looks.note(path, outcome);
    }
}

/// The outcome of a call, where it is plain before: what is absent is absent to every call, and what is there and no link can be
/// looked at. A second stop would cost as much as the first; what changes between the two is found by the stamps.
fn foreseen(act: Act, path: &Path) -> Option<Result<(), i32>> {
    // What stands there is each process's own.
    if FLEETING.iter().any(|place| path.starts_with(place)) {
        return None;
    }
    match (std::fs::symlink_metadata(path), act) {
        (Ok(found), Act::Look) if !found.is_symlink() => Some(Ok(())),
        (Err(error), Act::Look | Act::Access | Act::Open(_) | Act::OpenHow(_)) => {
            error.raw_os_error().filter(|error| matches!(*error, libc::ENOENT | libc::ENOTDIR)).map(Err)
        }
        _ => None,
    }
}

/// Whether a file that is opened with these flags may change.
fn writes(flags: u64) -> bool {
    let flags = flags as libc::c_int;
    flags & libc::O_PATH == 0
        && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0)
}

/// The path that an operand names, and whether it starts from the working directory; `None` where it names none but a
/// descriptor.
fn place(thread: Pid, operand: Operand, arguments: &[u64; 6]) -> nix::Result<Option<(PathBuf, bool)>> {
    let (directory, address) = match operand {
        Operand::Path(path) => (libc::AT_FDCWD, arguments[path]),
        Operand::At(directory, path) => (arguments[directory] as libc::c_int, arguments[path]),
        Operand::Descriptor(descriptor) => {
            return link(&format!("/proc/{thread}/fd/{}", arguments[descriptor])).map(|path| Some((path, false)));
        }
    };
    if address == 0 {
        return Ok(None);
    }
    let path = tracee::read_path(thread, address)?;
    let path = Path::new(OsStr::from_bytes(&path));
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if path.is_absolute() {
        return Ok(Some((path.to_owned(), false)));
    }
    let is_at_directory = directory == libc::AT_FDCWD;
    let start = if is_at_directory { format!("/proc/{thread}/cwd") } else { format!("/proc/{thread}/fd/{directory}") };
    let names_something = path.components().any(|part| matches!(part, std::path::Component::Normal(_)));
    Ok(Some((link(&start)?.join(path), is_at_directory && names_something)))
}

fn link(path: &str) -> nix::Result<PathBuf> {
    std::fs::read_link(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))
}
