//! One fact about one file of a directory, in memory and as the journal holds it.

/// How many bytes a record takes in the journal.
pub(crate) const RECORD_SIZE: usize = 64;

/// The hash that names a file.
pub type Key = [u8; 32];

/// Where a packed content is. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    /// Below [`BLOCKS`].
    pub(crate) block: u32,
}

/// How many blocks a pack has at the most.
const BLOCKS: u32 = 1 << 16;

/// What tells places from times.
pub(crate) const PACKED: u64 = 1 << 63;

/// What a file's content was when it was last compared with its name: it is believed for as long as the time of
/// modification stays, and checked against the sum whenever it is read. Of a content that is packed, where it is instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The time of modification in nanoseconds since 1970; never 0. Or, with [`PACKED`], a place.
    pub modified: u64,
    /// XXH3 of the content: a tenth of what the name's own hash costs, and enough against bits that rot.
    pub sum: u64,
}

impl Seal {
    /// The seal of a packed content.
    pub(crate) fn packed(place: Place, sum: u64) -> Self {
        assert!(place.block < BLOCKS, "a pack has no more than so many blocks");
        let number = u64::from(place.pack) * u64::from(BLOCKS) + u64::from(place.block);
        Self { modified: PACKED | number, sum }
    }

    /// Where the content is, if it is packed.
    pub(crate) fn place(&self) -> Option<Place> {
        let number = (self.modified & PACKED != 0).then_some(self.modified & !PACKED)?;
        let blocks = u64::from(BLOCKS);
        Some(Place { pack: (number / blocks) as u32, block: (number % blocks) as u32 })
    }
}

/// A file, or a content that is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its length.
    pub size_bytes: u64,
    /// `None` where the content must be compared with the name before it is used.
    pub seal: Option<Seal>,
    /// Whether the file is known to be there. Not so for what a journal says that was not ended in order.
    pub is_confirmed: bool,
}

impl Entry {
    /// Whether it can be said to be there without a look at the disk.
    pub fn is_certain(&self) -> bool {
        self.is_confirmed && self.seal.is_some()
    }

    /// The entry without its seal; one that is packed keeps its place, and is doubted.
    pub(crate) fn unsealed(self) -> Self {
        if self.place().is_some() { Self { is_confirmed: false, ..self } } else { Self { seal: None, ..self } }
    }

    /// Where the content is, if it is packed.
    pub(crate) fn place(&self) -> Option<Place> {
        self.seal.as_ref().and_then(Seal::place)
    }
}

/// A fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// The file is there, and was used at that second.
    Present(Key, Entry, u32),
    /// If the file is there, it is so, and was used at that second. Uses are noted without the file's lock, so its removal
    /// may be recorded before.
    Used(Key, Entry, u32),
    /// The file is gone.
    Removed(Key),
}

const PRESENT: u8 = 1;
const REMOVED: u8 = 2;
const USED: u8 = 3;

impl Record {
    /// Hash, size (7 bytes), kind, time of modification (0 where there is no seal), content's sum, time of use, checksum.
    pub(crate) fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        let kind = match self {
            Self::Present(..) => PRESENT,
            Self::Used(..) => USED,
            Self::Removed(_) => REMOVED,
        };
        let (Self::Present(key, ..) | Self::Used(key, ..) | Self::Removed(key)) = self;
        bytes[..32].copy_from_slice(key);
        if let Self::Present(_, entry, used) | Self::Used(_, entry, used) = self {
            bytes[32..40].copy_from_slice(&entry.size_bytes.to_le_bytes());
            if let Some(seal) = entry.seal {
                bytes[40..48].copy_from_slice(&seal.modified.to_le_bytes());
                bytes[48..56].copy_from_slice(&seal.sum.to_le_bytes());
            }
            bytes[56..60].copy_from_slice(&used.to_le_bytes());
        }
        bytes[39] = kind;
        let checksum = checksum(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` where `bytes`, of which there are [`RECORD_SIZE`], are no whole record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_SIZE] = bytes.try_into().ok()?;
        if !matches!(bytes[39], PRESENT | REMOVED | USED) || checksum(&bytes[..60]).to_le_bytes() != bytes[60..] {
            return None;
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let key: Key = bytes[..32].try_into().ok()?;
        let modified = number(40..48);
        let seal = (modified != 0).then(|| Seal { modified, sum: number(48..56) });
        let entry = Entry { size_bytes: number(32..39), seal, is_confirmed: true };
        let used = number(56..60) as u32;
        Some(match bytes[39] {
            PRESENT => Self::Present(key, entry, used),
            USED => Self::Used(key, entry, used),
            _ => Self::Removed(key),
        })
    }
}

/// FNV-1a: tells torn and zeroed records, not forged ones.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_times() {
        for place in [Place { pack: 0, block: 0 }, Place { pack: u32::MAX, block: BLOCKS - 1 }] {
            assert_eq!(Seal::packed(place, 3).place(), Some(place));
        }
        assert_eq!(Seal { modified: PACKED - 1, sum: 3 }.place(), None);
        assert!(Place { pack: 1, block: 0 } > Place { pack: 0, block: 9 });
    }

    #[test]
    fn records_come_back_as_they_were_and_damaged_ones_do_not() {
        let sealed = Entry { size_bytes: 7, seal: Some(Seal { modified: 3, sum: u64::MAX }), is_confirmed: true };
        let key = [0xab; 32];
        let records =
            [Record::Present(key, sealed, 5), Record::Used(key, sealed.unsealed(), u32::MAX), Record::Removed(key)];
        for record in records {
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Some(record));
            for position in 0..RECORD_SIZE {
                let mut damaged = bytes;
                damaged[position] ^= 0x10;
                assert_eq!(Record::decode(&damaged), None, "{record:?} at {position}");
            }
        }
        assert_eq!(Record::decode(&[0; RECORD_SIZE]), None);
    }
}
