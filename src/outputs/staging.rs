//! Outputs on their way: under temporary names until all are complete.

use super::Place;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers the temporary files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Files that will be outputs; whatever isn't committed is removed when this is dropped.
#[derive(Debug, Default)]
pub struct Staging {
    files: Vec<Staged>,
}

#[derive(Debug)]
struct Staged {
    temporary: PathBuf,
    path: PathBuf,
}

impl Staging {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stages `content` for `place`.
    ///
    /// # Errors
    /// The file can't be written; the message names it.
    pub fn write(&mut self, place: &Place, content: &[u8]) -> io::Result<()> {
        let mut file = self.create(place)?;
        file.write_all(content).map_err(|error| at(&place.path, &error))
    }

    /// Creates the temporary file of `place`, for the caller to fill.
    ///
    /// # Errors
    /// The file can't be created; the message names it.
    pub fn create(&mut self, place: &Place) -> io::Result<File> {
        let temporary = self.reserve(place);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(place.mode)
            .open(&temporary)
            .map_err(|error| at(&place.path, &error))?;
        Ok(file)
    }

    /// The temporary name of `place`, for a caller that creates the file by itself, with permissions of its choice.
    pub fn reserve(&mut self, place: &Place) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = place.path.with_file_name(format!(".pumphouse-{}-{number}", std::process::id()));
        self.files.push(Staged { temporary: temporary.clone(), path: place.path.clone() });
        temporary
    }

    /// Gives a reserved file the permissions of its place.
    ///
    /// # Errors
    /// The file is not there.
    pub fn set_mode(temporary: &Path, place: &Place) -> io::Result<()> {
        std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(place.mode))
            .map_err(|error| at(&place.path, &error))
    }

    /// Renames everything to its place, what was staged first coming last: so the object, by which build tools tell
    /// that a compile is done, appears after all others.
    ///
    /// # Errors
    /// A rename fails; the message names the file.
    pub fn commit(mut self) -> io::Result<()> {
        while let Some(staged) = self.files.last() {
            std::fs::rename(&staged.temporary, &staged.path).map_err(|error| at(&staged.path, &error))?;
            self.files.pop();
        }
        Ok(())
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

    fn place(path: PathBuf) -> Place {
        Place { name: String::new(), path, mode: 0o640, presence: Presence::Certain }
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
    fn an_output_that_cannot_be_written_is_named() {
        let scratch = tempfile::tempdir().expect("scratch");
        let absent = place(scratch.path().join("absent/a.o"));
        let error = Staging::new().write(&absent, b"").expect_err("no directory");
        assert!(error.to_string().contains("absent/a.o"), "{error}");
    }
}
