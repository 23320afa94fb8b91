//! The way into a supervisor, before `main`; with the system calls, all of the worker's `unsafe`.
//!
//! A supervisor (see `supervisor.rs`) is this same program, started again under the name [`SUPERVISOR_NAME`]. It must
//! fork while it holds no threads, and it must hold nothing of the worker's memory, so the program is diverted before
//! `main`: whoever links this crate needs no hook of its own, and the supervisor starts neither runtime nor threads.
//!
//! **Source:** the ELF specification's `.init_array`, to whose functions the GNU C library gives `main`'s arguments.

use super::supervisor;
use super::syscalls::SingleThreaded;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::AsFd as _;

/// What a supervisor's `argv[0]` is; no file has this name.
pub(super) const SUPERVISOR_NAME: &CStr = c"pumphouse-sandbox-supervisor";

#[used]
#[unsafe(link_section = ".init_array")]
static DIVERT: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = divert;

extern "C" fn divert(count: c_int, arguments: *const *const c_char, _environment: *const *const c_char) {
    if count != 1 || arguments.is_null() {
        return;
    }
    // SAFETY: the C library passes what `main` gets: `count` pointers to strings that live as long as the process.
    let name = unsafe { CStr::from_ptr(*arguments) };
    if name == SUPERVISOR_NAME && rustix::net::sockopt::socket_domain(std::io::stdin().as_fd()).is_ok() {
        // SAFETY: before `main` no code of this program has run that could have started a thread, and `main` of the
        // supervisor starts none and never returns.
        supervisor::main(unsafe { SingleThreaded::new() });
    }
}
