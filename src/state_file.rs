//! Files of the state directory that spare the next process some work: written whole, believed only as a whole.
//!
//! Such a file is a SHA-256 and the encoded message that it is of. What is torn, damaged or of another form is as good as
//! absent.

use prost::Message;
use pumphouse_proto::digest::Digest;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::{fs, io};

const HASH_BYTES: usize = 32;

/// The message in the file at `path`, if it is whole.
pub(crate) fn read<M: Message + Default>(path: &Path) -> Option<M> {
    let mut bytes = bytes::Bytes::from(fs::read(path).ok()?);
    if bytes.len() < HASH_BYTES {
        return None;
    }
    let hash = bytes.split_to(HASH_BYTES);
    if Digest::of(&bytes).hash() != hash.as_ref() {
        return None;
    }
    M::decode(bytes).ok()
}

/// Puts `message` into the file at `path`, whose directory is made where it is missing.
///
/// # Errors
/// Where the file can't be written; the old one then stays.
pub(crate) fn write(path: &Path, message: &impl Message) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_private(directory)?;
    let body = message.encode_to_vec();
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(Digest::of(&body).hash())?;
    file.write_all(&body)?;
    file.persist(path)?;
    Ok(())
}

/// Makes `directory`, and what is missing above it, for this user alone: a daemon's mask forbids nothing.
///
/// # Errors
/// Where it can't be made.
pub(crate) fn create_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(test)]
mod fuzz {
    use super::{read, write};
    use pumphouse_fuzz::{bounded, check, like};

    #[test]
    fn only_what_was_written_is_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        write(&path, &"what was learned".to_owned()).expect("writing");
        let whole = std::fs::read(&path).expect("reading");
        check(&like(&[&whole]), |bytes| {
            std::fs::write(&path, bytes.as_slice()).expect("writing");
            let message = bounded(bytes.len(), || read::<String>(&path));
            assert_eq!(message.is_some(), *bytes == whole);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_file_is_whole_or_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("deep/file");
        assert_eq!(read::<String>(&path), None);
        write(&path, &"what was learned".to_owned()).expect("writing");
        let mode = std::fs::metadata(directory.path().join("deep")).expect("made").mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(read::<String>(&path).as_deref(), Some("what was learned"));
        let whole = std::fs::read(&path).expect("reading");
        for damaged in [&whole[..0], &whole[..40], &[&whole[..39], b"X", &whole[40..]].concat()] {
            std::fs::write(&path, damaged).expect("writing");
            assert_eq!(read::<String>(&path), None);
        }
    }
}
