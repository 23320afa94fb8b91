//! File systems that are mounted for one test: one that is almost full, ones with coarse time stamps, one that another
//! program serves.

use crate::process::succeed;
use anyhow::{Context, Result};
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
        unmount(&self.path);
    }
}

/// What makes a file system whose time stamps are whole seconds: the words before the image's name.
pub const WHOLE_SECONDS: &[&str] = &["mkfs.ext4", "-q", "-I", "128", "-F"];
/// As [`WHOLE_SECONDS`], for one that counts in two seconds and stamps no changes but writes.
pub const TWO_SECONDS: &[&str] = &["mkfs.vfat"];

/// A file system in a file; unmounted when dropped.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
}

impl Image {
    /// Makes one by the words of `make` in `place`, which is made, and mounts it there.
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub fn new(place: &Path, make: &[&str]) -> Result<Self> {
        let (image, path) = (place.join("image"), place.join("mounted"));
        std::fs::create_dir_all(&path)?;
        std::fs::File::create(&image)?.set_len(16 << 20)?;
        let (program, words) = make.split_first().context("a program that makes file systems")?;
        succeed(Command::new(program).args(words).arg(&image))?;
        succeed(Command::new("mount").args(["-o", "loop"]).args([&image, &path]))?;
        Ok(Self { path })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// A directory that `mergerfs` serves under another path, as file systems of other programs are served; unmounted when
/// dropped.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
}

impl Served {
    /// Serves `directory` at `path`, which is made. The kernel remembers what it was told for a minute.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn new(directory: &Path, path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let options = "cache.attr=60,cache.entry=60,cache.negative_entry=60";
        succeed(Command::new("mergerfs").args(["-o", options]).args([directory, path]))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Lazily: a process that is being killed may still hold a file.
fn unmount(path: &Path) {
    let _ = succeed(Command::new("umount").arg("--lazy").arg(path));
}
