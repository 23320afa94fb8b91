//! Names outside of the directory for files in it.

use super::{SystemFile, SystemVolume, file_stat};
use crate::volume::{FileStat, Volume as _};
use pumphouse_proto::cas::Appearance;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use std::io;
use std::path::Path;

/// The name that is tried in a directory.
const PROBE: &str = "link-probe";

/// A file, and how it looks.
#[derive(Debug)]
pub(crate) struct Seen {
    file: SystemFile,
    pub(crate) stat: FileStat,
    mode: u32,
    /// How many names it has.
    pub(crate) links: u64,
}

impl Seen {
    pub(crate) fn has(&self, appearance: Appearance) -> bool {
        (self.mode, self.stat.modified) == (appearance.mode, appearance.modified_seconds * 1_000_000_000)
    }

    /// Gives the file that appearance.
    ///
    /// # Errors
    /// What the file system says. Its time of modification may be another one by then.
    pub(crate) fn change(&mut self, appearance: Appearance) -> io::Result<()> {
        let file = &self.file.file;
        rustix::fs::fchmod(file, Mode::from_raw_mode(appearance.mode))?;
        let time = Timespec { tv_sec: appearance.modified_seconds as i64, tv_nsec: 0 };
        rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?;
        self.stat = file_stat(&rustix::fs::fstat(file)?);
        Ok(())
    }
}

impl SystemVolume {
    /// Whether files can be given names in `directory`, which has to be on the same file system.
    pub fn can_link_into(&self, directory: &Path) -> bool {
        let path = directory.join(PROBE);
        let _ = std::fs::remove_file(&path);
        let name = "tmp/link-probe";
        let linked = self.temporary().and_then(|file| self.link(&file, name)).and_then(|()| self.link_to(name, &path));
        let _ = self.remove(name);
        let _ = std::fs::remove_file(&path);
        linked.is_ok()
    }

    /// Looks at a file that is about to be linked.
    ///
    /// # Errors
    /// `NotFound`, or what the file system says.
    pub(crate) fn see(&self, name: &str) -> io::Result<Seen> {
        let file = self.open_at(name, OFlags::RDONLY, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let (mode, links) = (stat.st_mode & 0o7777, stat.st_nlink);
        Ok(Seen { file: SystemFile { file, named: None }, stat: file_stat(&stat), mode, links })
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system says.
    pub(crate) fn link_to(&self, name: &str, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.root, name, CWD, path, AtFlags::empty())?)
    }
}
