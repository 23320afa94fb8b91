//! Blobs that others have hard links to.

use super::{Blobs, Problem};
use crate::packs::PACKED_SIZE_BYTES;
use pumphouse_proto::cas::{Appearance, Link};
use pumphouse_proto::digest::Digest;
use std::path::Path;

impl Blobs {
    /// The size above which blobs can be linked into `directory`; `None` where none can.
    pub fn linked_above_bytes(&self, directory: &Path) -> Option<u64> {
        self.directory.can_link_into(directory).then_some(PACKED_SIZE_BYTES as u64)
    }

    /// Makes `path`, where nothing is yet, a hard link to the file of a blob that was compared lately, and gives that file the
    /// appearance. The blob counts as used now.
    ///
    /// # Errors
    /// It is corrupt, or the file system says no.
    pub fn link(&self, digest: Digest, appearance: Appearance, path: &Path) -> Result<Link, Problem> {
        match self.open_compared(digest) {
            Err(Problem::NotFound(_)) => return Ok(Link::Missing),
            compared => drop(compared?),
        }
        Ok(self.directory.share(digest.hash(), appearance, path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Limits};
    use crate::volume::{SystemVolume, Temporaries};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::PathBuf;
    use std::time::Duration;

    const PLAIN: Appearance = Appearance { mode: 0o444, modified_seconds: 1_000_000_000 };
    const EXECUTABLE: Appearance = Appearance { mode: 0o555, ..PLAIN };

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn open(&self, size_bytes: u64, free_disk_bytes: u64) -> Blobs {
            let volume = SystemVolume::open(&self.0.path().join("cas"), Temporaries::Nameless).expect("opens");
            let limits = Limits { size_bytes, promised_lifetime: Duration::ZERO, free_disk_bytes };
            Blobs::new(Directory::open(volume, limits).expect("opens"))
        }

        fn place(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// The file of a blob in the store.
        fn own(&self, digest: Digest) -> PathBuf {
            let hash = digest.hash_hex();
            self.place("cas").join(&hash[..2]).join(hash)
        }
    }

    fn blob(size: usize, seed: u8) -> (Digest, Vec<u8>) {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8 ^ seed).collect();
        (Digest::of(&bytes), bytes)
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).expect("there").ino()
    }

    #[test]
    fn a_link_is_the_same_file_with_the_appearance_asked_for_and_the_seal_follows() {
        let scratch = Scratch::new();
        let (digest, bytes) = blob(5000, 0);
        let link = scratch.place("link");
        {
            let blobs = scratch.open(1 << 20, 0);
            assert_eq!(blobs.linked_above_bytes(scratch.0.path()), Some(PACKED_SIZE_BYTES as u64));
            assert_eq!(blobs.link(digest, PLAIN, &link).expect("asked"), Link::Missing);
            blobs.put(digest, &bytes).expect("stored");
            assert_eq!(blobs.link(digest, PLAIN, &link).expect("asked"), Link::Made);
            let metadata = fs::metadata(&link).expect("there");
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec()), (0o444, 1_000_000_000, 0));
            assert_eq!(metadata.ino(), inode(&scratch.own(digest)));
            assert_eq!(blobs.find_missing(&[digest]), (vec![], vec![]), "still certain: nothing has to be read");
            assert_eq!(blobs.get(digest).expect("reads"), bytes);
        }
        let blobs = scratch.open(1 << 20, 0);
        assert_eq!(blobs.find_missing(&[digest]), (vec![], vec![]), "the journal knows of the new time");
        assert_eq!(blobs.get(digest).expect("reads"), bytes);
        assert_eq!(inode(&link), inode(&scratch.own(digest)), "nothing was replaced");
    }

    #[test]
    fn the_appearance_changes_only_as_long_as_nobody_has_a_link() {
        let scratch = Scratch::new();
        let blobs = scratch.open(1 << 20, 0);
        let (digest, bytes) = blob(5000, 0);
        blobs.put(digest, &bytes).expect("stored");
        let (first, second) = (scratch.place("first"), scratch.place("second"));
        assert_eq!(blobs.link(digest, EXECUTABLE, &first).expect("asked"), Link::Made);
        assert_eq!(blobs.link(digest, PLAIN, &second).expect("asked"), Link::Refused);
        assert!(!second.exists());
        assert_eq!(blobs.link(digest, EXECUTABLE, &second).expect("asked"), Link::Made);
        fs::remove_file(&first).expect("removed");
        fs::remove_file(&second).expect("removed");
        assert_eq!(blobs.link(digest, PLAIN, &first).expect("asked"), Link::Made);
        assert_eq!(fs::metadata(&first).expect("there").mode() & 0o7777, 0o444);
    }

    #[test]
    fn what_is_packed_is_not_linked() {
        let scratch = Scratch::new();
        let blobs = scratch.open(1 << 20, 0);
        let (digest, bytes) = blob(PACKED_SIZE_BYTES, 0);
        blobs.put(digest, &bytes).expect("stored");
        assert_eq!(blobs.link(digest, PLAIN, &scratch.place("link")).expect("asked"), Link::Refused);
    }

    #[test]
    fn what_is_evicted_stays_with_whoever_has_a_link_and_frees_no_room() {
        let scratch = Scratch::new();
        let blobs = scratch.open(10_000, 0);
        let ((digest, bytes), (other, other_bytes)) = (blob(6000, 0), blob(6000, 1));
        blobs.put(digest, &bytes).expect("stored");
        let link = scratch.place("link");
        assert_eq!(blobs.link(digest, PLAIN, &link).expect("asked"), Link::Made);
        blobs.put(other, &other_bytes).expect("stored");
        assert_eq!(blobs.find_missing(&[digest, other]).0, [digest]);
        assert!(!scratch.own(digest).exists());
        assert_eq!(fs::read(&link).expect("there"), bytes);
        assert_eq!(blobs.directory().size_bytes(), 6000, "only what is stored counts");
        // Coming again, it is a file of its own.
        blobs.put(digest, &bytes).expect("stored");
        assert_ne!(inode(&link), inode(&scratch.own(digest)));
    }

    #[test]
    fn what_has_rotted_is_not_linked_and_is_counted() {
        let scratch = Scratch::new();
        let blobs = scratch.open(1 << 20, 0);
        let (digest, bytes) = blob(5000, 0);
        blobs.put(digest, &bytes).expect("stored");
        let own = scratch.own(digest);
        let modified = fs::metadata(&own).expect("there").modified().expect("a time");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).expect("writable");
        let mut rotten = bytes.clone();
        rotten[2500] ^= 1;
        fs::write(&own, &rotten).expect("written");
        fs::File::options().write(true).open(&own).and_then(|file| file.set_modified(modified)).expect("set");
        let linked = blobs.link(digest, PLAIN, &scratch.place("link"));
        assert!(matches!(linked, Err(Problem::Corrupt(_))), "{linked:?}");
        assert!(!scratch.place("link").exists());
        assert_eq!(blobs.directory().corrupt_files(), 1);
        blobs.put(digest, &bytes).expect("stored again");
        assert_eq!(blobs.link(digest, PLAIN, &scratch.place("link")).expect("asked"), Link::Made);
    }

    #[test]
    fn a_link_in_the_middle_of_which_the_machine_crashed_costs_a_comparison() {
        let scratch = Scratch::new();
        let (digest, bytes) = blob(5000, 0);
        {
            let blobs = scratch.open(1 << 20, 0);
            blobs.put(digest, &bytes).expect("stored");
        }
        // The time has changed, and the journal doesn't say so.
        let file = fs::File::open(scratch.own(digest)).expect("opens");
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(PLAIN.modified_seconds)).expect("set");
        let blobs = scratch.open(1 << 20, 0);
        assert_eq!(blobs.link(digest, PLAIN, &scratch.place("link")).expect("asked"), Link::Made);
        assert_eq!(blobs.get(digest).expect("reads"), bytes);
    }
}
