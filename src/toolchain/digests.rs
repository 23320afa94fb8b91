//! Digests of toolchain files, kept on disk by what `stat` says about each file.
//!
//! A compiler proper has tens of megabytes; without this memory, every start of the daemon would hash them again. The
//! file is text, a line for each entry, and is only ever replaced as a whole. What is wrong in it is dropped: an entry
//! counts only where the file's stamp is the same.

use super::stamp::Stamp;
use pumphouse_proto::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The name of the file in the state directory; its number changes with its form.
const FILE_NAME: &str = "toolchain-digests-1";
/// How many entries are kept; toolchains have dozens of files each.
const MAX_ENTRIES: usize = 20_000;

/// How often a file is read that changes meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// The digests that are known.
#[derive(Debug)]
pub(super) struct Digests {
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<Stamp, Digest>,
    is_dirty: bool,
}

impl Digests {
    /// Reads what `state_directory` remembers, if there is one.
    pub(super) fn open(state_directory: Option<&Path>) -> Self {
        let file = state_directory.map(|directory| directory.join(FILE_NAME));
        let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let digests = text.lines().filter_map(parse_line).take(MAX_ENTRIES).collect();
        Self { file, known: Mutex::new(Known { digests, is_dirty: false }) }
    }

    /// The digest of `path`, hashed if it isn't known. Reads the whole file in that case.
    ///
    /// # Errors
    /// Where the file can't be read, or changes while it is read.
    pub(super) fn of(&self, path: &Path) -> io::Result<Digest> {
        for _ in 0..MAX_ATTEMPTS {
            let stamp = Stamp::of(&std::fs::metadata(path)?);
            if let Some(digest) = self.lock().digests.get(&stamp) {
                return Ok(*digest);
            }
            let digest = hash(path)?;
            // A new hard link or mode changes the stamp as well as new content does.
            if Stamp::of(&std::fs::metadata(path)?) == stamp && digest.size_bytes() == stamp.size_bytes {
                self.keep(stamp, digest);
                return Ok(digest);
            }
        }
        Err(io::Error::other("changes while it is read"))
    }

    fn keep(&self, stamp: Stamp, digest: Digest) {
        if stamp.is_settled() {
            let mut known = self.lock();
            if known.digests.len() >= MAX_ENTRIES {
                known.digests.clear();
            }
            known.digests.insert(stamp, digest);
            known.is_dirty = true;
        }
    }

    /// Writes what is new to the state directory. A failure costs time at the next start, no more.
    pub(super) fn save(&self) {
        let Some(file) = &self.file else { return };
        let mut text = String::new();
        {
            let mut known = self.lock();
            if !std::mem::take(&mut known.is_dirty) {
                return;
            }
            for (stamp, digest) in &known.digests {
                let Stamp { device, inode, size_bytes, modified, changed } = stamp;
                let hash = digest.hash_hex();
                writeln!(text, "{device} {inode} {size_bytes} {modified} {changed} {hash}").expect("a string grows");
            }
        }
        if let Err(error) = replace(file, text.as_bytes()) {
            tracing::warn!("{}: not written: {error}", file.display());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn parse_line(line: &str) -> Option<(Stamp, Digest)> {
    let mut words = line.split(' ');
    let stamp = Stamp {
        device: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
        size_bytes: words.next()?.parse().ok()?,
        modified: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
    };
    let digest = Digest::parse(words.next()?, stamp.size_bytes).ok()?;
    words.next().is_none().then_some((stamp, digest))
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

fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let directory = file.parent().ok_or_else(|| io::Error::other("no directory"))?;
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    temporary.write_all(content)?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
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
        let text = std::fs::read_to_string(state.path().join(FILE_NAME)).expect("saved");
        assert_eq!(text.lines().count(), 1);
        // What was saved is believed, what is broken is not.
        let forged = text.replace(&digest.hash_hex(), &"0".repeat(64));
        std::fs::write(state.path().join(FILE_NAME), forged + "nonsense\n1 2 3\n").expect("write");
        let digests = Digests::open(Some(state.path()));
        assert_eq!(digests.of(program).expect("digest").hash(), &[0; 32]);
        // What has just changed is hashed again each time.
        let fresh = state.path().join("fresh");
        std::fs::write(&fresh, "one").expect("write");
        assert_eq!(digests.of(&fresh).expect("digest"), Digest::of(b"one"));
        std::fs::write(&fresh, "two").expect("write");
        assert_eq!(digests.of(&fresh).expect("digest"), Digest::of(b"two"));
    }
}
