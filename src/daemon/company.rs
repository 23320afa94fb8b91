//! Whether anybody else is left where the daemon is: a daemon must not be what keeps a namespace and its mounts alive.
//!
//! A namespace lives as long as a process in it, and a directory that is some process's root can't be unmounted. So a daemon
//! that was born in a namespace of a sandbox, or below a `chroot`, leaves as soon as it is the last one there. That of the
//! machine itself stays until it is idle for long enough.
//!
//! **Source:** `mount_namespaces(7)`, `proc_pid_ns(5)`, `proc_pid_root(5)`.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a daemon that can't see whether it is alone stays without work.
pub(super) const BLIND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The numbers of the machine's first mount namespace, as kernels give them.
const FIRST_NAMESPACES: [u64; 3] = [0xEFFF_FFF8, 0xF000_0000, 0xF000_0001];

/// What a daemon sees of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// It is at home on the machine, or in a container that has a first process of its own.
    AtHome,
    /// Others share its namespace and its root.
    Others,
    /// It is the last one.
    Alone,
    /// There is no telling.
    Unknown,
}

impl Company {
    /// Looks around. Costs a few system calls at home, else a look at every process.
    pub(super) fn now() -> Self {
        let Ok(own) = MountRoot::of(Path::new("/proc/self")) else { return Self::Unknown };
        let is_home = match MountRoot::of(Path::new("/proc/1")) {
            Ok(first) => first == own,
            // Another user's first process can't be looked at.
            Err(_) => FIRST_NAMESPACES.contains(&own.namespace) && has_whole_root(),
        };
        if is_home {
            return Self::AtHome;
        }
        match others(own) {
            Ok(0) => Self::Alone,
            Ok(_) => Self::Others,
            Err(_) => Self::Unknown,
        }
    }
}

/// Whether the root directory is that of a file system, rather than one that was chosen in it.
fn has_whole_root() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // Number, parent, device, root in the file system, where it is mounted.
    mounts.lines().any(|mount| mount.split(' ').skip(3).take(2).eq(["/", "/"]))
}

/// Where a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MountRoot {
    namespace: u64,
    root: (u64, u64),
}

impl MountRoot {
    fn of(process: &Path) -> io::Result<Self> {
        let root = std::fs::metadata(process.join("root"))?;
        Ok(Self { namespace: std::fs::metadata(process.join("ns/mnt"))?.ino(), root: (root.dev(), root.ino()) })
    }
}

/// How many processes are where this one is, other daemons of this program aside: they would wait for each other.
fn others(own: MountRoot) -> io::Result<usize> {
    let program = |process: &Path| std::fs::metadata(process.join("exe")).map(|exe| (exe.dev(), exe.ino())).ok();
    let own_program = program(Path::new("/proc/self"));
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        // Those of other users can't be looked at, and are served by other daemons.
        if is_process(&entry.file_name())
            && MountRoot::of(&entry.path()).is_ok_and(|place| place == own)
            && program(&entry.path()) != own_program
        {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_not_alone() {
        // Whoever runs the tests is in the same place, wherever that is.
        assert!(matches!(Company::now(), Company::AtHome | Company::Others));
        assert!(others(MountRoot::of(Path::new("/proc/self")).expect("known")).expect("counted") > 0);
    }
}
