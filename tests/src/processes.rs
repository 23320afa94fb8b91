//! Looking at the machine's processes, for tests that strike at the right moment.

use crate::process::SERVICE_DEADLINE;
use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::path::PathBuf;
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

/// Looks again and again until the process listens at a port, and gives the port.
///
/// # Errors
/// When it doesn't by the service deadline, or ends before.
pub fn until_it_listens(id: Pid) -> Result<u16> {
    let directory = PathBuf::from(format!("/proc/{}", id.as_raw_nonzero()));
    let start = Instant::now();
    while start.elapsed() < SERVICE_DEADLINE {
        let own = std::fs::read_dir(directory.join("fd"))?.map_while(Result::ok);
        let own: Vec<_> = own.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        // An address of IPv4 may be a socket of IPv6.
        let sockets =
            ["net/tcp", "net/tcp6"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap_or_default());
        let sockets = sockets.concat();
        if let Some(port) = sockets.lines().find_map(|line| listening_port(line, &own)) {
            return Ok(port);
        }
        std::thread::yield_now();
    }
    bail!("{id:?} doesn't listen after {SERVICE_DEADLINE:?}")
}

/// The port of a line of `/proc/net/tcp` or `tcp6` that is a listening socket among `own`.
fn listening_port(line: &str, own: &[PathBuf]) -> Option<u16> {
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, address, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let (_, port) = address.split_once(':').filter(|_| state == LISTEN && own.contains(&socket))?;
    u16::from_str_radix(port, 16).ok()
}
