//! Blobs as files of a directory, named by their hashes.
//!
//! A hash doesn't say by which function it was made, and no two contents have one hash, by whatever functions: so a file is
//! what its name says if any of the functions makes that hash of its content.
//!
//! A blob is hashed while it is written and gets its final name only when it is what the digest says. Then its file has a
//! seal: it is believed for as long as the time of modification stays, in this boot of the machine, and its sum is compared
//! whenever it is read. The [scrub](Blobs::scrub) believes no seal, and compares every content with its name. A file without a seal
//! is hashed before anybody is told that it is there. One that is wrong is moved away, so that the next upload brings the blob
//! back.
//!
//! Nothing is synced: a crash of the machine can tear a file, and the next boot's first use finds out.
//!
//! Invariant: no byte of a blob is given as the last one before all of it was compared.

mod link;
mod scrub;
mod upload;

use crate::directory::{Directory, Packed, Temporary};
use crate::error::StorageError;
use crate::record::{Entry, Key, Seal};
use crate::sum::Sum;
use crate::volume::{SystemVolume, Volume, VolumeFile};
use pumphouse_proto::digest::{Digest, DigestFunction};
use quick_cache::sync::Cache;
use std::io;
use std::sync::Arc;
use upload::Kept;
pub use upload::Upload;

/// How much of a file is read at a time when all of it is compared.
const COMPARE_SIZE_BYTES: usize = 1024 * 1024;

/// How long a blob of which parts are read, or whose file is linked, isn't compared as a whole again.
const COMPARED_SECONDS: u32 = 600;

/// How many blobs are remembered as compared.
const COMPARED_BLOBS: usize = 4096;

/// Why a blob can't be stored or given.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("blob {0} not found")]
    NotFound(Digest),
    /// It was there, and its file is no longer what it was. It is not there any more.
    #[error("the file of blob {0} is corrupt")]
    Corrupt(Digest),
    /// What came is not what the digest names.
    #[error("blob {expected} does not match its digest: {detail}")]
    Mismatch {
        /// The digest that was claimed.
        expected: Digest,
        /// What came instead.
        detail: String,
    },
    /// The directory says no, or the file can't be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Problem {
    fn unreadable(digest: Digest) -> impl Fn(io::Error) -> Self {
        move |error| Self::Storage(StorageError::new("read", format!("blob {digest}"), error))
    }
}

/// The blobs in a directory. All methods block on the file system unless they say otherwise.
#[derive(Debug)]
pub struct Blobs<V: Volume = SystemVolume> {
    directory: Arc<Directory<V>>,
    /// When blobs of which parts were read, or that were linked, were last compared as a whole, in seconds.
    compared: Cache<Digest, u32>,
}

impl<V: Volume> Blobs<V> {
    /// The blobs in `directory`, which holds nothing else.
    pub fn new(directory: Arc<Directory<V>>) -> Self {
        Self { directory, compared: Cache::new(COMPARED_BLOBS) }
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<Directory<V>> {
        &self.directory
    }

    /// What is absent, and what must be looked at with [`Self::missing_after_a_look`] before it can be said to be there. Doesn't
    /// block.
    pub fn find_missing(&self, digests: &[Digest]) -> (Vec<Digest>, Vec<Digest>) {
        let (mut missing, mut uncertain) = (Vec::new(), Vec::new());
        let entries = self.directory.find(digests.iter().map(|digest| *digest.hash()));
        for (digest, entry) in digests.iter().zip(entries) {
            match entry {
                _ if digest.names_nothing() => {}
                Some(entry) if entry.size_bytes != digest.size_bytes() => missing.push(*digest),
                Some(entry) if entry.is_certain() => {}
                Some(_) => uncertain.push(*digest),
                None if self.directory.may_be_unknown(digest.hash()) => uncertain.push(*digest),
                None => missing.push(*digest),
            }
        }
        (missing, uncertain)
    }

    /// Which of the blobs that seem to be there are not, or not what they should be.
    ///
    /// # Errors
    /// The file system says no.
    pub fn missing_after_a_look(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Problem> {
        let mut missing = Vec::new();
        for digest in digests {
            match self.open(digest) {
                Ok(_) => {}
                Err(Problem::NotFound(_) | Problem::Corrupt(_)) => missing.push(digest),
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Opens a blob to read it from its first byte to its last.
    ///
    /// # Errors
    /// It is absent or corrupt, or the file system says no.
    pub fn open(&self, digest: Digest) -> Result<OpenBlob<V>, Problem> {
        let entry = self.entry(digest)?;
        self.open_known(digest, entry)
    }

    fn open_known(&self, digest: Digest, entry: Entry) -> Result<OpenBlob<V>, Problem> {
        if entry.place().is_some() {
            match self.directory.packed(digest.hash(), entry)? {
                Packed::Whole(content) => {
                    let (directory, end) = (Arc::clone(&self.directory), digest.size_bytes());
                    return Ok(OpenBlob { directory, source: Source::Content(content), digest, at: 0, end });
                }
                Packed::Rotten(place) => {
                    self.directory.discard(digest.hash(), place);
                    return Err(Problem::Corrupt(digest));
                }
                Packed::Torn(place) => {
                    self.directory.discard(digest.hash(), place);
                    return Err(Problem::NotFound(digest));
                }
                Packed::Gone => return Err(Problem::NotFound(digest)),
            }
        }
        let (file, sum) = self.sealed(digest, entry)?;
        let directory = Arc::clone(&self.directory);
        let source = Source::File { file, expected: Some((sum, Box::default())) };
        Ok(OpenBlob { directory, source, digest, at: 0, end: digest.size_bytes() })
    }

    /// Opens a blob to read it from `offset` to `end`; compares all of it first, unless that was done lately.
    ///
    /// # Errors
    /// It is absent or corrupt, or the file system says no.
    pub fn open_part(&self, digest: Digest, offset: u64, end: u64) -> Result<OpenBlob<V>, Problem> {
        let (offset, end) = (offset.min(digest.size_bytes()), end.min(digest.size_bytes()));
        if (offset, end) == (0, digest.size_bytes()) {
            return self.open(digest);
        }
        let mut blob = self.open_compared(digest)?;
        if let Source::File { expected, .. } = &mut blob.source {
            *expected = None;
        }
        (blob.at, blob.end) = (offset, end);
        Ok(blob)
    }

    /// Opens a blob, and compares all of it first, unless that was done lately.
    fn open_compared(&self, digest: Digest) -> Result<OpenBlob<V>, Problem> {
        let mut blob = self.open(digest)?;
        if matches!(blob.source, Source::Content(_)) {
            return Ok(blob);
        }
        let now = self.directory.seconds();
        if self.compared.get(&digest).is_none_or(|then| now.abs_diff(then) > COMPARED_SECONDS) {
            while !blob.read(COMPARE_SIZE_BYTES)?.is_empty() {}
            self.compared.insert(digest, now);
        }
        Ok(blob)
    }

    /// The whole blob.
    ///
    /// # Errors
    /// It is absent or corrupt, or the file system says no.
    pub fn get(&self, digest: Digest) -> Result<Vec<u8>, Problem> {
        if digest.names_nothing() {
            return Ok(Vec::new());
        }
        self.open(digest)?.read(digest.size_bytes() as usize)
    }

    /// Stores a blob after comparing it with its digest.
    ///
    /// # Errors
    /// It is not what the digest names, there is no room, or the file system says no.
    pub fn put(&self, digest: Digest, blob: &[u8]) -> Result<(), Problem> {
        compare(digest, blob)?;
        if self.has(digest) {
            return Ok(());
        }
        if self.directory.packs(digest.size_bytes()) {
            return Ok(self.directory.publish_content(digest.hash(), blob)?);
        }
        self.put_file(digest, blob)
    }

    /// As [`Self::put`], for many blobs, of which the small ones are stored together; one answer a blob, in order.
    pub fn put_many<B: AsRef<[u8]>>(&self, blobs: &[(Digest, B)]) -> Vec<Result<(), Problem>> {
        let mut small = Vec::new();
        let mut answers: Vec<_> = blobs
            .iter()
            .enumerate()
            .map(|(position, (digest, blob))| {
                let blob = blob.as_ref();
                compare(*digest, blob)?;
                if self.has(*digest) {
                    return Ok(());
                }
                if self.directory.packs(digest.size_bytes()) {
                    small.push((position, (*digest.hash(), blob)));
                    return Ok(());
                }
                self.put_file(*digest, blob)
            })
            .collect();
        let contents: Vec<_> = small.iter().map(|(_, content)| *content).collect();
        if self.directory.publish_contents(&contents).is_err() {
            // Some of them may fit, or be taken.
            for (position, (key, blob)) in small {
                answers[position] = self.directory.publish_content(&key, blob).map_err(Into::into);
            }
        }
        answers
    }

    /// Stores a blob that was compared and isn't packed.
    fn put_file(&self, digest: Digest, blob: &[u8]) -> Result<(), Problem> {
        let mut reservation = self.directory.reservation(digest.size_bytes())?;
        self.directory.reserve(&mut reservation, digest.size_bytes())?;
        let mut temporary = self.directory.temporary()?;
        temporary.write(blob).map_err(|error| self.directory.write_error("write", &digest.to_string(), error))?;
        self.publish(digest, &temporary)
    }

    /// Whether the blob is there, to all appearance: then nothing needs to be written.
    fn has(&self, digest: Digest) -> bool {
        if digest.names_nothing() {
            return true;
        }
        let Ok(entry @ Entry { seal: Some(seal), .. }) = self.entry(digest) else { return false };
        if entry.place().is_some() {
            return entry.is_certain();
        }
        let Ok(Some((_, stat))) = self.directory.read(digest.hash()) else { return false };
        let is_same = (stat.size_bytes, stat.modified) == (digest.size_bytes(), seal.modified);
        if !is_same {
            // So that what is stored now is compared, and replaced if need be.
            self.directory.confirm(digest.hash(), None);
        }
        is_same
    }

    /// Begins to store a blob that comes in pieces. Keeps no room for what has not come.
    ///
    /// # Errors
    /// It can never be stored, or the file system says no.
    pub fn upload(&self, digest: Digest) -> Result<Upload<V>, Problem> {
        self.begin(digest.function(), Some(digest), digest.size_bytes())
    }

    /// Begins to store a blob whose digest, by `function`, is known when all of it has come.
    ///
    /// # Errors
    /// The file system says no.
    pub fn upload_unnamed(&self, function: DigestFunction) -> Result<Upload<V>, Problem> {
        self.begin(function, None, 0)
    }

    fn begin(&self, function: DigestFunction, expected: Option<Digest>, size_bytes: u64) -> Result<Upload<V>, Problem> {
        let reservation = self.directory.reservation(size_bytes)?;
        Ok(Upload { expected, kept: Kept::InMemory(Vec::new()), hasher: function.hasher(), reservation })
    }

    /// The digest, as one of SHA-256, of the blob with the hash `key`, if it is there to all appearance; it counts as used now.
    ///
    /// # Errors
    /// The file system says no.
    pub fn digest_of(&self, key: &Key) -> Result<Option<Digest>, Problem> {
        if key == Digest::EMPTY.hash() {
            return Ok(Some(Digest::EMPTY));
        }
        let mut entry = self.directory.find_one(key);
        if entry.is_none() && self.directory.may_be_unknown(key) {
            self.directory.check(key)?;
            entry = self.directory.find_one(key);
        }
        Ok(entry.map(|entry| Digest::new(*key, entry.size_bytes)))
    }

    /// Whether somebody must look for the blob before it can be said whether it is there. Doesn't block, and is no use of it.
    pub fn is_uncertain(&self, digest: &Digest) -> bool {
        !digest.names_nothing()
            && self.directory.may_be_unknown(digest.hash())
            && !self.directory.is_confirmed(digest.hash())
    }

    fn publish(&self, digest: Digest, temporary: &Temporary<V::File>) -> Result<(), Problem> {
        Ok(self.directory.publish(digest.hash(), temporary, |file| seal_of(file, digest))?)
    }

    fn entry(&self, digest: Digest) -> Result<Entry, Problem> {
        let mut entry = self.directory.find_one(digest.hash());
        // What is doubted may have been stored anew just before the end, of which the journal says nothing.
        let is_doubted = entry.is_none_or(|entry| !entry.is_confirmed);
        if is_doubted && self.directory.may_be_unknown(digest.hash()) {
            self.directory.check(digest.hash())?;
            entry = self.directory.find_one(digest.hash());
        }
        entry.filter(|entry| entry.size_bytes == digest.size_bytes()).ok_or(Problem::NotFound(digest))
    }

    /// A blob's file, and its content's sum.
    fn sealed(&self, digest: Digest, entry: Entry) -> Result<(V::File, u64), Problem> {
        let Some((file, stat)) = self.directory.read(digest.hash())? else { return Err(Problem::NotFound(digest)) };
        match entry.seal {
            Some(seal) if (stat.size_bytes, stat.modified) == (digest.size_bytes(), seal.modified) => {
                if !entry.is_confirmed {
                    self.directory.confirm(digest.hash(), Some(seal));
                }
                return Ok((file, seal.sum));
            }
            _ => {}
        }
        if let Some(seal) = seal_of(&file, digest).map_err(Problem::unreadable(digest))? {
            self.directory.confirm(digest.hash(), Some(seal));
            return Ok((file, seal.sum));
        }
        self.directory.quarantine(digest.hash());
        // Without a seal it may never have been whole: a crash of the machine tears files.
        Err(if entry.seal.is_some() { Problem::Corrupt(digest) } else { Problem::NotFound(digest) })
    }
}

/// A blob that is read from one end to the other.
#[derive(Debug)]
pub struct OpenBlob<V: Volume = SystemVolume> {
    directory: Arc<Directory<V>>,
    source: Source<V::File>,
    digest: Digest,
    at: u64,
    end: u64,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source<F> {
    /// The whole content, which was compared.
    Content(Vec<u8>),
    File {
        file: F,
        /// What all of it should sum up to, and what it has so far; `None` for parts.
        expected: Option<(u64, Box<Sum>)>,
    },
}

impl<V: Volume> OpenBlob<V> {
    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    /// The next `most` bytes, or what is left. Blocks.
    ///
    /// # Errors
    /// The blob is corrupt: what was read before it is nothing either. Or the file system says no.
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, Problem> {
        let size = self.left().min(most as u64) as usize;
        let (file, expected) = match &mut self.source {
            Source::Content(content) if size == content.len() => {
                self.at = self.end;
                return Ok(std::mem::take(content));
            }
            Source::Content(content) => {
                let at = self.at as usize;
                self.at += size as u64;
                return Ok(content[at..at + size].to_vec());
            }
            Source::File { file, expected } => (file, expected),
        };
        let mut piece = Vec::new();
        piece.reserve_exact(size);
        let read = file.read_into(&mut piece, self.at).map_err(Problem::unreadable(self.digest))?;
        piece.truncate(size);
        self.at += size as u64;
        let is_good = read == size
            && expected.as_mut().is_none_or(|(expected, sum)| {
                sum.add(&piece);
                self.at < self.end || sum.value() == *expected
            });
        if is_good {
            return Ok(piece);
        }
        self.directory.quarantine(self.digest.hash());
        Err(Problem::Corrupt(self.digest))
    }
}

/// Whether a whole blob is what its digest says.
fn compare(digest: Digest, blob: &[u8]) -> Result<(), Problem> {
    if blob.len() as u64 != digest.size_bytes() {
        return Err(wrong_size(digest, blob.len() as u64));
    }
    let actual = digest.function().digest(blob);
    if actual == digest { Ok(()) } else { Err(wrong_hash(digest, actual)) }
}

/// The seal of a file whose content has the hash of the digest, by its function or by another; `None` where it has not.
fn seal_of<F: VolumeFile>(file: &F, digest: Digest) -> io::Result<Option<Seal>> {
    let stat = file.stat()?;
    if stat.size_bytes != digest.size_bytes() {
        return Ok(None);
    }
    let others = DigestFunction::ALL.into_iter().filter(|function| *function != digest.function());
    for function in std::iter::once(digest.function()).chain(others) {
        let (actual, sum) = read_through(file, function, stat.size_bytes)?;
        if actual == digest.by(function) {
            return Ok(Some(Seal { modified: stat.modified, sum }));
        }
    }
    Ok(None)
}

/// The digest by `function` and the sum of a whole file, which is expected to have `size_bytes`.
fn read_through<F: VolumeFile>(file: &F, function: DigestFunction, size_bytes: u64) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut sum) = (function.hasher(), Sum::default());
    let mut buffer = vec![0; COMPARE_SIZE_BYTES.min(size_bytes as usize + 1)];
    loop {
        let read = file.read_full_at(&mut buffer, hasher.size_bytes())?;
        hasher.update(&buffer[..read]);
        sum.add(&buffer[..read]);
        if read < buffer.len() {
            return Ok((hasher.finish(), sum.value()));
        }
    }
}

fn wrong_size(expected: Digest, received: u64) -> Problem {
    Problem::Mismatch { expected, detail: format!("{received} bytes came") }
}

fn wrong_hash(expected: Digest, actual: Digest) -> Problem {
    Problem::Mismatch { expected, detail: format!("the content's hash is {}", actual.hash_hex()) }
}

#[cfg(test)]
mod tests;
