//! Looking through everything that is stored, whatever is known of it.

use super::{Blobs, COMPARE_SIZE_BYTES};
use crate::record::Entry;
use crate::volume::Volume;
use pumphouse_proto::digest::{Digest, DigestFunction};

impl<V: Volume> Blobs<V> {
    /// Reads all blobs, without counting that as a use, and compares each with its name itself, by any function: so a seal is believed no longer
    /// than until the next time, and what has rotted is moved away while whoever has it can bring it again. Calls `go_on` with
    /// the bytes of each piece; it may sleep, and `false` ends it.
    pub fn scrub(&self, mut go_on: impl FnMut(u64) -> bool) {
        for shard in 0..=u8::MAX {
            for (key, entry) in self.directory.files_of_shard(shard) {
                let digest = Digest::new(key, entry.size_bytes);
                let Ok(mut blob) = self.open_known(digest, entry) else { continue };
                let mut hashers = DigestFunction::ALL.map(DigestFunction::hasher);
                // What is no longer what it was is moved away by the reading.
                while let Ok(piece) = blob.read(COMPARE_SIZE_BYTES) {
                    if piece.is_empty() {
                        if !hashers.into_iter().any(|hasher| hasher.finish().hash() == &key) {
                            self.condemn(digest, entry);
                        }
                        break;
                    }
                    for hasher in &mut hashers {
                        hasher.update(&piece);
                    }
                    if !go_on(piece.len() as u64) {
                        return;
                    }
                }
            }
        }
    }

    /// Has a blob count as absent whose content, which its seal vouches for, has another hash than its name.
    fn condemn(&self, digest: Digest, entry: Entry) {
        match entry.place() {
            Some(place) => self.directory.discard(digest.hash(), place),
            None => self.directory.quarantine(digest.hash()),
        }
    }
}
