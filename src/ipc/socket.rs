//! Where the daemon's socket is, and how it is reached, however long its path.
//!
//! A socket's address holds 107 bytes of path. A longer one is reached through its open directory, as
//! `/proc/self/fd/N/NAME`.
//!
//! **Source:** unix(7).

use crate::ipc::SILENCE_LIMIT;
use crate::ipc::vantage::Vantage;
use crate::state_file;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the name of the directory begins with in which the daemon of one vantage has its socket.
const VANTAGE_PREFIX: &str = "vantage-";

/// How long nothing must have happened in a vantage's directory for it to be removed, where no daemon is at work in it.
const DESERTED_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The socket's name in its directory.
pub(crate) const SOCKET: &str = "daemon.sock";

/// The name under which a launcher puts the socket of a daemon that has fallen silent, so that the next ones don't wait for it;
/// the daemon puts it back.
const SILENT_SOCKET: &str = "daemon.silent.sock";

/// The file in the socket's directory whose lock the daemon holds as long as the socket is its own.
pub(crate) const DAEMON_LOCK: &str = "daemon.lock";

/// The file in the socket's directory whose lock a launcher holds while it starts the daemon.
pub(crate) const START_LOCK: &str = "start.lock";

/// The daemon's log in the state directory; that of the daemon before stands beside it.
pub(crate) const LOG: &str = "daemon.log";

/// The longest path that fits an address, in bytes, its closing NUL left out.
const ADDRESS_SIZE_BYTES: usize = 107;

/// Connects to the daemon of `directory`; the connection is closed by `exec`, and waits at most for [`SILENCE_LIMIT`] to be
/// taken in or to take in what is sent.
///
/// # Errors
/// There is no socket, nobody listens, nobody takes connections in, or it belongs to another user; or this process's standard
/// output or error is closed.
pub(crate) fn connect(directory: &Path) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
    let stream = with_address(directory, |path| {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let socket = beside_standard_streams(socket)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SILENCE_LIMIT))?;
        let address = SocketAddrUnix::new(path)?;
        // A wait that has a limit is not taken up again by the kernel when the process was stopped and goes on.
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
        Ok(UnixStream::from(socket))
    })?;
    check_peer(&stream)?;
    Ok(stream)
}

/// The descriptor, moved where it has the number of a standard input that is closed. Nothing else gets that here from then on,
/// and programs that this one becomes find it closed as before. What would be written to the other standard streams must not
/// get into what is opened here, and compilers fail where they can't write: that is for themselves to find out.
fn beside_standard_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > rustix::stdio::raw_stderr() {
        return Ok(descriptor);
    }
    let moved = rustix::io::fcntl_dupfd_cloexec(&descriptor, rustix::stdio::raw_stderr() + 1)?;
    drop(descriptor);
    loop {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        match null.as_raw_fd() {
            // Open as long as this process runs.
            number if number == rustix::stdio::raw_stdin() => drop(null.into_raw_fd()),
            number if number > rustix::stdio::raw_stderr() => return Ok(moved),
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "standard output or error is closed")),
        }
    }
}

/// Whether an error of [`connect`] or of waiting for an answer means that the daemon is there and says nothing.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Takes the socket of a daemon that has fallen silent out of the next launchers' way.
///
/// # Errors
/// It can't be renamed.
pub(crate) fn set_aside(directory: &Path) -> io::Result<()> {
    std::fs::rename(directory.join(SOCKET), directory.join(SILENT_SOCKET))
}

/// Whether the socket of a daemon that lives was set aside, and is still.
pub(crate) fn is_set_aside(directory: &Path) -> bool {
    directory.join(SILENT_SOCKET).symlink_metadata().is_ok() && matches!(try_lock(directory, DAEMON_LOCK), Ok(None))
}

/// Which file a socket is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketFile {
    device: u64,
    inode: u64,
}

/// What has become of a daemon's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It is where launchers look for it.
    InPlace,
    /// It was set aside, and has just been put back.
    PutBack,
    /// Nobody can find it any more: the directory was removed, say.
    Gone,
}

impl SocketFile {
    /// The socket that is in place in `directory`.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn in_place(directory: &Path) -> io::Result<Self> {
        Self::called(directory, SOCKET)
    }

    fn called(directory: &Path, name: &str) -> io::Result<Self> {
        let metadata = directory.join(name).symlink_metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Looks where this socket of `directory` is, and puts it back if it was set aside. Called while its daemon holds its lock.
    pub(crate) fn put_back(self, directory: &Path) -> Whereabouts {
        if Self::in_place(directory).is_ok_and(|file| file == self) {
            return Whereabouts::InPlace;
        }
        let is_aside = Self::called(directory, SILENT_SOCKET).is_ok_and(|file| file == self);
        if is_aside && std::fs::rename(directory.join(SILENT_SOCKET), directory.join(SOCKET)).is_ok() {
            return Whereabouts::PutBack;
        }
        Whereabouts::Gone
    }

    /// Removes this socket from `directory`, where it is still there; another's stays.
    pub(crate) fn remove(self, directory: &Path) {
        for name in [SOCKET, SILENT_SOCKET] {
            if Self::called(directory, name).is_ok_and(|file| file == self) {
                let _ = std::fs::remove_file(directory.join(name));
            }
        }
    }
}

/// Whether an error of [`connect`] means that there is no daemon: no directory, no socket, or nobody who listens.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused)
}

/// Listens on the socket of `directory`; a stale socket is removed first, so the caller holds [`DAEMON_LOCK`].
///
/// # Errors
/// The directory does not allow it.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    for name in [SOCKET, SILENT_SOCKET] {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    with_address(directory, |path| UnixListener::bind(path))
}

/// Checks that the other end is run by this user.
///
/// # Errors
/// It is not, or the kernel does not say.
pub(crate) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid == rustix::process::geteuid() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the other end of the socket belongs to another user"))
    }
}

fn with_address<T>(directory: &Path, use_it: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(SOCKET);
    if path.as_os_str().len() <= ADDRESS_SIZE_BYTES {
        return use_it(&path);
    }
    let opened = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    use_it(Path::new(&format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd())))
}

/// Where the daemon's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directories {
    /// The cache, the scanner's memory and the statistics.
    pub state: PathBuf,
    /// The socket and its locks: a directory for each [`Vantage`], below the same or a directory of the session where there
    /// is one. So the daemon that a launcher finds sees the files that the launcher sees.
    pub socket: PathBuf,
    /// Whose socket it is.
    pub vantage: Vantage,
}

impl Directories {
    /// What the environment says: `PUMPHOUSE_DIR`, else `XDG_CACHE_HOME` or `HOME` for the state and `XDG_RUNTIME_DIR`
    /// for the socket, else a directory under `/tmp` that carries the user's number.
    ///
    /// # Errors
    /// `PUMPHOUSE_DIR` is relative and the working directory is gone, or the kernel does not tell the vantage.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let vantage = Vantage::own()?;
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()), vantage)
    }

    fn from_variables<S: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<S>, vantage: Vantage) -> io::Result<Self> {
        let below = |directory: &Path| directory.join(format!("{VANTAGE_PREFIX}{}", vantage.name()));
        let path = |name: &str| variable(name).map(|value| PathBuf::from(value.as_ref()));
        if let Some(directory) = path("PUMPHOUSE_DIR") {
            let state = std::path::absolute(directory)?;
            return Ok(Self { socket: below(&state), state, vantage });
        }
        let state = path("XDG_CACHE_HOME")
            .filter(|home| home.is_absolute())
            .or_else(|| path("HOME").filter(|home| home.is_absolute()).map(|home| home.join(".cache")))
            .map_or_else(
                || PathBuf::from(format!("/tmp/pumphouse-{}", rustix::process::geteuid().as_raw())),
                |cache| cache.join("pumphouse"),
            );
        let socket = path("XDG_RUNTIME_DIR")
            .filter(|runtime| runtime.is_absolute())
            .map_or_else(|| state.clone(), |runtime| runtime.join("pumphouse"));
        Ok(Self { socket: below(&socket), state, vantage })
    }

    /// Creates them, for this user alone.
    ///
    /// # Errors
    /// One can't be created, or is there and belongs to somebody else, or others can write into it and it holds what isn't
    /// Pumphouse's.
    pub(crate) fn create(&self) -> io::Result<()> {
        let shared = self.socket.parent().unwrap_or(&self.state);
        for directory in [&self.state, shared, &self.socket] {
            claim(directory)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
        }
        Ok(())
    }

    /// Removes the socket's own directory: for a daemon whose vantage goes with it. The caller holds [`DAEMON_LOCK`].
    pub(crate) fn remove_socket_directory(&self) {
        // What can't be removed is removed by a later daemon, elsewhere.
        let _ = std::fs::remove_dir_all(&self.socket);
    }

    /// Removes the sockets' directories of vantages that no process has any more, as far as can be told: a container leaves
    /// one behind.
    pub(crate) fn remove_deserted(&self) {
        let Some(entries) = self.socket.parent().and_then(|shared| std::fs::read_dir(shared).ok()) else { return };
        for entry in entries.flatten() {
            let is_other =
                entry.file_name().as_bytes().starts_with(VANTAGE_PREFIX.as_bytes()) && entry.path() != self.socket;
            let age =
                entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
            if !is_other || age.is_none_or(|age| age < DESERTED_AGE) {
                continue;
            }
            if let Ok(Some(_lock)) = try_lock(&entry.path(), DAEMON_LOCK) {
                // What can't be removed is tried again by the next daemon.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Takes `directory` for Pumphouse, for this user alone: makes it, or looks whether the one that is there serves.
fn claim(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if let Some(parent) = directory.parent() {
        state_file::create_private(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let metadata = std::fs::metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "belongs to another user"));
    }
    let is_open = metadata.mode() & 0o077 != 0;
    if !is_open {
        return Ok(());
    }
    if holds_nothing_else(directory)? {
        return std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    }
    // A directory of the user's with other things in it stays as it is; `/tmp` is everybody's.
    if metadata.mode() & 0o022 != 0 {
        let text = "others can write into it, and it holds other things: name another directory, or make it private";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// Whether `directory` is empty, or was made for Pumphouse.
fn holds_nothing_else(directory: &Path) -> io::Result<bool> {
    let is_own = |name: &OsStr| {
        [DAEMON_LOCK, START_LOCK, SOCKET, SILENT_SOCKET, LOG].iter().any(|own| name == *own)
            || name.as_bytes().starts_with(VANTAGE_PREFIX.as_bytes())
    };
    let mut is_empty = true;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if is_own(&name) {
            return Ok(true);
        }
        // A volume of its own has that.
        is_empty &= name == "lost+found";
    }
    Ok(is_empty)
}

/// Takes the lock of a file in `directory` if nobody holds it.
///
/// # Errors
/// The file can't be opened or locked.
pub(crate) fn try_lock(directory: &Path, name: &str) -> io::Result<Option<File>> {
    let file = open_lock(directory, name)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_lock(directory: &Path, name: &str) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_environment_says_where_the_directories_are() {
        let check = |variables: &[(&str, &'static str)], state: &str, socket: &str| {
            let variables: HashMap<&str, &'static str> = variables.iter().copied().collect();
            let vantage = Vantage { mount: 0x1f, device: 2, inode: 3 };
            let directories = Directories::from_variables(|name| variables.get(name), vantage).expect("resolves");
            let socket = Path::new(socket).join("vantage-1f-2-3");
            assert_eq!(directories, Directories { state: state.into(), socket, vantage });
        };
        check(&[("PUMPHOUSE_DIR", "/p"), ("XDG_RUNTIME_DIR", "/run/user/1")], "/p", "/p");
        check(&[("HOME", "/h")], "/h/.cache/pumphouse", "/h/.cache/pumphouse");
        check(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")], "/h/.cache/pumphouse", "/r/pumphouse");
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")], "/c/pumphouse", "/c/pumphouse");
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")], "/h/.cache/pumphouse", "/h/.cache/pumphouse");
    }

    #[test]
    fn a_directory_of_others_is_left_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = tempfile::tempdir().expect("scratch");
        let mode = |directory: &Path| std::fs::metadata(directory).expect("there").mode() & 0o777;
        let open = |name: &str| {
            let directory = scratch.path().join(name);
            std::fs::create_dir(&directory).expect("made");
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("set");
            directory
        };
        let (empty, own, other) = (open("empty"), open("own"), open("other"));
        std::fs::write(own.join(DAEMON_LOCK), "").expect("written");
        std::fs::write(other.join("letter"), "").expect("written");
        for directory in [&empty, &own] {
            claim(directory).expect("it is Pumphouse's");
            assert_eq!(mode(directory), 0o700);
        }
        claim(&other).expect("nobody else can write there");
        assert_eq!(mode(&other), 0o755);
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o1777)).expect("set");
        claim(&other).expect_err("it is everybody's");
        assert_eq!(mode(&other), 0o777);
    }

    #[test]
    fn a_socket_is_reached_at_any_length() {
        let scratch = tempfile::tempdir().expect("scratch");
        for name in ["short", &"long".repeat(60)] {
            let directory = scratch.path().join(name);
            claim(&directory).expect("created");
            let listener = bind(&directory).expect("bound");
            connect(&directory).expect("connected");
            drop(listener);
            // A process that another test starts has all descriptors until it becomes another program.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while connect(&directory).is_ok() {
                assert!(std::time::Instant::now() < deadline, "nobody listens");
                std::thread::yield_now();
            }
            bind(&directory).expect("a stale socket is replaced");
        }
    }

    #[test]
    fn a_socket_that_was_set_aside_is_put_back_and_no_other() {
        let scratch = tempfile::tempdir().expect("scratch");
        let directory = scratch.path();
        let listener = bind(directory).expect("bound");
        let own = SocketFile::in_place(directory).expect("there");
        assert_eq!(own.put_back(directory), Whereabouts::InPlace);
        let lock = try_lock(directory, DAEMON_LOCK).expect("tried").expect("free");
        assert!(!is_set_aside(directory));
        set_aside(directory).expect("renamed");
        assert!(is_set_aside(directory));
        assert!(is_absence(&connect(directory).expect_err("set aside")));
        assert_eq!(own.put_back(directory), Whereabouts::PutBack);
        connect(directory).expect("connected");
        set_aside(directory).expect("renamed");
        drop(lock);
        assert!(!is_set_aside(directory), "its daemon has ended");
        // Another daemon's socket is neither taken for it nor removed.
        let _other = bind(directory).expect("bound");
        assert_eq!(own.put_back(directory), Whereabouts::Gone);
        own.remove(directory);
        connect(directory).expect("still there");
        drop(listener);
    }

    #[test]
    fn nobody_waits_for_ever_to_be_taken_in() {
        let scratch = tempfile::tempdir().expect("scratch");
        let _listener = bind(scratch.path()).expect("bound");
        // As many as a listener that takes none in holds, each kept.
        let (sender, received) = std::sync::mpsc::channel();
        let directory = scratch.path().to_owned();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            let error = loop {
                match connect(&directory) {
                    Ok(stream) => held.push(stream),
                    Err(error) => break error,
                }
            };
            let _ = sender.send((held.len(), error));
        });
        let (count, error) = received.recv_timeout(SILENCE_LIMIT * 3).expect("the wait has an end");
        assert!(is_silence(&error), "after {count}: {error}");
    }

    #[test]
    fn a_lock_has_one_holder() {
        let scratch = tempfile::tempdir().expect("scratch");
        let held = try_lock(scratch.path(), "l").expect("tried").expect("free");
        assert!(try_lock(scratch.path(), "l").expect("tried").is_none());
        drop(held);
        assert!(try_lock(scratch.path(), "l").expect("tried").is_some());
    }
}
