//! What a process inherits of signals and must not keep: whoever started it may ignore the ends of children, which the kernel
//! then keeps from this process as well, and may have blocked the signals that end a daemon.
//!
//! **Source:** `sigaction(2)` (`SIGCHLD` and `SIG_IGN`), `signal(7)` (inheritance across `execve`).

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
