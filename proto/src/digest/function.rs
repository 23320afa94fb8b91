//! The functions by which contents are named.
//!
//! **Source:** Remote Execution API v2, message `DigestFunction`.

use super::{Digest, InvalidDigest};
use crate::reapi::{self, digest_function};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The function that makes a hash of a content. Both give 32 bytes, so a hash alone doesn't say which it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestFunction {
    /// SHA-256, which is meant where nobody says anything.
    #[default]
    Sha256,
    /// BLAKE3, without a key, cut to its default 32 bytes.
    Blake3,
}

impl DigestFunction {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    /// The function that a field of a message means; `None` where it is another one. A field that says nothing means SHA-256,
    /// as the length of the hashes has it.
    pub fn of_field(value: i32) -> Option<Self> {
        match digest_function::Value::try_from(value) {
            Ok(digest_function::Value::Unknown | digest_function::Value::Sha256) => Some(Self::Sha256),
            Ok(digest_function::Value::Blake3) => Some(Self::Blake3),
            _ => None,
        }
    }

    /// The function as fields of messages hold it.
    pub fn to_field(self) -> i32 {
        match self {
            Self::Sha256 => digest_function::Value::Sha256.into(),
            Self::Blake3 => digest_function::Value::Blake3.into(),
        }
    }

    /// Its segment in names, where it has one.
    pub const fn segment(self) -> Option<&'static str> {
        match self {
            Self::Sha256 => None,
            Self::Blake3 => Some("blake3"),
        }
    }

    /// The function that has this segment in names.
    pub fn of_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.segment() == Some(segment))
    }

    /// The digest of `content`. Costs one hash over it.
    pub fn digest(self, content: &[u8]) -> Digest {
        let hash = match self {
            Self::Sha256 => Sha256::digest(content).into(),
            Self::Blake3 => blake3::hash(content).into(),
        };
        Digest::named(self, hash, content.len() as u64)
    }

    /// The digest of no bytes.
    pub const fn empty(self) -> Digest {
        match self {
            Self::Sha256 => Digest::EMPTY,
            Self::Blake3 => Digest::named(self, EMPTY_BLAKE3, 0),
        }
    }

    /// Reads a digest that was made by this function.
    ///
    /// # Errors
    /// The hash or the size is none.
    pub fn read(self, message: &reapi::Digest) -> Result<Digest, InvalidDigest> {
        let size_bytes =
            u64::try_from(message.size_bytes).map_err(|_| InvalidDigest::Size(message.size_bytes.to_string()))?;
        let hash = message.hash.bytes().ok_or_else(|| InvalidDigest::Hash(message.hash.to_string()))?;
        Ok(Digest::named(self, *hash, size_bytes))
    }

    /// As [`Self::read`], where there must be one.
    ///
    /// # Errors
    /// There is none, or the hash or the size is none.
    pub fn read_field(self, message: &Option<reapi::Digest>) -> Result<Digest, InvalidDigest> {
        self.read(message.as_ref().ok_or(InvalidDigest::Missing)?)
    }

    /// Hashes a content that comes in pieces.
    pub fn hasher(self) -> Hasher {
        let state = match self {
            Self::Sha256 => State::Sha256(Sha256::new()),
            Self::Blake3 => State::Blake3(Box::default()),
        };
        Hasher { state, size_bytes: 0 }
    }
}

/// BLAKE3 of no bytes.
const EMPTY_BLAKE3: [u8; 32] = [
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25,
    0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
];

/// A content of which pieces have come.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    size_bytes: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.size_bytes += piece.len() as u64;
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(piece),
            State::Blake3(hasher) => drop(hasher.update(piece)),
        }
    }

    /// The length of what has come, in bytes.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest of what has come, which is all.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(hasher) => Digest::new(hasher.finalize().into(), self.size_bytes),
            State::Blake3(hasher) => Digest::named(DigestFunction::Blake3, hasher.finalize().into(), self.size_bytes),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hasher").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_have_their_published_hashes() {
        // The BLAKE3 paper's test vectors: bytes 0, 1, …, 250, 0, 1, …
        let content: Vec<u8> = (0..1025).map(|number| (number % 251) as u8).collect();
        for (size, hash) in [
            (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        ] {
            assert_eq!(DigestFunction::Blake3.digest(&content[..size]).hash_hex(), hash);
        }
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(DigestFunction::Sha256.digest(b"abc").hash_hex(), abc);
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let content: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        for function in DigestFunction::ALL {
            let mut hasher = function.hasher();
            for piece in content.chunks(777) {
                hasher.update(piece);
            }
            assert_eq!(hasher.finish(), function.digest(&content));
            assert_eq!(function.hasher().finish(), function.empty());
            assert_eq!(function.digest(b""), function.empty());
            assert_eq!(DigestFunction::of_field(function.to_field()), Some(function));
            let digest = function.digest(&content);
            assert_eq!((digest.function(), digest.size_bytes()), (function, 100_000));
            assert_eq!(function.read(&digest.into()), Ok(digest));
        }
        assert_eq!(DigestFunction::of_field(0), Some(DigestFunction::Sha256));
        assert_eq!(DigestFunction::of_field(2), None);
        assert_ne!(DigestFunction::Sha256.empty(), DigestFunction::Blake3.empty());
    }
}
