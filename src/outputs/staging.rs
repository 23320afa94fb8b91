//! Outputs on their way: under temporary names until all are complete.

use super::OutputPath;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers the temporary files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Files that will be outputs; whatever isn't committed is removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    files: Vec<Staged>,
}

#[derive(Debug)]
struct Staged {
    temporary: PathBuf,
    path: PathBuf,
    keeps_file: bool,
}

impl Staging {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to commit or to remove.
    pub(crate) const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Stages `content` for `place`.
    ///
    /// # Errors
    /// The file can't be written; the message names it.
    pub(crate) fn write(&mut self, place: &OutputPath, content: &[u8]) -> io::Result<()> {
        let mut file = self.create(place)?;
        file.write_all(content).map_err(|error| at(&place.path, &error))
    }

    /// Creates the temporary file of `place`, for the caller to fill.
    ///
    /// # Errors
    /// The file can't be created; the message names it.
    pub(crate) fn create(&mut self, place: &OutputPath) -> io::Result<File> {
        let temporary = self.reserve(place);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(place.mode)
            .open(&temporary)
            .map_err(|error| at(&place.path, &error))?;
        if let Some(group) = place.group.filter(|_| !place.keeps_file) {
            std::os::unix::fs::fchown(&file, None, Some(group)).map_err(|error| at(&place.path, &error))?;
        }
        Ok(file)
    }

    /// A temporary name for `place`.
    fn reserve(&mut self, place: &OutputPath) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = place.path.with_file_name(format!(".pumphouse-{}-{number}", std::process::id()));
        self.files.push(Staged {
            temporary: temporary.clone(),
            path: place.path.clone(),
            keeps_file: place.keeps_file,
        });
        temporary
    }

    /// Renames everything to its place, or fills the file there with it, what was staged first coming last: so the object,
    /// by which build tools tell that a compile is done, appears after all others.
    ///
    /// # Errors
    /// A rename fails; the message names the file.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        while let Some(staged) = self.files.last() {
            staged.put().map_err(|error| at(&staged.path, &error))?;
            self.files.pop();
        }
        Ok(())
    }
}

impl Staged {
    fn put(&self) -> io::Result<()> {
        if self.keeps_file {
            // Where it was removed meanwhile, a new one is as good.
            if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(&self.path) {
                io::copy(&mut File::open(&self.temporary)?, &mut file)?;
                return std::fs::remove_file(&self.temporary);
            }
        }
        std::fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for staged in &self.files {
            let _ = std::fs::remove_file(&staged.temporary);
        }
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outputs::Presence;

    fn place(path: PathBuf) -> OutputPath {
        OutputPath {
            name: String::new(),
            path,
            mode: 0o640,
            group: None,
            keeps_file: false,
            presence: Presence::Certain,
        }
    }

    fn listing(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn outputs_appear_all_or_none() {
        let scratch = tempfile::tempdir().expect("scratch");
        let [object, depfile] = ["a.o", "a.d"].map(|name| place(scratch.path().join(name)));
        std::fs::write(&object.path, "old").expect("written");
        let mut dropped = Staging::new();
        dropped.write(&object, b"new").expect("staged");
        dropped.write(&depfile, b"new").expect("staged");
        drop(dropped);
        assert_eq!(listing(scratch.path()), ["a.o"]);
        assert_eq!(std::fs::read(&object.path).expect("read"), b"old");
        let mut committed = Staging::new();
        committed.write(&object, b"new").expect("staged");
        committed.write(&depfile, b"new").expect("staged");
        committed.commit().expect("committed");
        assert_eq!(listing(scratch.path()), ["a.d", "a.o"]);
        assert_eq!(std::fs::read(&object.path).expect("read"), b"new");
    }

    #[test]
    fn a_file_that_is_kept_is_filled() {
        use std::os::unix::fs::MetadataExt as _;
        let scratch = tempfile::tempdir().expect("scratch");
        let kept = OutputPath { keeps_file: true, ..place(scratch.path().join("a.d")) };
        std::fs::write(&kept.path, "a longer text").expect("written");
        let inode = || std::fs::metadata(&kept.path).expect("there").ino();
        let before = inode();
        for content in ["new", "newer"] {
            let mut staging = Staging::new();
            staging.write(&kept, content.as_bytes()).expect("staged");
            staging.commit().expect("committed");
            assert_eq!(std::fs::read_to_string(&kept.path).expect("read"), content);
        }
        assert_eq!((inode(), listing(scratch.path())), (before, vec!["a.d".to_owned()]));
    }

    #[test]
    fn an_output_that_cannot_be_written_is_named() {
        let scratch = tempfile::tempdir().expect("scratch");
        let absent = place(scratch.path().join("absent/a.o"));
        let error = Staging::new().write(&absent, b"").expect_err("no directory");
        assert!(error.to_string().contains("absent/a.o"), "{error}");
    }
}
