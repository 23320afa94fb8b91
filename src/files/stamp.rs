//! The identity of what stands at a path, by which a change is noticed.
//!
//! **Source:** stat(2), inode(7); for the guard against two edits within one tick of the clock, git's "racily clean"
//! index entries.

use rustix::fs::Stat;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long after its last change something is not trusted: the kernel stamps times by ticks of up to 10 ms, so that
/// a second change within the tick leaves the same stamp.
pub const SETTLING_TIME: Duration = Duration::from_millis(25);

/// Device, inode, mode, size and times. Equal stamps, the first of them settled, mean that nothing changed between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    size_bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// What `stat` says.
    pub fn of(stat: &Stat) -> Self {
        let nanoseconds =
            |seconds: i64, nanoseconds: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            size_bytes: stat.st_size as u64,
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The stamp of nothing, which no file has.
    pub(crate) const fn none() -> Self {
        Self { device: 0, inode: 0, mode: 0, size_bytes: 0, modified_ns: 0, changed_ns: 0 }
    }

    /// Device and inode: what makes two paths the same file or directory.
    pub const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// The length in bytes.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The time of the last change of the content.
    pub const fn modified_ns(&self) -> i128 {
        self.modified_ns
    }

    /// Whether any execute permission is set.
    pub const fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether it is a regular file.
    pub const fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether a change after `now` is sure to give another stamp. A stamp of the future never settles.
    pub fn is_settled(&self, now: WallClock) -> bool {
        now.0 - self.changed_ns > SETTLING_TIME.as_nanos() as i128
    }
}

/// A stamp as it is kept on disk.
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

    pub(crate) fn stamp(&self) -> Stamp {
        let Self { device, inode, mode, size_bytes, modified_ns, changed_ns } = *self;
        let (modified_ns, changed_ns) = (modified_ns.into(), changed_ns.into());
        Stamp { device, inode, mode, size_bytes, modified_ns, changed_ns }
    }
}

/// A reading of the clock by which files are stamped.
#[derive(Debug, Clone, Copy)]
pub struct WallClock(i128);

impl WallClock {
    /// Reads the clock.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128))
    }
}
