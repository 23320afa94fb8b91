//! What stands before a packed content.
//!
//! Contents come from anybody, and could hold what looks like a header: so each has a sum that hangs on the directory's own
//! secret, which nobody is ever shown anything of.

use crate::record::Key;
use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

/// How many bytes a header takes.
pub(super) const HEADER_SIZE: usize = 64;

const MAGIC: [u8; 8] = *b"pmphpck1";

/// What a packed content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: Key,
    pub(crate) size_bytes: u32,
    /// XXH3 of the content.
    pub(crate) sum: u64,
}

impl Header {
    /// Magic, key, size, four bytes for later, content's sum, sum of all this.
    pub(super) fn encode(&self, secret: u64) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..40].copy_from_slice(&self.key);
        bytes[40..44].copy_from_slice(&self.size_bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.sum.to_le_bytes());
        let sum = own_sum(&bytes[..56], secret);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` where `bytes` are no whole header.
    pub(super) fn decode(bytes: &[u8], secret: u64) -> Option<Self> {
        let bytes: &[u8; HEADER_SIZE] = bytes.try_into().ok()?;
        if bytes[..8] != MAGIC || own_sum(&bytes[..56], secret).to_le_bytes() != bytes[56..] {
            return None;
        }
        Some(Self {
            key: bytes[8..40].try_into().ok()?,
            size_bytes: u32::from_le_bytes(bytes[40..44].try_into().ok()?),
            sum: u64::from_le_bytes(bytes[48..56].try_into().ok()?),
        })
    }
}

fn own_sum(bytes: &[u8], secret: u64) -> u64 {
    let mut hasher = XxHash3_64::with_seed(secret);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_and_damaged_ones_do_not() {
        let header = Header { key: [7; 32], size_bytes: u32::MAX, sum: u64::MAX - 1 };
        let bytes = header.encode(9);
        assert_eq!(Header::decode(&bytes, 9), Some(header));
        for position in 0..HEADER_SIZE {
            let mut damaged = bytes;
            damaged[position] ^= 4;
            assert_eq!(Header::decode(&damaged, 9), None, "at {position}");
        }
        assert_eq!(Header::decode(&bytes, 8), None, "another directory's");
        assert_eq!(Header::decode(&bytes[1..], 9), None);
        assert_eq!(Header::decode(&[0; HEADER_SIZE], 0), None);
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{any, bounded, check, like};

    #[test]
    fn headers_come_back_and_damaged_ones_do_not() {
        let header = Header { key: [7; 32], size_bytes: 3, sum: 5 };
        let good = header.encode(9);
        check(&(like(&[good]), any::<u64>()), |(bytes, secret)| {
            let decoded = bounded(bytes.len(), || Header::decode(&bytes, 9));
            assert_eq!(decoded, (bytes[..] == good).then_some(header));
            assert_eq!(Header::decode(&header.encode(secret), secret), Some(header));
        });
    }
}
