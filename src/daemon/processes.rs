//! A launcher's compiler and what it started, so that they end when the launcher does.

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
    /// The tree whose root has this process id; none where it has ended. The launcher must not have waited for it yet,
    /// so that the id is still the process's.
    pub(super) fn of(process: u32) -> Option<Self> {
        let process = Pid::from_raw(i32::try_from(process).ok()?)?;
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
    let id = process.as_raw_nonzero();
    let Ok(children) = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")) else { return };
    for child in children.split_ascii_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)) {
        if let Ok(handle) = pidfd_open(child, PidfdFlags::empty()) {
            handles.push(handle);
        }
        collect(child, depth - 1, handles);
    }
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
        ProcessTree::of(child.id()).expect("runs").terminate();
        output.read_to_string(&mut line).expect("the end");
        assert!(!child.wait().expect("ended").success());
        assert!(ProcessTree::of(child.id()).is_none());
    }
}
