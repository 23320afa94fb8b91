//! Launchers that run without the daemon: how many, why, and that it could not be started a moment ago.
//!
//! Counts stand in the state directory, a failure in the socket's, where those are this user's alone and can be written;
//! else in a spare directory below `XDG_RUNTIME_DIR`, `/tmp` or `/dev/shm`, under a name made of the other's. A count is
//! the length of a file to which each launcher appends one byte: none waits for another, and none reads what others wrote.
//!
//! A directory is believed only when it belongs to this user and nobody else can write into it, and files are opened in
//! it without following links: strangers can neither forge a failure nor have a launcher write into other files.

use crate::ipc::socket::Directories;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, unlinkat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long after a failure the daemon is started again.
const RETRY_INTERVAL: Duration = Duration::from_secs(20);

/// A pause of this length between launchers without the daemon ends a build, as far as telling its user goes.
const BUILD_GAP: Duration = Duration::from_secs(30);

/// The greatest length of a count's file, in bytes, beyond which nothing is counted.
const COUNT_LIMIT: u64 = 64 * 1024 * 1024;

/// The longest message of a failure that is kept, in bytes.
const MESSAGE_SIZE_BYTES: usize = 4096;

/// The file whose time says when the daemon failed to start, and whose text says why.
const FAILED: &str = "daemon.failed";

/// Why a launcher does without the daemon, in words.
#[derive(Debug)]
pub(crate) struct Without {
    /// What it counts as.
    pub(crate) why: Why,
    /// What went wrong, for people; empty where another launcher was told a moment ago.
    pub(crate) message: String,
}

impl Without {
    /// What counts as `why`, said as `message`.
    pub(crate) fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }
}

macro_rules! whys {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a launcher does without the daemon: a closed list, counted by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Why { $($(#[$doc])* $name,)* }

        impl Why {
            /// All of them.
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in statistics and in the names of files.
            const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

whys! {
    /// The directory of the state or of the socket can't be made or is another user's.
    Directory = "directory",
    /// Another launcher has been starting the daemon for too long.
    Locked = "locked",
    /// The daemon did not start.
    NotStarted = "not-started",
    /// The socket is there and can't be used.
    Unreachable = "unreachable",
    /// The daemon left, fell silent or said what can't be understood.
    NoAnswer = "no-answer",
    /// The request could not be made: the working directory is gone, or the file system of processes, or standard output or
    /// error is closed.
    NoRequest = "no-request",
}

/// Whether a user has heard of it in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Not yet.
    No,
    /// By another launcher.
    Yes,
}

/// A directory that is this user's alone.
struct PrivateDirectory {
    directory: OwnedFd,
    /// What the names of files in it begin with.
    prefix: String,
}

impl PrivateDirectory {
    /// The directory at `path`, if it is there and nobody else can write into it.
    fn at(path: &Path, flags: OFlags, prefix: String) -> io::Result<Self> {
        let directory = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | flags, Mode::empty())?;
        let status = fstat(&directory)?;
        if status.st_uid != rustix::process::geteuid().as_raw() || status.st_mode & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { directory, prefix })
    }

    /// This user's directory below `base`, which is made where it is missing.
    fn spare(base: &Path, instead_of: &Path) -> io::Result<Self> {
        let path = base.join(format!("pumphouse-{}", rustix::process::geteuid().as_raw()));
        match mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Self::at(&path, OFlags::NOFOLLOW, format!("{:016x}.", hash(instead_of.as_os_str().as_bytes())))
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.directory, self.prefix.clone() + name, flags, Mode::RUSR | Mode::WUSR)?;
        let status = fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_nlink != 1 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(file.into())
    }

    /// Adds one to the count of `name`, and gives when it was last added to.
    fn append(&self, name: &str) -> io::Result<Option<SystemTime>> {
        let mut file = self.open(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)?;
        let metadata = file.metadata()?;
        if metadata.len() < COUNT_LIMIT {
            file.write_all(b".")?;
        }
        Ok(if metadata.len() == 0 { None } else { Some(metadata.modified()?) })
    }
}

/// The places in which something of `directory` may stand, the best first. Opened one by one, as they are asked for.
fn places(directory: &Path) -> impl Iterator<Item = PrivateDirectory> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let bases = runtime.into_iter().chain(["/tmp".into(), "/dev/shm".into()]);
    let own = std::iter::once_with(|| PrivateDirectory::at(directory, OFlags::empty(), String::new()));
    own.chain(bases.map(|base| PrivateDirectory::spare(&base, directory))).filter_map(Result::ok)
}

fn file_of(why: Why) -> String {
    format!("without-daemon.{}", why.name())
}

/// Counts a launcher that does without the daemon. Costs a handful of system calls.
pub(crate) fn count(directories: &Directories, why: Why) -> Told {
    let counted = places(&directories.state).find_map(|place| place.append(&file_of(why)).ok());
    // A user who can't be told once is not told at all.
    match counted {
        Some(None) => Told::No,
        Some(Some(last)) if last.elapsed().is_ok_and(|pause| pause > BUILD_GAP) => Told::No,
        _ => Told::Yes,
    }
}

/// Notes that the daemon could not be started just now, and why.
pub(crate) fn remember_failure(directories: &Directories, message: &str) {
    let _ = places(&directories.socket).find_map(|place| {
        let mut file = place.open(FAILED, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).ok()?;
        file.write_all(&message.as_bytes()[..message.len().min(MESSAGE_SIZE_BYTES)]).ok()
    });
}

/// Whether the daemon failed to start a moment ago, so that trying again for every compile would only cost time.
pub(crate) fn failed_lately(directories: &Directories) -> bool {
    places(&directories.socket).any(|place| {
        let modified = place.open(FAILED, OFlags::RDONLY).and_then(|file| file.metadata()?.modified());
        modified.is_ok_and(|failed| failed.elapsed().is_ok_and(|age| age < RETRY_INTERVAL))
    })
}

/// Forgets a failure, once the daemon has started or goes on.
pub(crate) fn forget_failure(directories: &Directories) {
    for place in places(&directories.socket) {
        let _ = unlinkat(&place.directory, place.prefix.clone() + FAILED, rustix::fs::AtFlags::empty());
    }
}

/// What `pumphouse stats` shows of launchers without the daemon.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// How many there were, by reason.
    pub(crate) counts: BTreeMap<String, u64>,
    /// When the daemon last failed to start, and why, if no later start succeeded.
    pub(crate) failure: Option<(SystemTime, String)>,
}

/// Reads what launchers have left.
pub(crate) fn read(directories: &Directories) -> Record {
    let mut record = Record::default();
    for place in places(&directories.state) {
        for why in Why::ALL {
            let length = place.open(&file_of(*why), OFlags::RDONLY).and_then(|file| Ok(file.metadata()?.len()));
            if let Ok(length @ 1..) = length {
                *record.counts.entry(why.name().to_owned()).or_default() += length;
            }
        }
    }
    for place in places(&directories.socket) {
        let failure = place.open(FAILED, OFlags::RDONLY).and_then(|file| {
            let time = file.metadata()?.modified()?;
            let mut message = Vec::new();
            file.take(MESSAGE_SIZE_BYTES as u64).read_to_end(&mut message)?;
            Ok((time, String::from_utf8_lossy(&message).trim().to_owned()))
        });
        record.failure = record.failure.max(failure.ok());
    }
    record
}

/// Sets the counts to zero.
pub(crate) fn zero(directories: &Directories) {
    for place in places(&directories.state) {
        for why in Why::ALL {
            let _ = unlinkat(&place.directory, place.prefix.clone() + &file_of(*why), rustix::fs::AtFlags::empty());
        }
    }
}

/// FNV-1a: short names of long paths.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn directories(state: &Path) -> Directories {
        Directories {
            state: state.to_owned(),
            socket: state.to_owned(),
            vantage: crate::ipc::vantage::Vantage::own().expect("the kernel tells"),
        }
    }

    #[test]
    fn launchers_are_counted_by_reason_and_one_of_a_build_tells() {
        let scratch = tempfile::tempdir().expect("scratch");
        let directories = directories(scratch.path());
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700)).expect("set");
        assert_eq!(count(&directories, Why::Locked), Told::No);
        assert_eq!(count(&directories, Why::Locked), Told::Yes);
        assert_eq!(count(&directories, Why::NoAnswer), Told::No);
        let record = read(&directories);
        assert_eq!(record.counts, [("locked".to_owned(), 2), ("no-answer".to_owned(), 1)].into());
        let file = File::options().write(true).open(scratch.path().join("without-daemon.locked")).expect("opened");
        file.set_modified(SystemTime::now() - BUILD_GAP * 2).expect("set");
        assert_eq!(count(&directories, Why::Locked), Told::No);
        zero(&directories);
        assert_eq!(read(&directories), Record::default());
    }

    #[test]
    fn a_failure_is_remembered_for_a_while_even_where_the_state_directory_can_not_be() {
        let scratch = tempfile::tempdir().expect("scratch");
        std::fs::write(scratch.path().join("file"), "").expect("written");
        for state in [scratch.path().join("file/state"), scratch.path().to_owned()] {
            let directories = directories(&state);
            assert!(!failed_lately(&directories));
            remember_failure(&directories, "no room\n");
            assert!(failed_lately(&directories), "{}", state.display());
            assert_eq!(read(&directories).failure.expect("remembered").1, "no room");
            assert_eq!(count(&directories, Why::Directory), Told::No);
            assert_eq!(read(&directories).counts["directory"], 1);
            zero(&directories);
            forget_failure(&directories);
            assert!(!failed_lately(&directories));
        }
    }

    #[test]
    fn strangers_are_not_believed() {
        let scratch = tempfile::tempdir().expect("scratch");
        let open = scratch.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("set");
        assert!(PrivateDirectory::at(&open, OFlags::empty(), String::new()).is_err(), "anybody can write there");
        // A link in the place of a file would have another file written.
        let victim = scratch.path().join("victim");
        std::fs::write(&victim, "kept").expect("written");
        symlink(&victim, scratch.path().join("without-daemon.locked")).expect("linked");
        let place = PrivateDirectory::at(scratch.path(), OFlags::empty(), String::new()).expect("this user's");
        assert!(place.append("without-daemon.locked").is_err());
        std::fs::hard_link(&victim, scratch.path().join("hard")).expect("linked");
        assert!(place.append("hard").is_err());
        assert_eq!(std::fs::read(&victim).expect("read"), b"kept");
    }
}
