//! What a traced program is to the kernel: its start, the call at which it stands, and its memory.
//!
//! The start is a `clone` of our own, since the program must let itself be traced and wait before it becomes another: the
//! standard library would wait for it at the same time. Until `execve` it shares this process's memory, of which a large
//! daemon or scanner would pay for a copy: so it makes plain system calls alone, on what was made before.
//!
//! **Source:** ptrace(2), seccomp(2), clone(2), signal-safety(7).

#![expect(unsafe_code, reason = "clone, and unions of the kernel's, have no safe interface")]

use super::Run;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::process::{Signal, getpid, kill_process};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use seccompiler::{BpfProgram, apply_filter};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;

/// The exit codes by which a program says that it never began.
pub(super) const NOT_TRACEABLE: i32 = 121;
/// See [`NOT_TRACEABLE`]: the filter was refused.
pub(super) const NOT_FILTERABLE: i32 = 122;
/// See [`NOT_TRACEABLE`]: its directory isn't there, or it couldn't be executed.
pub(super) const NOT_STARTED: i32 = 127;

/// The stack of a program that has not become one yet.
const STACK_BYTES: usize = 64 << 10;

/// The longest path that the kernel takes, with its end.
const MAX_PATH_BYTES: usize = 4096;
/// The unit in which memory is there or not.
const PAGE_BYTES: usize = 4096;

/// The streams of a program.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) input: File,
    pub(super) output: File,
    pub(super) errors: File,
}

/// A program, ready to be started.
pub(super) struct Prepared {
    program: CString,
    directory: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    filter: BpfProgram,
    output_limit: libc::rlimit,
}

impl Prepared {
    /// `None` where a string holds a zero.
    pub(super) fn new(run: &Run<'_>, filter: BpfProgram) -> Option<Self> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).ok();
        let request = run.request;
        let program = text(request.program.as_os_str())?;
        let mut arguments = vec![program.clone()];
        for argument in &request.arguments {
            arguments.push(text(argument)?);
        }
        let mut environment = Vec::new();
        for (name, value) in request.environment.iter().filter(|(name, _)| name != "TMPDIR") {
            environment.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()?);
        }
        let scratch = run.scratch.as_os_str().as_bytes();
        environment.push(CString::new([b"TMPDIR=", scratch].concat()).ok()?);
        let limit = run.limits.bytes as libc::rlim_t;
        Some(Self {
            program,
            directory: text(request.directory.as_os_str())?,
            arguments,
            environment,
            filter,
            output_limit: libc::rlimit { rlim_cur: limit, rlim_max: limit },
        })
    }
}

/// A program that has been started, with what it needs until it has become one.
pub(super) struct Started<'a> {
    pub(super) process: Pid,
    _start: Box<Start<'a>>,
}

struct Start<'a> {
    prepared: &'a Prepared,
    streams: &'a Streams,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    stack: Vec<u8>,
}

impl<'a> Started<'a> {
    /// Starts the program: it stops by itself before its first look, for this thread to trace it. What is given back must
    /// live until it has become the program, or ended.
    ///
    /// # Errors
    /// Where there is no room for another process.
    pub(super) fn new(prepared: &'a Prepared, streams: &'a Streams) -> nix::Result<Self> {
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&prepared.arguments), pointers(&prepared.environment));
        let stack = vec![0; STACK_BYTES];
        let mut start = Box::new(Start { prepared, streams, arguments, environment, stack });
        // The kernel wants it aligned.
        let top = start.stack.as_mut_ptr_range().end as usize & !0xf;
        let argument = (&raw const *start).cast::<libc::c_void>().cast_mut();
        // SAFETY: the child has a stack of its own, touches nothing that is freed before its `execve` or its end, allocates
        // nothing, takes no lock, and knows its thread's own memory by nothing but an `errno` that nobody reads.
        let process =
            unsafe { libc::clone(become_program, top as *mut libc::c_void, libc::CLONE_VM | libc::SIGCHLD, argument) };
        Ok(Self { process: Pid::from_raw(Errno::result(process)?), _start: start })
    }
}

/// The child's part; gives the code to end with where it doesn't become the program.
extern "C" fn become_program(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: whoever called `clone` gave a start that lives on.
    let Start { prepared, streams, arguments, environment, .. } = unsafe { &*start.cast::<Start<'_>>() };
    let is_placed = dup2_stdin(&streams.input).is_ok()
        && dup2_stdout(&streams.output).is_ok()
        && dup2_stderr(&streams.errors).is_ok()
        && rustix::process::chdir(prepared.directory.as_c_str()).is_ok();
    // SAFETY: all are plain calls on memory that lives on; no handler of this program is installed.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        // Until it is traced, nothing else ends it with the thread that started it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const prepared.output_limit);
    }
    if !is_placed || sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).is_err() {
        return NOT_STARTED;
    }
    if ptrace::traceme().is_err() || kill_process(getpid(), Signal::STOP).is_err() {
        return NOT_TRACEABLE;
    }
    if apply_filter(&prepared.filter).is_err() {
        return NOT_FILTERABLE;
    }
    // SAFETY: the lists end in null pointers, and what they point to lives on.
    unsafe { libc::execve(prepared.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    NOT_STARTED
}

/// A system call at its entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
}

/// The call before which the filter stopped the thread.
///
/// # Errors
/// Where the thread is gone, or the kernel can't tell (before Linux 5.3).
pub(super) fn entry(thread: Pid) -> nix::Result<Entry> {
    let info = call(thread)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
        return Err(Errno::ENOSYS);
    }
    // SAFETY: `op` says that this is the part that the kernel filled.
    let seccomp = unsafe { info.u.seccomp };
    Ok(Entry { number: seccomp.nr, arguments: seccomp.args })
}

/// What the call returned behind which the thread stands: a negative number is an error's.
///
/// # Errors
/// As for [`entry`].
pub(super) fn result(thread: Pid) -> nix::Result<i64> {
    let info = call(thread)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_EXIT {
        return Err(Errno::ENOSYS);
    }
    // SAFETY: `op` says that this is the part that the kernel filled.
    Ok(unsafe { info.u.exit }.sval)
}

/// What the kernel tells of the call at which the thread stands. (`nix` asks for none of it: it gives no size.)
fn call(thread: Pid) -> nix::Result<libc::ptrace_syscall_info> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes no more than `size` bytes.
    let written = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread.as_raw(), size, info.as_mut_ptr()) };
    Errno::result(written)?;
    // SAFETY: zeros are a value of each of its parts.
    Ok(unsafe { info.assume_init() })
}

/// Reads `length` bytes of the thread's memory.
///
/// # Errors
/// Where they aren't all there.
pub(super) fn read(thread: Pid, address: u64, length: usize) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let remote = RemoteIoVec { base: address as usize, len: length };
    let read = process_vm_readv(thread, &mut [IoSliceMut::new(&mut bytes)], &[remote])?;
    if read == length { Ok(bytes) } else { Err(Errno::EFAULT) }
}

/// Reads the string at `address`, without its end.
///
/// # Errors
/// Where there is none that a path could be.
pub(super) fn read_path(thread: Pid, address: u64) -> nix::Result<Vec<u8>> {
    let mut path = Vec::new();
    while path.len() < MAX_PATH_BYTES {
        let at = address as usize + path.len();
        // What lies behind the end of the page may not be there.
        let chunk = read(thread, at as u64, PAGE_BYTES - at % PAGE_BYTES)?;
        match memchr::memchr(0, &chunk) {
            Some(end) => {
                path.extend_from_slice(&chunk[..end]);
                return Ok(path);
            }
            None => path.extend(chunk),
        }
    }
    Err(Errno::ENAMETOOLONG)
}
