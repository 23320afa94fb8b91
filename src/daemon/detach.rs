//! How a daemon leaves the build that started it.
//!
//! The launcher starts `pumphouse daemon --detach`, which becomes a session of its own, starts the daemon proper and ends
//! as soon as that one serves. The daemon is thus nobody's child, has no terminal, and holds none of the files that the
//! build tool left open: not its pipes, not the tokens of its job server.

use rustix::io::FdFlags;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// The argument of `pumphouse daemon` by which a launcher starts it.
pub(crate) const FLAG: &str = "--detach";

/// What the daemon writes to its standard output once it serves.
const READY: &[u8] = b"ready\n";

/// Starts the daemon proper and waits until it serves.
///
/// # Errors
/// It can't be started, or ends before it serves.
pub(crate) fn detach() -> io::Result<()> {
    // Fails for the leader of a process group alone, which a child of a launcher is not.
    rustix::process::setsid()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pumphouse").arg("daemon").stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    close_inherited_at_exec()?;
    let mut child = command.spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    Err(io::Error::other(if said.trim().is_empty() { "it ended before it served" } else { said.trim() }))
}

/// Tells the waiting parent that the daemon serves, and lets go of its pipe.
///
/// # Errors
/// `/dev/null` can't be opened.
pub(crate) fn tell_ready() -> io::Result<()> {
    // The parent may be gone, which is no reason not to serve.
    let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    Ok(())
}

/// Marks every open file but the three standard ones to be closed by `exec`.
fn close_inherited_at_exec() -> io::Result<()> {
    let descriptors: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in descriptors {
        set_close_on_exec(descriptor);
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "inherited descriptors have no owner in this program, so they can only be borrowed by number"
)]
fn set_close_on_exec(descriptor: RawFd) {
    // SAFETY: the borrow lasts for one call, in a process with one thread, so nothing closes the descriptor meanwhile.
    // One that is closed already (the listing's own) makes the call fail with EBADF, which changes nothing.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let _ = rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC);
}
