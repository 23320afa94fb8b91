//! Blobs that come in pieces: kept in memory while they are small enough to be packed, and in a file after that.

use super::{Blobs, Problem, wrong_hash, wrong_size};
use crate::directory::Temporary;
use crate::space::Reservation;
use crate::volume::{SystemVolume, Volume, VolumeFile};
use pumphouse_proto::digest::{Digest, Hasher};

/// A blob that comes in pieces. Dropping it gives up and leaves nothing behind.
#[derive(Debug)]
pub struct Upload<V: Volume = SystemVolume> {
    /// What it has to be; `None` where that is found out.
    pub(super) expected: Option<Digest>,
    pub(super) kept: Kept<V::File>,
    pub(super) hasher: Hasher,
    pub(super) reservation: Reservation,
}

/// What has come of a blob.
#[derive(Debug)]
pub(super) enum Kept<F: VolumeFile> {
    /// As long as it may be packed.
    InMemory(Vec<u8>),
    InFile(Box<Temporary<F>>),
}

impl<V: Volume> Upload<V> {
    /// Takes the next bytes, and makes room for them. After an error only dropping makes sense.
    ///
    /// # Errors
    /// More comes than the digest's size, there is no room, or the file system says no.
    pub fn append(&mut self, blobs: &Blobs<V>, pieces: &[impl AsRef<[u8]>]) -> Result<(), Problem> {
        let size_bytes = pieces.iter().map(|piece| piece.as_ref().len() as u64).sum::<u64>();
        let received = self.hasher.size_bytes() + size_bytes;
        if let Some(expected) = self.expected.filter(|expected| received > expected.size_bytes()) {
            return Err(wrong_size(expected, received));
        }
        let directory = &blobs.directory;
        directory.reserve(&mut self.reservation, size_bytes)?;
        let failed = |error| directory.write_error("write", "tmp", error);
        if let Kept::InMemory(content) = &self.kept
            && !directory.packs(received)
        {
            let mut temporary = directory.temporary()?;
            temporary.write(content).map_err(failed)?;
            self.kept = Kept::InFile(Box::new(temporary));
        }
        for piece in pieces {
            self.hasher.update(piece.as_ref());
            match &mut self.kept {
                Kept::InMemory(content) => content.extend(piece.as_ref()),
                Kept::InFile(temporary) => temporary.write(piece.as_ref()).map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Compares the blob with its digest and makes it present; gives what it is.
    ///
    /// # Errors
    /// The bytes are not what the digest names, or the file system says no.
    pub fn commit(self, blobs: &Blobs<V>) -> Result<Digest, Problem> {
        let received = self.hasher.size_bytes();
        if let Some(expected) = self.expected.filter(|expected| received != expected.size_bytes()) {
            return Err(wrong_size(expected, received));
        }
        let actual = self.hasher.finish();
        if let Some(expected) = self.expected.filter(|expected| *expected != actual) {
            return Err(wrong_hash(expected, actual));
        }
        if actual.names_nothing() {
            return Ok(actual);
        }
        match self.kept {
            Kept::InMemory(content) => {
                // It is accounted for anew.
                drop(self.reservation);
                blobs.directory.publish_content(actual.hash(), &content)?;
            }
            Kept::InFile(temporary) => blobs.publish(actual, &temporary)?,
        }
        Ok(actual)
    }
}
