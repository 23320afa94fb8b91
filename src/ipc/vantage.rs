//! From where a process sees the file system: what tells a container, a sandbox or a `chroot` from the machine around it.
//!
//! A name leads to one file in all processes with the same root directory in the same mount namespace, and may lead to
//! another one everywhere else. Every mount belongs to one namespace (a namespace begins with copies of all mounts, each
//! with a number of its own), so the number of the mount on which the root directory stands, with the directory's inode,
//! says both. A number is free for others only once its namespace is gone, which lives as long as a process in it: a daemon
//! that can be reached under a vantage is in it.
//!
//! What it does not know: mounts made later in the same namespace, which all of its processes see alike; user, process and
//! network namespaces, which change no file.
//!
//! **Source:** `mount_namespaces(7)`, `statx(2)`, `chroot(2)`.

use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// `STATX_MNT_ID_UNIQUE` of Linux 6.8: numbers of mounts that are never given again. An older kernel ignores it.
const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The file system as a process sees it. Equal vantages see the same files under all names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vantage {
    /// The mount of the root directory, or (before Linux 5.8) the mount namespace.
    pub mount: u64,
    /// The device of the root directory.
    pub device: u64,
    /// The inode of the root directory.
    pub inode: u64,
}

impl Vantage {
    /// That of this process, as of now. Costs one system call, before Linux 5.8 two.
    ///
    /// # Errors
    /// The kernel does not say; `/proc` is not there on an old one.
    pub(crate) fn own() -> io::Result<Self> {
        let flags = StatxFlags::INO | StatxFlags::MNT_ID | UNIQUE_MOUNT_ID;
        match rustix::fs::statx(CWD, "/", AtFlags::empty(), flags) {
            Ok(root) if root.stx_mask & (StatxFlags::MNT_ID | UNIQUE_MOUNT_ID).bits() != 0 => Ok(Self {
                mount: root.stx_mnt_id,
                device: rustix::fs::makedev(root.stx_dev_major, root.stx_dev_minor),
                inode: root.stx_ino,
            }),
            _ => {
                let root = std::fs::metadata("/")?;
                let mount = std::fs::metadata("/proc/self/ns/mnt")?.ino();
                Ok(Self { mount, device: root.dev(), inode: root.ino() })
            }
        }
    }

    /// The vantage as part of a file's name.
    pub(crate) fn name(&self) -> String {
        format!("{:x}-{:x}-{:x}", self.mount, self.device, self.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_vantage() {
        let own = Vantage::own().expect("known");
        assert_eq!(own, Vantage::own().expect("known"));
        assert_ne!(own.mount, 0);
        assert_eq!(own.inode, std::fs::metadata("/").expect("a root").ino());
        assert_eq!(own.device, std::fs::metadata("/").expect("a root").dev());
    }
}
