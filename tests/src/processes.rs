//! Looking at the machine's processes, for tests that strike at the right moment.

use crate::process::SERVICE_DEADLINE;
use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::time::Instant;

/// A process as `/proc` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: Pid,
    /// Its parent's id; none for the first process of the machine.
    pub parent: Option<Pid>,
    /// The arguments, separated by spaces.
    pub command_line: String,
    /// The environment, a variable a line.
    pub environment: String,
}

/// All processes at this moment.
///
/// # Errors
/// When `/proc` can't be read. Processes that end meanwhile are left out.
pub fn processes() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let read = |name: &str, separator: &str| {
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', separator)
        };
        // `pid (name) state parent …`, where the name may hold anything.
        let stat = read("stat", "");
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        found.push(Process {
            id,
            parent: parent.and_then(Pid::from_raw),
            command_line: read("cmdline", " "),
            environment: read("environ", "\n"),
        });
    }
    Ok(found)
}

/// Looks at all processes again and again until one of them satisfies `condition`, and gives it.
///
/// # Errors
/// When none does by the service deadline.
pub fn until(condition: impl Fn(&Process, &[Process]) -> bool) -> Result<Process> {
    let start = Instant::now();
    while start.elapsed() < SERVICE_DEADLINE {
        let all = processes()?;
        if let Some(process) = all.iter().find(|process| condition(process, &all)) {
            return Ok(process.clone());
        }
        std::thread::yield_now();
    }
    bail!("no such process in {SERVICE_DEADLINE:?}")
}

/// Waits until the process has ended: nothing to wait for where it is gone.
///
/// # Errors
/// When it still runs by the service deadline.
pub fn until_ended(id: Pid) -> Result<()> {
    let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return Ok(()) };
    let limit = Timespec::try_from(SERVICE_DEADLINE)?;
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))? {
        0 => bail!("{id:?} still runs after {SERVICE_DEADLINE:?}"),
        _ => Ok(()),
    }
}

/// Whether `process` descends from `ancestor`.
pub fn descends(process: &Process, ancestor: Pid, all: &[Process]) -> bool {
    let mut parent = process.parent;
    while let Some(id) = parent {
        if id == ancestor {
            return true;
        }
        parent = all.iter().find(|process| process.id == id).and_then(|process| process.parent);
    }
    false
}
