//! Content by name: a hash, the function that made it and a size, valid by construction.
//!
//! **Source:** Remote Execution API v2, message `Digest`.

mod function;
mod message;

use crate::reapi;
pub use function::{DigestFunction, Hasher};
pub use message::{DigestMessage, HashText};
use std::fmt;

/// The name of a blob. The size and the function are part of the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    hash: [u8; 32],
    /// The size, and [`BLAKE3`]: a word of its own would make the many that are kept larger by a fifth.
    size_and_function: u64,
}

/// What tells digests of BLAKE3 from those of SHA-256. Sizes are below it: messages hold them as signed numbers.
const BLAKE3: u64 = 1 << 63;

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
    /// The SHA-256 digest of no bytes, which is present everywhere.
    pub const EMPTY: Self = Self {
        hash: [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
            0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ],
        size_and_function: 0,
    };

    /// The SHA-256 digest of `content`. Costs one hash over it.
    pub fn of(content: &[u8]) -> Self {
        DigestFunction::Sha256.digest(content)
    }

    /// A digest of a SHA-256 hash that was computed elsewhere over `size_bytes` bytes.
    pub const fn new(hash: [u8; 32], size_bytes: u64) -> Self {
        Self::named(DigestFunction::Sha256, hash, size_bytes)
    }

    /// A digest of a hash that was computed elsewhere, by `function`, over `size_bytes` bytes, which are less than 2^63.
    pub const fn named(function: DigestFunction, hash: [u8; 32], size_bytes: u64) -> Self {
        let mark = match function {
            DigestFunction::Sha256 => 0,
            DigestFunction::Blake3 => BLAKE3,
        };
        Self { hash, size_and_function: size_bytes & !BLAKE3 | mark }
    }

    /// Reads `hash` as 64 lower-case hexadecimal digits of a SHA-256 hash.
    ///
    /// # Errors
    /// [`InvalidDigest::Hash`] where it is anything else.
    pub fn parse(hash: &str, size_bytes: u64) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest::Hash(hash.to_owned());
        message::hash_of(hash.as_bytes()).map(|hash| Self::new(hash, size_bytes)).ok_or_else(invalid)
    }

    /// Reads `[FUNCTION/]HASH/SIZE` at the end of the segments of a name; gives what stands before it too.
    ///
    /// # Errors
    /// What stands there is none.
    pub fn parse_end<'a, 'b>(segments: &'b [&'a str]) -> Result<(&'b [&'a str], Self), InvalidDigest> {
        let [rest @ .., hash, size] = segments else { return Err(InvalidDigest::Missing) };
        let invalid = || InvalidDigest::Size((*size).to_owned());
        let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
        let size_bytes: i64 = size.parse().ok().filter(|_| is_number).ok_or_else(invalid)?;
        let digest = Self::parse(hash, size_bytes.unsigned_abs())?;
        match rest {
            [before @ .., function] if let Some(function) = DigestFunction::of_segment(function) => {
                Ok((before, digest.by(function)))
            }
            _ => Ok((rest, digest)),
        }
    }

    /// The digest of the same hash and size, by `function`.
    #[must_use]
    pub const fn by(self, function: DigestFunction) -> Self {
        Self::named(function, self.hash, self.size_bytes())
    }

    /// The function that made the hash.
    pub const fn function(&self) -> DigestFunction {
        if self.size_and_function & BLAKE3 == 0 { DigestFunction::Sha256 } else { DigestFunction::Blake3 }
    }

    /// The 32 bytes of the hash.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        const_hex::encode(self.hash)
    }

    /// The content's length in bytes.
    pub const fn size_bytes(&self) -> u64 {
        self.size_and_function & !BLAKE3
    }

    /// Whether it names the empty blob's size.
    pub const fn is_empty(&self) -> bool {
        self.size_bytes() == 0
    }

    /// Whether it is the digest of no bytes, which is present everywhere.
    pub fn names_nothing(&self) -> bool {
        *self == self.function().empty()
    }

    /// Whether `content` is what the digest names.
    pub fn matches(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.size_bytes() && self.function().digest(content) == *self
    }
}

/// `[FUNCTION/]HASH/SIZE`, as names of blobs end.
impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(segment) = self.function().segment() {
            write!(formatter, "{segment}/")?;
        }
        write!(formatter, "{}/{}", HashText::from(self.hash), self.size_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<Digest> for reapi::Digest {
    fn from(digest: Digest) -> Self {
        Self { hash: digest.hash.into(), size_bytes: digest.size_bytes() as i64 }
    }
}

impl From<&Digest> for reapi::Digest {
    fn from(digest: &Digest) -> Self {
        Self::from(*digest)
    }
}

/// As a digest of SHA-256.
impl TryFrom<&reapi::Digest> for Digest {
    type Error = InvalidDigest;

    fn try_from(message: &reapi::Digest) -> Result<Self, InvalidDigest> {
        DigestFunction::Sha256.read(message)
    }
}

/// As a digest of SHA-256.
impl TryFrom<&Option<reapi::Digest>> for Digest {
    type Error = InvalidDigest;

    fn try_from(message: &Option<reapi::Digest>) -> Result<Self, InvalidDigest> {
        DigestFunction::Sha256.read_field(message)
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
    fn a_digest_is_read_where_it_was_written() {
        for function in DigestFunction::ALL {
            let digest = function.digest(b"content");
            let text = format!("a/b/{digest}");
            let segments: Vec<&str> = text.split('/').collect();
            assert_eq!(Digest::parse_end(&segments), Ok((&["a", "b"][..], digest)));
            for wrong in ["-7", "+7", "", "x", "9223372036854775808"] {
                let segments = [&segments[..segments.len() - 1], &[wrong]].concat();
                assert_eq!(Digest::parse_end(&segments), Err(InvalidDigest::Size(wrong.to_owned())));
            }
        }
        assert_eq!(Digest::parse_end(&["1"]), Err(InvalidDigest::Missing));
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
