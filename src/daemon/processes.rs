//! A launcher's compiler and what it started, so that they end when the launcher does.
//!
//! A process id that a launcher sends is one of the launcher's own process namespace, and may be anybody's here. So a
//! process counts only as what the kernel says is a child of the process at the other end of the socket.
//!
//! **Source:** `pid_namespaces(7)`, `proc_pid_status(5)` (`NSpid`), `unix(7)` (`SO_PEERCRED`).

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;

/// How deep a compiler's descendants are followed.
const DEPTH_LIMIT: usize = 16;

/// A process that a live launcher has started.
#[derive(Debug)]
pub(super) struct ProcessTree {
    process: Pid,
    handle: OwnedFd,
}

impl ProcessTree {
    /// The tree whose root is the child of `launcher` that the launcher calls `process`; none where it has ended, or can't be
    /// seen from here. The launcher must not have waited for it yet, so that the id is still the process's.
    pub(super) fn of(launcher: Pid, process: u32) -> Option<Self> {
        if !sees_own_processes() {
            return None;
        }
        let children = children(launcher);
        let process = children.into_iter().find(|child| own_id(*child) == Some(process))?;
        let handle = pidfd_open(process, PidfdFlags::empty()).ok()?;
        Some(Self { process, handle })
    }

    /// Asks every process of the tree to end: the driver, which removes its temporary files, and what it started.
    pub(super) fn terminate(&self) {
        let mut handles = Vec::new();
        collect(self.process, DEPTH_LIMIT, &mut handles);
        // If the root is gone, its id may be another's by now, and so may what was collected.
        if pidfd_send_signal(&self.handle, Signal::TERM).is_err() {
            return;
        }
        for handle in handles {
            let _ = pidfd_send_signal(&handle, Signal::TERM);
        }
    }
}

fn collect(process: Pid, depth: usize, handles: &mut Vec<OwnedFd>) {
    if depth == 0 {
        return;
    }
    for child in children(process) {
        if let Ok(handle) = pidfd_open(child, PidfdFlags::empty()) {
            handles.push(handle);
        }
        collect(child, depth - 1, handles);
    }
}

fn children(process: Pid) -> Vec<Pid> {
    // A process that ended meanwhile has none.
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        list.split_ascii_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
    };
    lists.flat_map(pids).collect()
}

/// The id of `process` in its own process namespace.
fn own_id(process: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_ascii_whitespace().next_back()?.parse().ok()
}

/// Whether `/proc` is that of this process's own namespace, so that ids in it are what the kernel means by them here.
fn sees_own_processes() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    std::fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_ends_with_its_leaves() {
        // The leaf holds the pipe's other end, so the pipe's end says that the leaf is gone.
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & echo started; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        ProcessTree::of(rustix::process::getpid(), child.id()).expect("runs").terminate();
        output.read_to_string(&mut line).expect("the end");
        assert!(!child.wait().expect("ended").success());
    }

    #[test]
    fn only_a_launchers_own_child_is_a_tree() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat runs");
        let stranger = Pid::from_raw(child.id() as i32).expect("an id");
        assert!(ProcessTree::of(stranger, std::process::id()).is_none());
        assert!(ProcessTree::of(stranger, child.id()).is_none());
        drop(child.stdin.take());
        assert!(child.wait().expect("ended").success());
    }
}
