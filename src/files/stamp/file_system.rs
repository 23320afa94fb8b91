//! What `stat` is worth on a file system.
//!
//! Only file systems that are known to be this machine's own, with times of change that nobody can set, are taken at
//! their word. Whatever is unknown is taken for the worst.
//!
//! What it does not know: how coarse time stamps are; they say so themselves.
//!
//! **Source:** statfs(2), statx(2) (`AT_STATX_FORCE_SYNC`); nfs(5), "Data and metadata coherence"; the kernel's
//! `getattr` of fuse, nfs, cifs, 9p.

use super::{Links, Stamp};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatFs, StatxFlags};
use std::os::fd::AsFd;
use std::path::Path;

/// How changes on a file system are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// `stat` is true, and a settled stamp proves that nothing changed.
    Local,
    /// Others write as well, and `stat` may be old; what is opened is true, or what the server was asked for. Then a
    /// settled stamp proves that nothing changed.
    Shared,
    /// Nothing is known for sure: stamps may be old, or stay when a file changes.
    Unproven,
}

/// The file systems that are written by this kernel alone, or never, and stamp changes by its clock.
const LOCAL: [u64; 19] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0x794C_7630, // overlayfs
    0xF2F5_2010, // f2fs
    0x2FC1_2FC1, // zfs
    0xCA45_1A4E, // bcachefs
    0x7371_7368, // squashfs
    0xE0F5_E1E2, // erofs
    0x9660,      // isofs
    0x5265_4973, // reiserfs
    0x3153_464A, // jfs
    0x3434,      // nilfs2
    0x28CD_3D45, // cramfs
    0x137F,      // minix
    0x138F,      // minix with long names
    0x2468,      // minix 2
];
const NFS: u64 = 0x6969;

impl FileSystem {
    /// That of what stands at `path`. Costs a `statfs`.
    pub(crate) fn of(path: &Path) -> Self {
        rustix::fs::statfs(path).map_or(Self::Unproven, |answer| Self::by_magic(&answer))
    }

    /// That of an open file. Costs an `fstatfs`.
    pub(crate) fn of_open(file: impl AsFd) -> Self {
        rustix::fs::fstatfs(file).map_or(Self::Unproven, |answer| Self::by_magic(&answer))
    }

    /// That of the nearest directory above `path` that is there.
    pub(crate) fn around(path: &Path) -> Self {
        let answer = path.ancestors().skip(1).find_map(|directory| {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            rustix::fs::statfs(directory).ok()
        });
        answer.map_or(Self::Unproven, |answer| Self::by_magic(&answer))
    }

    /// Whether the kernel tells of all that happens on the file system of `path`: what it writes by itself, in one layer.
    pub(crate) fn tells_of_all(path: &Path) -> bool {
        const OVERLAYFS: u64 = 0x794C_7630;
        rustix::fs::statfs(path).is_ok_and(|answer| {
            answer.f_type as u64 & 0xFFFF_FFFF != OVERLAYFS && Self::by_magic(&answer) == Self::Local
        })
    }

    fn by_magic(answer: &StatFs) -> Self {
        // Some architectures' types are narrower, and signed.
        let magic = answer.f_type as u64 & 0xFFFF_FFFF;
        match magic {
            NFS => Self::Shared,
            _ if LOCAL.contains(&magic) => Self::Local,
            _ => Self::Unproven,
        }
    }
}

/// The stamp of what stands at `path` on a `known` file system, as true as it can be had there.
pub(super) fn stamp(path: &Path, links: Links, known: FileSystem) -> Option<Stamp> {
    if known != FileSystem::Local
        && let Some(directory) = path.parent()
    {
        // What the kernel remembers of names there, absent ones too, is good only as long as the directory stays.
        let _ = rustix::fs::statx(CWD, directory, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
    }
    stamp_below(path, links, known)
}

/// The stamp of `path`, where the file system of the directory above is known already.
pub(super) fn stamp_below(path: &Path, links: Links, known: FileSystem) -> Option<Stamp> {
    let nofollow = match links {
        Links::Followed => AtFlags::empty(),
        Links::Seen => AtFlags::SYMLINK_NOFOLLOW,
    };
    if known == FileSystem::Local {
        return rustix::fs::statat(CWD, path, nofollow).ok().map(|stat| Stamp::of(&stat));
    }
    let ask = |flags| rustix::fs::statx(CWD, path, nofollow | flags, StatxFlags::BASIC_STATS).ok();
    let cached = ask(AtFlags::empty()).map(|stat| Stamp::of_statx(&stat))?;
    if known == FileSystem::Shared && cached.is_file() {
        // Opening makes the client ask for the name as well, where it had only to ask for what it knew under it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let flags = if links == Links::Followed { flags - OFlags::NOFOLLOW } else { flags };
        if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
            return rustix::fs::fstat(&file).ok().map(|stat| Stamp::of(&stat));
        }
    }
    ask(AtFlags::STATX_FORCE_SYNC).map(|stat| Stamp::of_statx(&stat))
}
