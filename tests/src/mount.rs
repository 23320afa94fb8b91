//! A file system that is almost full: a small tmpfs, mounted for one test.

use crate::process::succeed;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; unmounted when dropped. Mounting needs root, as the gate's machines have it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `size_kib` KiB at `path`, which is made.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn new(path: &Path, size_kib: usize) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let options = format!("size={size_kib}k,mode=0777");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "pumphouse-test"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold a file.
        let _ = succeed(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
