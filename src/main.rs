//! The program `pumphouse`: a launcher where it is started as one, else its command line, else a launcher of whatever program
//! the command line names.
//!
//! A launcher lives for a millisecond, so it does without the preparations of Rust's runtime (a handler for stack
//! overflows, which reads the process's memory map, among them): the C runtime calls [`main`] directly.

#![cfg_attr(not(test), no_main)]

use pumphouse::{cli, launcher};
use std::ffi::{c_char, c_int};

/// Where the program begins. The standard library finds the arguments by itself.
// SAFETY: no other function of the program is named `main`, and this is the signature that the C runtime calls.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    if let Some(invocation) = launcher::Invocation::from_arguments(std::env::args_os()) {
        return launcher::run(&invocation).into();
    }
    let program = cli::program(std::env::args_os());
    if let Some(code) = program.as_ref().and_then(launcher::run_if_found) {
        return code.into();
    }
    ignore_broken_pipes();
    cli::run().into()
}

/// Has writing to a closed pipe or connection fail rather than end the process, as Rust's runtime does.
fn ignore_broken_pipes() {
    // SAFETY: it is called before any thread is started, and installs no code of this program.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
