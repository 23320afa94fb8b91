//! What a process inherits and must not keep: whoever started it may ignore the ends of children, which the kernel then keeps
//! from this process as well, may have blocked the signals that end a daemon, and may be limited in what it uses, where a
//! process that serves others is not to be.
//!
//! **Source:** `sigaction(2)` (`SIGCHLD` and `SIG_IGN`), `signal(7)` (inheritance across `execve`), `getrlimit(2)`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a daemon or server uses as much of as it may: open files, since each launcher takes one; and what a shell's `ulimit`
/// is meant to bound of one build.
const USED: [Resource; 6] =
    [Resource::Nofile, Resource::Fsize, Resource::Cpu, Resource::As, Resource::Data, Resource::Nproc];

/// Raises the limits of this process as far as its starter may.
pub(crate) fn raise_limits() {
    for resource in USED {
        let limit = getrlimit(resource);
        // What can't be raised stays: launchers wait, or compile by themselves.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Has writing beyond the limit of a file's size fail, rather than end the process. Programs that it starts are ended all the
/// same. To be called within a runtime.
pub(crate) fn survive_large_files() {
    use tokio::signal::unix::{SignalKind, signal};
    // A handler, once set, stays, even where nobody waits for the signal.
    if let Err(error) = signal(SignalKind::from_raw(libc::SIGXFSZ)) {
        tracing::warn!(%error, "setting a handler");
    }
}

/// Has this process hear of the ends of its children, and those that it starts of theirs, as compilers do for themselves.
#[expect(unsafe_code, reason = "the disposition of a signal, which rustix does not know")]
pub(crate) fn await_children() {
    // SAFETY: it installs no code of this program, and changes what becomes of one signal alone.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Unblocks all signals, for a process that has one thread and outlives whoever started it.
#[expect(unsafe_code, reason = "the mask of signals, which rustix does not know")]
pub(crate) fn unblock_all() {
    // SAFETY: an all-zero set is what `sigemptyset` makes it before it is read, and nothing is written but the thread's mask.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
