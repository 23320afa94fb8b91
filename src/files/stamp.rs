//! The identity of what stands at a path, by which a change is noticed; and how far an unchanged one can be trusted.
//!
//! A stamp that a memory was learned under proves later that nothing has changed, if the next change is sure to give
//! another stamp. That depends on the file system: on how coarse its time stamps are ([`granule_ns`]), on whose clock
//! stamps them ([`clock`]), and on whether `stat` says what is true now ([`file_system`]). [`Sight`] is a look that knows
//! all of it, [`Watch`](watch::Watch) one that is taken again later.
//!
//! What it does not know: contents, and why somebody asks.
//!
//! Invariants: a stamp is believed only if it was settled when it was taken; the granule is taken from the stamp
//! itself, so that no file system must be learned or remembered.
//!
//! **Source:** stat(2), statx(2), inode(7); for the guard against two edits within one tick of the clock, git's "racily
//! clean" index entries; for whole seconds, ext4's `s_time_gran` and FAT's two seconds.

mod clock;
mod file_system;
mod kept;
pub(crate) mod watch;

pub(crate) use clock::{Moment, Offset};
pub(crate) use file_system::FileSystem;
pub(crate) use kept::KeptStamp;

use rustix::fs::{Stat, Statx};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How long after its last change something is not trusted: the kernel stamps times by ticks of up to 10 ms, so that
/// a second change within the tick leaves the same stamp. Coarser file systems take longer.
pub const SETTLING_TIME: Duration = Duration::from_millis(25);

const TICK_NS: i128 = SETTLING_TIME.as_nanos() as i128;

/// By how much a clock is never set back: what was written in whole seconds longer ago, as images of systems are, is
/// trusted for good.
const SET_BACK_LIMIT_NS: i128 = 24 * 3600 * SECOND_NS;

const SECOND_NS: i128 = 1_000_000_000;

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
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            size_bytes: stat.st_size as u64,
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as u32),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as u32),
        }
    }

    /// What `statx` says.
    fn of_statx(stat: &Statx) -> Self {
        Self {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mode: u32::from(stat.stx_mode),
            size_bytes: stat.stx_size,
            modified_ns: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed_ns: nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    /// What the standard library says.
    pub(crate) fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            size_bytes: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec() as u32),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec() as u32),
        }
    }

    /// The stamp of what `path` leads to, if there is anything. Costs a `stat`, and proves no more than that does on the
    /// path's file system.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        rustix::fs::stat(path).ok().map(|stat| Self::of(&stat))
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

    /// Whether any execute permission is set.
    pub const fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether it is a regular file.
    pub const fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Whether it is a symbolic link.
    const fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Tells what [`Stamp::settled`] tells, for a memory of contents or names: nothing of that sort is believed where
    /// stamps prove nothing.
    pub(crate) fn proof(&self, file_system: FileSystem, moment: Moment) -> Settled {
        match file_system {
            FileSystem::Local | FileSystem::Shared => self.settled(file_system, moment),
            FileSystem::Unproven => Settled::No,
        }
    }

    /// Whether a change after `moment` is sure to give another stamp on `file_system`, and for how long. A stamp of the
    /// future is not settled.
    pub(crate) fn settled(&self, file_system: FileSystem, moment: Moment) -> Settled {
        let (changed_ns, now_ns) = match file_system {
            FileSystem::Local => (self.changed_ns, moment.wall_ns()),
            FileSystem::Shared => {
                clock::note_served(self.device, self.changed_ns, Moment::now());
                (self.changed_ns, clock::served_ns(self.device, moment).unwrap_or(self.changed_ns))
            }
            // It may have no time of change, or give the time of the last write for it.
            FileSystem::Unproven => (self.changed_ns.max(self.modified_ns), moment.wall_ns()),
        };
        let granule_ns = match file_system {
            FileSystem::Local | FileSystem::Shared => granule_ns(self.changed_ns),
            FileSystem::Unproven => 2 * SECOND_NS,
        };
        let age_ns = now_ns - changed_ns;
        if age_ns <= granule_ns + TICK_NS {
            Settled::No
        } else if granule_ns > TICK_NS && age_ns <= SET_BACK_LIMIT_NS {
            Settled::UnlessSetBack(moment.offset())
        } else {
            Settled::Yes
        }
    }
}

/// How coarse the time stamps may be of a file system that gave this one: what whole power of ten it is a multiple of.
///
/// A whole second may come from FAT, which counts in twos. So may a fine file system's stamp, once in a billion times;
/// that one is believed two seconds later than it could be. The other way round no stamp of a coarse file system looks
/// fine, not even where some of the inodes are too small for nanoseconds and others are not.
const fn granule_ns(time_ns: i128) -> i128 {
    let rest = time_ns.rem_euclid(SECOND_NS);
    if rest == 0 {
        return 2 * SECOND_NS;
    }
    let mut granule = 1;
    while rest % (granule * 10) == 0 {
        granule *= 10;
    }
    granule
}

const fn nanoseconds(seconds: i64, nanoseconds: u32) -> i128 {
    seconds as i128 * SECOND_NS + nanoseconds as i128
}

/// Whether a stamp can be trusted to change with what it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Not yet: a change that follows at once may leave it as it is.
    #[default]
    No,
    /// For good.
    Yes,
    /// As long as the clock is not set back: the granule is so coarse that the same stamp could come again.
    UnlessSetBack(Offset),
}

impl Settled {
    /// Whether the stamp is trusted now. Costs nothing, or two looks at clocks where the file system is coarse.
    pub(crate) fn holds(self) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::UnlessSetBack(offset) => !offset.was_set_back(),
        }
    }
}

/// A stamp with what it is worth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) stamp: Stamp,
    pub(crate) settled: Settled,
    pub(crate) file_system: FileSystem,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Links {
    /// What the path leads to.
    Followed,
    /// What the path itself is.
    Seen,
}

impl Sight {
    /// Looks at `path`, so that what other machines did is seen as `open` would see it. `None` where nothing is. Costs a
    /// `stat` and a `statfs`, and a question to the server where there is one.
    pub(crate) fn at(path: &Path, links: Links) -> Option<Self> {
        let moment = Moment::now();
        let stamp = file_system::stamp(path, links, FileSystem::Local);
        let known = match (links, stamp) {
            (Links::Followed, Some(_)) => FileSystem::of(path),
            (Links::Seen, Some(stamp)) if !stamp.is_link() => FileSystem::of(path),
            // `statfs` follows links; and what isn't there has no file system but its directory's.
            _ => FileSystem::around(path),
        };
        let stamp = match known {
            FileSystem::Local => stamp,
            FileSystem::Shared | FileSystem::Unproven => file_system::stamp(path, links, known),
        }?;
        Some(Self { stamp, settled: stamp.settled(known, moment), file_system: known })
    }

    /// Looks at `path` again, where a `known` file system was seen. Costs a `stat` where that is local; the directory
    /// above it is taken as looked at already.
    pub(crate) fn again(path: &Path, known: FileSystem) -> Option<Stamp> {
        file_system::stamp_below(path, Links::Followed, known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_at(changed_ns: i128) -> Stamp {
        Stamp { changed_ns, modified_ns: changed_ns, device: 77, ..Stamp::none() }
    }

    #[test]
    fn a_granule_is_the_coarsest_that_may_have_given_the_stamp() {
        for (time_ns, expect_ns) in [
            (5_000_000_000, 2_000_000_000),
            (0, 2_000_000_000),
            (-1_000_000_000, 2_000_000_000),
            (5_500_000_000, 100_000_000),
            (5_010_000_000, 10_000_000),
            (5_123_456_000, 1_000),
            (5_123_456_700, 100),
            (5_123_456_789, 1),
            (-1, 1),
        ] {
            assert_eq!(granule_ns(time_ns), expect_ns, "{time_ns}");
        }
    }

    #[test]
    fn a_stamp_settles_after_granule_and_tick() {
        let now = Moment::now();
        let age = |age_ns: i128, granule_ns: i128| {
            let changed_ns = now.wall_ns() - age_ns;
            changed_at(changed_ns - changed_ns.rem_euclid(granule_ns) + i128::from(granule_ns == 1))
        };
        let settled = |stamp: Stamp, file_system| stamp.settled(file_system, now).holds();
        assert!(!settled(age(10_000_000, 1), FileSystem::Local));
        assert!(settled(age(200_000_000, 1), FileSystem::Local));
        assert!(!settled(age(-5_000_000_000, 1), FileSystem::Local), "of the future");
        assert!(!settled(age(900_000_000, SECOND_NS), FileSystem::Local));
        assert!(settled(age(3_100_000_000, SECOND_NS), FileSystem::Local));
        assert!(!settled(age(200_000_000, 1), FileSystem::Unproven));
        assert!(settled(age(3_100_000_000, 1), FileSystem::Unproven));
        let lasting = |stamp: Stamp| stamp.settled(FileSystem::Local, now) == Settled::Yes;
        assert!(lasting(age(200_000_000, 1)) && lasting(age(2 * SET_BACK_LIMIT_NS, SECOND_NS)));
        assert!(!lasting(age(3_100_000_000, SECOND_NS)));
    }

    #[test]
    fn what_is_not_there_is_not_seen() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str, links| Sight::at(&directory.path().join(name), links);
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).expect("link");
        assert!(at("absent", Links::Followed).is_none());
        assert!(at("link", Links::Followed).is_none());
        assert!(at("link", Links::Seen).is_some());
        let seen = Sight::at(directory.path(), Links::Followed).expect("there");
        assert_eq!(Stamp::at(directory.path()), Some(seen.stamp));
        assert_eq!(seen.file_system, FileSystem::Local);
    }
}
