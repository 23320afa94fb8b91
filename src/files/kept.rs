//! What is known of files, kept on disk for the next process.
//!
//! Invariants: an entry counts only while the file's stamp is the one under which it was learned; entries of another
//! build of this program don't count, for what it derived from bytes may be something else.

use crate::files::file::{Content, Encoded, Recalled, SourceFile};
use crate::files::stamp::{FileSystem, KeptStamp, Stamp};
use crate::state_file;
use bytes::Bytes;
use parking_lot::Mutex;
use pumphouse_proto::digest::Digest;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// How many bytes of derived data are kept.
const MAX_KEPT_BYTES: usize = 32 << 20;

/// How many processes in a row may leave an entry unused before it is dropped.
const MAX_UNUSED: u32 = 30;

/// What is derived from files' bytes, as bytes.
pub(crate) trait Encoder {
    /// The key under which what was derived under `key` is kept.
    fn kept_key(&self, key: u32) -> u32;

    /// What is kept of `content` under `kept_key`.
    fn encode(&self, kept_key: u32, content: &[u8]) -> Bytes;
}

/// A file as an earlier process knew it.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptFile {
    #[prost(bytes = "bytes", tag = "1")]
    path: Bytes,
    #[prost(message, required, tag = "2")]
    stamp: KeptStamp,
    #[prost(bytes = "bytes", tag = "3")]
    hash: Bytes,
    #[prost(message, repeated, tag = "4")]
    derived: Vec<KeptDerived>,
    /// How many processes have not used it since.
    #[prost(uint32, tag = "5")]
    unused: u32,
    /// [`Deriver::hints`](crate::files::file::Deriver::hints) of the bytes.
    #[prost(uint32, tag = "6")]
    hints: u32,
    /// Whether others write where it is.
    #[prost(bool, tag = "7")]
    is_shared: bool,
}

/// What was made of the file's bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptDerived {
    #[prost(uint32, tag = "1")]
    key: u32,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeptFiles {
    /// The program that wrote it.
    #[prost(message, required, tag = "1")]
    program: KeptStamp,
    #[prost(message, repeated, tag = "2")]
    files: Vec<KeptFile>,
}

/// All files that an earlier process knew and this one has not asked for yet.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    entries: OnceLock<Mutex<HashMap<Bytes, KeptFile>>>,
}

impl Kept {
    /// Those of the file at `path`, which is read when the first is asked for.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, entries: OnceLock::new() }
    }

    /// What is known of the file at `path`; from then on that is the caller's.
    pub(super) fn take(&self, path: &Path) -> Option<Recalled> {
        let mut entries = self.entries().lock();
        entries.remove(path.as_os_str().as_bytes())?.into_recalled()
    }

    fn entries(&self) -> &Mutex<HashMap<Bytes, KeptFile>> {
        self.entries.get_or_init(|| {
            let files = program().map(|program| self.read(&program)).unwrap_or_default();
            Mutex::new(files)
        })
    }

    /// What `program` wrote, by path.
    fn read(&self, program: &KeptStamp) -> HashMap<Bytes, KeptFile> {
        let kept = state_file::read::<KeptFiles>(&self.path).filter(|kept| kept.program == *program);
        kept.map(|kept| kept.files).unwrap_or_default().into_iter().map(|file| (file.path.clone(), file)).collect()
    }

    /// Writes what is known of `files`, and what an earlier process knew of others. Reads what was written last, and
    /// those files whose derived data nobody has encoded yet.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(super) fn write<'a>(
        &self,
        files: impl Iterator<Item = &'a Arc<SourceFile>>,
        encoder: &dyn Encoder,
    ) -> io::Result<()> {
        let Some(program) = program() else { return Ok(()) };
        let written = self.read(&program);
        let mut kept: Vec<_> = files.filter_map(|file| KeptFile::of(file, &written, encoder)).collect();
        let unused = self.entries().lock();
        let mut unused: Vec<_> = unused.values().filter(|file| file.unused < MAX_UNUSED).cloned().collect();
        unused.sort_by(|one, two| one.unused.cmp(&two.unused).then_with(|| one.path.cmp(&two.path)));
        kept.extend(unused.into_iter().map(|file| KeptFile { unused: file.unused + 1, ..file }));
        let mut bytes = 0;
        let fits = |file: &KeptFile| {
            bytes += file.derived.iter().map(|derived| derived.data.len()).sum::<usize>();
            bytes <= MAX_KEPT_BYTES
        };
        let files = kept.into_iter().take_while(fits).collect();
        state_file::write(&self.path, &KeptFiles { program, files })
    }
}

impl KeptFile {
    /// What is known of `file`, if it was read, and something was derived from it, and its stamp will tell of a change.
    fn of(file: &SourceFile, written: &HashMap<Bytes, Self>, encoder: &dyn Encoder) -> Option<Self> {
        let (content, file_system) = file.settled()?;
        let hash = Bytes::copy_from_slice(content.input.digest.hash());
        let written = written.get(file.path().as_os_str().as_bytes()).filter(|written| written.hash == hash);
        let derived = content.encoded(file.path(), written.map_or(&[], |written| &written.derived), encoder)?;
        let path = Bytes::copy_from_slice(file.path().as_os_str().as_bytes());
        Some(Self {
            path,
            stamp: KeptStamp::of(content.stamp)?,
            hash,
            derived,
            unused: 0,
            hints: content.known_hints()?,
            is_shared: file_system == FileSystem::Shared,
        })
    }

    fn into_recalled(self) -> Option<Recalled> {
        let stamp = self.stamp.stamp();
        let file_system = if self.is_shared { FileSystem::Shared } else { FileSystem::Local };
        let digest = Digest::new(self.hash.as_ref().try_into().ok()?, stamp.size_bytes());
        let derived = self.derived.into_iter().map(|KeptDerived { key, data }| Encoded { key, data }).collect();
        Some(Recalled { stamp, file_system, digest, hints: self.hints, derived })
    }
}

impl Content {
    /// What was derived, encoded: what was `written` before, or else anew. `None` where nothing was, or the file no longer
    /// holds this content.
    fn encoded(&self, path: &Path, written: &[KeptDerived], encoder: &dyn Encoder) -> Option<Vec<KeptDerived>> {
        let known = |Encoded { key, data }: &Encoded| KeptDerived { key: *key, data: data.clone() };
        let mut parts = if written.is_empty() { self.kept.iter().map(known).collect() } else { written.to_vec() };
        let mut bytes = None;
        for key in self.derived_keys() {
            let key = encoder.kept_key(key);
            if parts.iter().any(|known| known.key == key) {
                continue;
            }
            let bytes = match &bytes {
                Some(bytes) => bytes,
                None => bytes.insert(self.bytes_again(path).ok()?),
            };
            parts.push(KeptDerived { key, data: encoder.encode(key, bytes) });
        }
        (!parts.is_empty()).then_some(parts)
    }
}

/// The identity of this program.
fn program() -> Option<KeptStamp> {
    let stat = rustix::fs::stat("/proc/self/exe").ok()?;
    KeptStamp::of(Stamp::of(&stat))
}
