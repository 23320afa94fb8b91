//! The file system, as far as a directory of content files needs it.
//!
//! Names are relative to the directory: `ab/abcdef…`, `journal-7`, `tmp/…`. An implementation knows nothing of what they mean.

#[cfg(test)]
pub(crate) mod simulated;
mod system;

use std::fmt::Debug;
use std::io;
pub use system::{SystemVolume, Temporaries};

/// What a file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Its length.
    pub size_bytes: u64,
    /// Its time of modification in nanoseconds since 1970; never 0.
    pub modified: u64,
}

/// A directory on a file system.
pub trait Volume: Debug + Send + Sync + 'static {
    /// An open file.
    type File: VolumeFile;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound`, or what the file system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and for writing into the middle of it.
    ///
    /// # Errors
    /// `NotFound`, or what the file system says.
    fn open_to_change(&self, name: &str) -> io::Result<Self::File>;

    /// A new file for writing that has no name in the directory, or one in `tmp`. It vanishes when it is dropped.
    ///
    /// # Errors
    /// What the file system says.
    fn temporary(&self) -> io::Result<Self::File>;

    /// Gives a temporary file a name, and never takes one from another file.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` where the name's own directory is absent, or what the file system says.
    fn link(&self, file: &Self::File, name: &str) -> io::Result<()>;

    /// A new file `name` for reading and writing, in place of one that was there.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file over another one's name.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// `NotFound`, or what the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes a directory, if there is none yet.
    ///
    /// # Errors
    /// What the file system says.
    fn create_directory(&self, name: &str) -> io::Result<()>;

    /// The names in a directory, `""` for the volume's own; none where it is absent.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Looks at a file.
    ///
    /// # Errors
    /// `NotFound`, or what the file system says.
    fn stat(&self, name: &str) -> io::Result<FileStat>;

    /// Whether a file stands under other names as well, outside of the directory, so that its room outlives this name.
    fn has_other_links(&self, _name: &str) -> bool {
        false
    }

    /// What can still be written to the file system.
    ///
    /// # Errors
    /// What the file system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Whether room in the middle of a file can be given back ([`VolumeFile::punch`]), as it was found when the volume was opened.
    fn punches(&self) -> bool;

    /// Which boot of the machine this is: what an earlier one wrote may be torn.
    fn boot(&self) -> [u8; 16];

    /// A number that nobody can guess.
    fn random(&self) -> u64;

    /// Seconds since 1970. A clock that goes back makes files look younger, never older.
    fn seconds(&self) -> u32;

    /// Where `name` is, for messages.
    fn place(&self, name: &str) -> String;
}

/// An open file.
pub trait VolumeFile: Debug + Send + Sync + 'static {
    /// Writes some of `bytes` at the end, and says how many.
    ///
    /// # Errors
    /// What the file system says; nothing was written then.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads some bytes from `offset` on; none at the file's end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes` at `offset`, which may be behind the end, and says how many.
    ///
    /// # Errors
    /// What the file system says; nothing was written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Gives room back: what was there reads as zeros.
    ///
    /// # Errors
    /// What the file system says, which may not be able to.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Adds bytes from `offset` on to `buffer`, as many as there is room for or the file has, and says how many.
    ///
    /// # Errors
    /// What the file system says; some may have been added.
    fn read_into(&self, buffer: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
        let filled = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let read = self.read_full_at(&mut buffer[filled..], offset);
        buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Looks at the file.
    ///
    /// # Errors
    /// What the file system says.
    fn stat(&self) -> io::Result<FileStat>;

    /// Returns when a crash of the machine can't undo what was written.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;

    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    /// What the file system says; some of it may have been written.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the file system says; some of it may have been written.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buffer` from `offset` on, as far as the file goes, and says how far that is.
    ///
    /// # Errors
    /// What the file system says.
    fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
