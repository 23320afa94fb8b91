//! The system calls that no safe interface offers.
//!
//! **Source:** clone3(2), unshare(2), `mount_setattr(2)`, getrusage(2).

use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::path::Path;

/// Proof that the process has one thread: only a supervisor has it, before `main`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// The proof.
    ///
    /// # Safety
    /// The process has one thread, and starts no other.
    pub(super) const unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

/// The two sides of a fork.
#[derive(Debug)]
pub(super) enum Forked {
    /// This is the new process.
    Child,
    /// This is the old one, and that is the child's id.
    Parent(Pid),
}

/// Forks into new namespaces: `flags` as clone3(2) has them.
///
/// # Errors
/// What clone3 says: `EPERM` and `ENOSYS` where the kernel or a filter refuses.
pub(super) fn fork(_proof: SingleThreaded, flags: u64) -> io::Result<Forked> {
    // SAFETY: all-zero is how clone3(2) says "nothing asked for".
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = flags;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: no memory is shared with the child, which gets a copy of this stack; the process has one thread, so
    // that no lock of the C library's can be held by a thread that the child lacks.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match answer {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(Pid::from_raw(pid as i32).expect("a positive number is a process id"))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves namespaces of this process for new ones.
///
/// # Errors
/// What unshare(2) says.
pub(super) fn unshare(_proof: SingleThreaded, flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the process has one thread, so no other can be surprised by its descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Makes the mount at `path` read-only, without set-user-id programs.
///
/// # Errors
/// What `mount_setattr(2)` says: `ENOSYS` before Linux 5.12.
pub(super) fn make_read_only(path: &Path) -> io::Result<()> {
    forbid_writes(path, 0)
}

/// Makes the mount at `path` and all below it read-only, without set-user-id programs.
///
/// # Errors
/// As [`make_read_only`].
pub(super) fn make_all_read_only(path: &Path) -> io::Result<()> {
    forbid_writes(path, libc::AT_RECURSIVE)
}

fn forbid_writes(path: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: all-zero is how mount_setattr(2) says "change nothing".
    let mut attributes: libc::mount_attr = unsafe { mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    // SAFETY: the path is a C string and the attributes a structure of the size given; both outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the children that have been waited for have used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChildrenUsage {
    /// Microseconds in user mode.
    pub(super) user_us: u64,
    /// Microseconds in the kernel.
    pub(super) system_us: u64,
    /// The largest resident set of any one of them, in bytes.
    pub(super) peak_resident_bytes: u64,
}

/// Asks what the children that have been waited for have used.
pub(super) fn children_usage() -> ChildrenUsage {
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: `usage` is a writable rusage.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) } != 0 {
        return ChildrenUsage::default();
    }
    let microseconds = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    ChildrenUsage {
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        peak_resident_bytes: usage.ru_maxrss as u64 * 1024,
    }
}

/// Ends the process at once, without running what is registered for its end.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` is always allowed.
    unsafe { libc::_exit(code) }
}
