//! A stamp as it is kept on disk for the next process.

use super::Stamp;

/// The encoded form.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeptStamp {
    #[prost(fixed64, tag = "1")]
    device: u64,
    #[prost(fixed64, tag = "2")]
    inode: u64,
    #[prost(uint32, tag = "3")]
    mode: u32,
    #[prost(uint64, tag = "4")]
    size_bytes: u64,
    #[prost(sfixed64, tag = "5")]
    modified_ns: i64,
    #[prost(sfixed64, tag = "6")]
    changed_ns: i64,
}

impl KeptStamp {
    /// `None` for times that no clock of today shows.
    pub(crate) fn of(stamp: Stamp) -> Option<Self> {
        let Stamp { device, inode, mode, size_bytes, modified_ns, changed_ns } = stamp;
        let (modified_ns, changed_ns) = (modified_ns.try_into().ok()?, changed_ns.try_into().ok()?);
        Some(Self { device, inode, mode, size_bytes, modified_ns, changed_ns })
    }

    /// The stamp that was kept.
    pub(crate) fn stamp(&self) -> Stamp {
        let Self { device, inode, mode, size_bytes, modified_ns, changed_ns } = *self;
        let (modified_ns, changed_ns) = (modified_ns.into(), changed_ns.into());
        Stamp { device, inode, mode, size_bytes, modified_ns, changed_ns }
    }
}
