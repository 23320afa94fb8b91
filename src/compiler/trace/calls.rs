//! The system calls by which a program looks at the file system or leaves it, and how their operands name paths.
//!
//! What is in this table stops a traced program; everything else runs at full speed. A call that is missing here is a look
//! that isn't seen, so calls that would do the same by other means (`io_uring`, file handles, other roots) are in it as
//! [`Act::Escape`].
//!
//! **Source:** syscalls(2), and the manual page of each call.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// What a call does, as far as an answer may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Asks whether something is there, what it is, or where a link leads.
    Look,
    /// Asks whether something may be done with what is there.
    Access,
    /// Opens a file: the argument with this index holds the flags.
    Open(usize),
    /// Opens a file: the argument with this index points to the flags.
    OpenHow(usize),
    /// Becomes another program.
    Execute,
    /// Reads the entries of a directory.
    List,
    /// Makes, changes or removes something.
    Change,
    /// Opens a socket: its domain is the first argument.
    Socket,
    /// Reaches for the socket whose address the second argument points to.
    Connect,
    /// Goes where looks can't be followed.
    Escape,
}

/// How a call's arguments name a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// The argument with this index points to it; it starts from the working directory.
    Path(usize),
    /// A descriptor of the directory that it starts from, and then the path.
    At(usize, usize),
    /// A descriptor of the file itself.
    Descriptor(usize),
}

use Act::{Access, Change, Connect, Escape, Execute, List, Look, Open, OpenHow, Socket};
use Operand::{At, Descriptor, Path};

/// A call, with what it does and to which paths.
pub(super) type Call = (libc::c_long, Act, &'static [Operand]);

/// Calls that every architecture has.
const CALLS: &[Call] = &[
    (libc::SYS_openat, Open(2), &[At(0, 1)]),
    (libc::SYS_openat2, OpenHow(2), &[At(0, 1)]),
    (libc::SYS_newfstatat, Look, &[At(0, 1)]),
    (libc::SYS_statx, Look, &[At(0, 1)]),
    (libc::SYS_faccessat, Access, &[At(0, 1)]),
    (libc::SYS_faccessat2, Access, &[At(0, 1)]),
    (libc::SYS_readlinkat, Look, &[At(0, 1)]),
    (libc::SYS_name_to_handle_at, Look, &[At(0, 1)]),
    (libc::SYS_inotify_add_watch, Look, &[Path(1)]),
    (libc::SYS_statfs, Look, &[Path(0)]),
    (libc::SYS_getxattr, Look, &[Path(0)]),
    (libc::SYS_lgetxattr, Look, &[Path(0)]),
    (libc::SYS_listxattr, Look, &[Path(0)]),
    (libc::SYS_llistxattr, Look, &[Path(0)]),
    (libc::SYS_chdir, Access, &[Path(0)]),
    (libc::SYS_execve, Execute, &[Path(0)]),
    (libc::SYS_execveat, Execute, &[At(0, 1)]),
    (libc::SYS_getdents64, List, &[Descriptor(0)]),
    (libc::SYS_mkdirat, Change, &[At(0, 1)]),
    (libc::SYS_mknodat, Change, &[At(0, 1)]),
    (libc::SYS_unlinkat, Change, &[At(0, 1)]),
    (libc::SYS_renameat, Change, &[At(0, 1), At(2, 3)]),
    (libc::SYS_renameat2, Change, &[At(0, 1), At(2, 3)]),
    (libc::SYS_linkat, Change, &[At(0, 1), At(2, 3)]),
    (libc::SYS_symlinkat, Change, &[At(1, 2)]),
    (libc::SYS_fchmodat, Change, &[At(0, 1)]),
    (libc::SYS_fchownat, Change, &[At(0, 1)]),
    (libc::SYS_utimensat, Change, &[At(0, 1)]),
    (libc::SYS_truncate, Change, &[Path(0)]),
    (libc::SYS_setxattr, Change, &[Path(0)]),
    (libc::SYS_lsetxattr, Change, &[Path(0)]),
    (libc::SYS_removexattr, Change, &[Path(0)]),
    (libc::SYS_lremovexattr, Change, &[Path(0)]),
    (libc::SYS_socket, Socket, &[]),
    (libc::SYS_connect, Connect, &[]),
    (libc::SYS_bind, Escape, &[]),
    (libc::SYS_open_by_handle_at, Escape, &[]),
    (libc::SYS_io_uring_setup, Escape, &[]),
    (libc::SYS_chroot, Escape, &[]),
    (libc::SYS_pivot_root, Escape, &[]),
    (libc::SYS_mount, Escape, &[]),
    (libc::SYS_umount2, Escape, &[]),
    (libc::SYS_open_tree, Escape, &[]),
    (libc::SYS_unshare, Escape, &[]),
    (libc::SYS_setns, Escape, &[]),
    (libc::SYS_ptrace, Escape, &[]),
];

/// Calls that only this architecture has: the older ones, which know no descriptors of directories.
#[cfg(target_arch = "x86_64")]
const OWN_CALLS: &[Call] = &[
    (libc::SYS_open, Open(1), &[Path(0)]),
    (libc::SYS_creat, Change, &[Path(0)]),
    (libc::SYS_stat, Look, &[Path(0)]),
    (libc::SYS_lstat, Look, &[Path(0)]),
    (libc::SYS_access, Access, &[Path(0)]),
    (libc::SYS_readlink, Look, &[Path(0)]),
    (libc::SYS_getdents, List, &[Descriptor(0)]),
    (libc::SYS_mkdir, Change, &[Path(0)]),
    (libc::SYS_mknod, Change, &[Path(0)]),
    (libc::SYS_rmdir, Change, &[Path(0)]),
    (libc::SYS_unlink, Change, &[Path(0)]),
    (libc::SYS_rename, Change, &[Path(0), Path(1)]),
    (libc::SYS_link, Change, &[Path(0), Path(1)]),
    (libc::SYS_symlink, Change, &[Path(1)]),
    (libc::SYS_chmod, Change, &[Path(0)]),
    (libc::SYS_chown, Change, &[Path(0)]),
    (libc::SYS_lchown, Change, &[Path(0)]),
    (libc::SYS_utime, Change, &[Path(0)]),
    (libc::SYS_utimes, Change, &[Path(0)]),
    (libc::SYS_futimesat, Change, &[At(0, 1)]),
];
#[cfg(not(target_arch = "x86_64"))]
const OWN_CALLS: &[Call] = &[];

/// The call with this number, if it is one of the table's.
pub(super) fn find(number: u64) -> Option<&'static Call> {
    CALLS.iter().chain(OWN_CALLS).find(|call| call.0 as u64 == number)
}

/// The program by which the kernel stops the calls of the table; calls of another architecture it answers with `SIGSYS`.
///
/// # Errors
/// Where this architecture isn't known.
pub(super) fn filter() -> Result<BpfProgram, String> {
    let rules: BTreeMap<i64, Vec<_>> = CALLS.iter().chain(OWN_CALLS).map(|call| (call.0, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), architecture);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}
