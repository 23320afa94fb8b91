//! One fact about one file of a directory, in memory and as the journal holds it.

/// How many bytes a record takes in the journal.
pub(super) const RECORD_SIZE: usize = 56;

/// The hash that names a file.
pub(crate) type Key = [u8; 32];

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its length.
    pub(crate) size_bytes: u64,
    /// Its time of modification when its content was last verified, or [`Entry::UNVERIFIED`].
    pub(crate) verified: u64,
}

impl Entry {
    /// The content must be verified before it is used.
    pub(crate) const UNVERIFIED: u64 = 0;

    /// Whether the content was verified since the machine started.
    pub(crate) fn is_verified(&self) -> bool {
        self.verified != Self::UNVERIFIED
    }
}

const PRESENT: u8 = 1;
const REMOVED: u8 = 2;

/// A fact about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Key,
    /// `None` where it was removed.
    pub(super) entry: Option<Entry>,
    pub(super) touched: u32,
}

impl Record {
    /// This record, with what it says of verification forgotten.
    pub(super) fn unverified(self) -> Self {
        Self { entry: self.entry.map(|entry| Entry { verified: Entry::UNVERIFIED, ..entry }), ..self }
    }

    /// The file is there and was used at `touched`.
    pub(super) fn present(key: Key, entry: Entry, touched: u32) -> Self {
        Self { key, entry: Some(entry), touched }
    }

    /// The file is gone.
    pub(super) fn removed(key: Key) -> Self {
        Self { key, entry: None, touched: 0 }
    }

    /// Hash, size (7 bytes), kind, time of modification, time of use, checksum.
    pub(super) fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        bytes[..32].copy_from_slice(&self.key);
        if let Some(entry) = self.entry {
            bytes[32..40].copy_from_slice(&entry.size_bytes.to_le_bytes());
            bytes[40..48].copy_from_slice(&entry.verified.to_le_bytes());
        }
        bytes[39] = if self.entry.is_some() { PRESENT } else { REMOVED };
        bytes[48..52].copy_from_slice(&self.touched.to_le_bytes());
        let checksum = checksum(&bytes[..52]);
        bytes[52..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_SIZE] = bytes.try_into().ok()?;
        if checksum(&bytes[..52]).to_le_bytes() != bytes[52..] {
            return None;
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let entry = match bytes[39] {
            PRESENT => Some(Entry { size_bytes: number(32..39), verified: number(40..48) }),
            REMOVED => None,
            _ => return None,
        };
        Some(Self { key: bytes[..32].try_into().ok()?, entry, touched: number(48..52) as u32 })
    }
}

/// FNV-1a: tells torn and zeroed records, not forged ones.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
