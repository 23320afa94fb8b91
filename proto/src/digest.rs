//! Content by name: a SHA-256 hash and a size, valid by construction.
//!
//! **Source:** Remote Execution API v2, message `Digest`.

mod message;

use crate::reapi;
pub use message::{DigestMessage, HashText};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The name of a blob. The size is part of the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    hash: [u8; 32],
    size_bytes: u64,
}

/// Why a digest from elsewhere is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// The hash is not 64 lower-case hexadecimal digits.
    #[error("digest hash {0:?} is not 64 lower-case hexadecimal digits")]
    Hash(String),
    /// The size is negative or not a number.
    #[error("digest size {0:?} is not a number of bytes")]
    Size(String),
    /// There is no digest where one must be.
    #[error("digest is missing")]
    Missing,
}

impl Digest {
    /// The digest of no bytes, which is present everywhere.
    pub const EMPTY: Self = Self {
        hash: [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
            0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ],
        size_bytes: 0,
    };

    /// The digest of `content`. Costs one SHA-256 over it.
    pub fn of(content: &[u8]) -> Self {
        Self { hash: Sha256::digest(content).into(), size_bytes: content.len() as u64 }
    }

    /// A digest of a hash that was computed elsewhere over `size_bytes` bytes.
    pub const fn new(hash: [u8; 32], size_bytes: u64) -> Self {
        Self { hash, size_bytes }
    }

    /// Reads `hash` as 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidDigest::Hash`] where it is anything else.
    pub fn parse(hash: &str, size_bytes: u64) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest::Hash(hash.to_owned());
        message::hash_of(hash.as_bytes()).map(|hash| Self { hash, size_bytes }).ok_or_else(invalid)
    }

    /// The 32 bytes of SHA-256.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        const_hex::encode(self.hash)
    }

    /// The content's length in bytes.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether it names the empty blob's size.
    pub const fn is_empty(&self) -> bool {
        self.size_bytes == 0
    }

    /// Whether `content` is what the digest names.
    pub fn matches(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.size_bytes && Self::of(content) == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", HashText::from(self.hash), self.size_bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<Digest> for reapi::Digest {
    fn from(digest: Digest) -> Self {
        Self { hash: digest.hash.into(), size_bytes: digest.size_bytes as i64 }
    }
}

impl From<&Digest> for reapi::Digest {
    fn from(digest: &Digest) -> Self {
        Self::from(*digest)
    }
}

impl TryFrom<&reapi::Digest> for Digest {
    type Error = InvalidDigest;

    fn try_from(message: &reapi::Digest) -> Result<Self, InvalidDigest> {
        let size_bytes =
            u64::try_from(message.size_bytes).map_err(|_| InvalidDigest::Size(message.size_bytes.to_string()))?;
        let invalid = || InvalidDigest::Hash(message.hash.to_string());
        message.hash.bytes().map(|hash| Self { hash: *hash, size_bytes }).ok_or_else(invalid)
    }
}

impl TryFrom<&Option<reapi::Digest>> for Digest {
    type Error = InvalidDigest;

    fn try_from(message: &Option<reapi::Digest>) -> Result<Self, InvalidDigest> {
        message.as_ref().ok_or(InvalidDigest::Missing)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_that_of_no_bytes() {
        assert_eq!(Digest::of(b""), Digest::EMPTY);
    }

    #[test]
    fn a_digest_survives_its_message() {
        let digest = Digest::of(b"content");
        assert_eq!(Digest::try_from(&reapi::Digest::from(digest)), Ok(digest));
    }

    #[test]
    fn malformed_digests_are_refused() {
        let check = |hash: &str, size_bytes: i64| {
            Digest::try_from(&reapi::Digest { hash: hash.into(), size_bytes }).expect_err("malformed")
        };
        let good = Digest::EMPTY.hash_hex();
        assert_eq!(check("", 0), InvalidDigest::Hash(String::new()));
        assert_eq!(check(&good.to_uppercase(), 0), InvalidDigest::Hash(good.to_uppercase()));
        assert_eq!(check(&good[1..], 0), InvalidDigest::Hash(good[1..].to_owned()));
        assert_eq!(check(&good, -1), InvalidDigest::Size("-1".to_owned()));
        assert_eq!(Digest::try_from(&None), Err(InvalidDigest::Missing));
    }
}
