//! Digests of toolchain files, kept on disk by what `stat` says about each file.
//!
//! A compiler proper has tens of megabytes; without this memory, every start of the daemon would hash them again. The
//! file is only ever replaced as a whole. An entry counts only where the file's stamp is the same.

use crate::files::stamp::{KeptStamp, Links, Settled, Sight, Stamp};
use crate::state_file;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the file in the state directory; its number changes with its form.
const FILE_NAME: &str = "toolchain-digests-2";
/// How many entries are kept; toolchains have dozens of files each.
const MAX_ENTRIES: usize = 20_000;

/// How often a file is read that changes meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// The digests that are known.
#[derive(Debug)]
pub(super) struct Digests {
    file: Option<PathBuf>,
    known: Cache<Stamp, (Settled, Digest)>,
    /// Whether something is known that was not written yet.
    is_dirty: AtomicBool,
}

/// The memory as it is on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptDigests {
    #[prost(message, repeated, tag = "1")]
    digests: Vec<KeptDigest>,
}

/// A file, and the hash of its content.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptDigest {
    #[prost(message, required, tag = "1")]
    stamp: KeptStamp,
    #[prost(bytes = "bytes", tag = "2")]
    hash: Bytes,
}

impl KeptDigest {
    fn of(stamp: Stamp, digest: &Digest) -> Option<Self> {
        Some(Self { stamp: KeptStamp::of(stamp)?, hash: Bytes::copy_from_slice(digest.hash()) })
    }

    fn entry(&self) -> Option<(Stamp, (Settled, Digest))> {
        let stamp = self.stamp.stamp();
        let hash = self.hash.as_ref().try_into().ok()?;
        Some((stamp, (Settled::Yes, Digest::new(hash, stamp.size_bytes()))))
    }
}

impl Digests {
    /// Reads what `state_directory` remembers, if there is one.
    pub(super) fn open(state_directory: Option<&Path>) -> Self {
        let file = state_directory.map(|directory| directory.join(FILE_NAME));
        let kept = file.as_ref().and_then(|file| state_file::read::<KeptDigests>(file)).unwrap_or_default();
        let known = Cache::new(MAX_ENTRIES);
        for (stamp, digest) in kept.digests.iter().filter_map(KeptDigest::entry).take(MAX_ENTRIES) {
            known.insert(stamp, digest);
        }
        Self { file, known, is_dirty: AtomicBool::new(false) }
    }

    /// The digest of `path`, hashed if it isn't known. Reads the whole file in that case.
    ///
    /// # Errors
    /// Where the file can't be read, or changes while it is read.
    pub(super) fn of(&self, path: &Path) -> io::Result<Digest> {
        for _ in 0..MAX_ATTEMPTS {
            let sight = Sight::at(path, Links::Followed).ok_or(io::ErrorKind::NotFound)?;
            if let Some((_, digest)) = self.known.get(&sight.stamp).filter(|(settled, _)| settled.holds()) {
                return Ok(digest);
            }
            let digest = hash(path)?;
            // A new hard link or mode changes the stamp as well as new content does.
            let is_same = Sight::at(path, Links::Followed).is_some_and(|after| after.stamp == sight.stamp);
            if is_same && digest.size_bytes() == sight.stamp.size_bytes() {
                self.keep(&sight, digest);
                return Ok(digest);
            }
        }
        Err(io::Error::other("changes while it is read"))
    }

    fn keep(&self, sight: &Sight, digest: Digest) {
        if sight.settled != Settled::No {
            self.known.insert(sight.stamp, (sight.settled, digest));
            self.is_dirty.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets all, on disk too.
    pub(super) fn forget(&self) {
        self.known.clear();
        self.is_dirty.store(false, Ordering::Relaxed);
        if let Some(file) = &self.file {
            // What can't be removed is replaced at the next chance.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Writes what is new to the state directory. A failure costs time at the next start, no more.
    pub(super) fn save(&self) {
        let Some(file) = &self.file else { return };
        if !self.is_dirty.swap(false, Ordering::Relaxed) {
            return;
        }
        // The next process can't know what the clock did meanwhile.
        let lasting = self.known.iter().filter(|(_, (settled, _))| *settled == Settled::Yes);
        let digests = lasting.filter_map(|(stamp, (_, digest))| KeptDigest::of(stamp, &digest)).collect();
        if let Err(error) = state_file::write(file, &KeptDigests { digests }) {
            tracing::warn!("{}: not written: {error}", file.display());
        }
    }
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::new(hasher.finalize().into(), size_bytes)),
            length => {
                hasher.update(&buffer[..length]);
                size_bytes += length as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_has_settled() {
        let state = tempfile::tempdir().expect("temporary directory");
        let program = Path::new("/usr/bin/env");
        let digests = Digests::open(Some(state.path()));
        let digest = digests.of(program).expect("digest");
        assert!(digest.matches(&std::fs::read(program).expect("read")));
        digests.save();
        let file = state.path().join(FILE_NAME);
        let mut kept = state_file::read::<KeptDigests>(&file).expect("saved");
        assert_eq!(kept.digests.len(), 1);
        // What was saved is believed, what is broken is not.
        kept.digests[0].hash = Bytes::from_static(&[0; 32]);
        kept.digests.push(KeptDigest { hash: Bytes::from_static(b"short"), ..kept.digests[0].clone() });
        state_file::write(&file, &kept).expect("write");
        let digests = Digests::open(Some(state.path()));
        assert_eq!(digests.of(program).expect("digest").hash(), &[0; 32]);
        std::fs::write(&file, "nonsense").expect("write");
        assert_eq!(Digests::open(Some(state.path())).of(program).expect("digest"), digest);
        // What has just changed is hashed again each time.
        let fresh = state.path().join("fresh");
        for text in ["one", "two", "six"] {
            std::fs::write(&fresh, text).expect("write");
            assert_eq!(digests.of(&fresh).expect("digest"), Digest::of(text.as_bytes()));
        }
    }
}
