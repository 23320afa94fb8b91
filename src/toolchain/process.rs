//! Asking a program of the toolchain: its output, within a limit of time.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How much it may say.
const MAX_OUTPUT_BYTES: u64 = 8 << 20;

/// What a program said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) is_success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs `program` in `directory` under exactly `environment`.
///
/// # Errors
/// Where it can't be started or doesn't end in time.
pub(super) fn ask(
    program: &Path,
    arguments: &[OsString],
    directory: &Path,
    environment: &[(OsString, OsString)],
) -> io::Result<Answer> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()?;
    if !ends_in_time(&child) {
        // It may end just now; either way it is gone afterwards.
        child.kill()?;
    }
    let status = child.wait()?;
    if status.signal().is_some() {
        return Err(io::Error::other(format!("{} ended by a signal or took too long", program.display())));
    }
    Ok(Answer { is_success: status.success(), stdout: read(&mut stdout)?, stderr: read(&mut stderr)? })
}

/// Waits for the child's end; `false` where it doesn't come in time.
fn ends_in_time(child: &std::process::Child) -> bool {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    // On a kernel without process descriptors there is no limit but the wait itself.
    let Ok(descriptor) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return true };
    let timeout = rustix::event::Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    let mut descriptors = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut descriptors, Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
