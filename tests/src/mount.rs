//! File systems that are mounted for one test: one that is almost full, ones with coarse time stamps, one that another
//! program serves.

use crate::process::{SERVICE_DEADLINE, succeed};
use crate::processes::until;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

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
    server: Pid,
}

impl Served {
    /// Serves `directory` at `path`, which is made. The kernel remembers what it was told for a minute.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn new(directory: &Path, path: &Path) -> Result<Self> {
        Self::with(directory, path, "cache.attr=60,cache.entry=60,cache.negative_entry=60")
    }

    /// As [`Self::new`]; the kernel remembers nothing, and asks for everything.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn unremembered(directory: &Path, path: &Path) -> Result<Self> {
        Self::with(directory, path, "cache.attr=0,cache.entry=0,cache.negative_entry=0")
    }

    fn with(directory: &Path, path: &Path, options: &str) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        succeed(Command::new("mergerfs").args(["-o", options]).args([directory, path]))?;
        let end = format!(" {}", path.display());
        let server = until(|process, _| process.command_line.trim_end().ends_with(&end))?.id;
        Ok(Self { path: path.to_owned(), server })
    }

    /// Has it answer nothing more, as a file system does whose server is gone, until [`Self::thaw`].
    ///
    /// # Errors
    /// When its server is gone.
    pub fn freeze(&self) -> Result<()> {
        Ok(kill_process(self.server, Signal::STOP)?)
    }

    /// Has it go on.
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        Ok(kill_process(self.server, Signal::CONT)?)
    }

    /// Waits until somebody waits for its answer: for a frozen one.
    ///
    /// # Errors
    /// When nobody does in time, or the kernel doesn't say.
    pub fn until_asked(&self) -> Result<()> {
        let control = tempfile::tempdir()?;
        succeed(Command::new("mount").args(["-t", "fusectl", "pumphouse-test"]).arg(control.path()))?;
        let mounted = SmallDisk { path: control.path().to_owned() };
        // Asking the kernel for the mount's device asks its server as well; what is mounted does not.
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let place = self.path.display().to_string();
        let device = table.lines().find_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (words.get(4) == Some(&place.as_str())).then(|| words[2].rsplit(':').next().map(str::to_owned))?
        });
        let waiting = control.path().join(device.context("it is not mounted")?).join("waiting");
        let start = Instant::now();
        while std::fs::read_to_string(&waiting)?.trim() == "0" {
            ensure!(start.elapsed() < SERVICE_DEADLINE, "nobody asks {place}");
            std::thread::yield_now();
        }
        drop(mounted);
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.thaw();
        unmount(&self.path);
    }
}

/// Lazily: a process that is being killed may still hold a file.
fn unmount(path: &Path) {
    let _ = succeed(Command::new("umount").arg("--lazy").arg(path));
}
