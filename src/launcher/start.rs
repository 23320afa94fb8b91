//! Starting the daemon: exactly one, however many launchers find none at the same time.

use super::{DISABLE_VARIABLE, NESTED_VARIABLE};
use crate::compiler::search::PASSED_VARIABLE;
use crate::config::{
    CA_FILE_VARIABLE, CERTIFICATE_FILE_VARIABLE, KEY_FILE_VARIABLE, REMOTE_VARIABLE, TOKEN_FILE_VARIABLE,
};
use crate::daemon::detach;
use crate::inherited;
use crate::ipc::socket::{self, Directories};
use crate::ipc::without::{self, Why, Without};
use crate::ipc::{DEPTH_VARIABLE, SILENCE_LIMIT, socket::LOG};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The environment variables that a daemon inherits besides `PUMPHOUSE_*` and `XDG_*`: it serves every build of its user,
/// so what one of them happens to have set is none of its business.
const INHERITED_VARIABLES: &[&str] = &["HOME", "LOGNAME", "PATH", "TMPDIR", "USER"];

/// The variables that are each launcher's own, and no setting of a daemon that serves others as well.
const LAUNCHERS_VARIABLES: &[&str] = &[
    REMOTE_VARIABLE,
    TOKEN_FILE_VARIABLE,
    CA_FILE_VARIABLE,
    CERTIFICATE_FILE_VARIABLE,
    KEY_FILE_VARIABLE,
    DISABLE_VARIABLE,
    DEPTH_VARIABLE,
    NESTED_VARIABLE,
    PASSED_VARIABLE,
];

/// How long a launcher waits for another one that starts the daemon.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// How often it looks meanwhile whether the daemon serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long a daemon may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The longest word of a daemon that can't start, in bytes.
const WORD_SIZE_BYTES: u64 = 4096;

/// Connects to the daemon of `directories`, which is started unless another launcher just did.
///
/// # Errors
/// It can't be started. What can't be mended by the next launcher is remembered for a while, and said to one of them.
pub(super) fn start_daemon(directories: &Directories) -> Result<UnixStream, Without> {
    let unsaid = || Without::new(Why::NotStarted, "");
    if socket::is_set_aside(&directories.socket) {
        return Err(Without::new(Why::NoAnswer, ""));
    }
    if without::failed_lately(directories) {
        return Err(unsaid());
    }
    let failed = |why: Why, message: String| {
        without::remember_failure(directories, &message);
        Without::new(why, message)
    };
    directories.create().map_err(|error| failed(Why::Directory, error.to_string()))?;
    let _lock = match lock_or_connection(directories) {
        Ok(Ready::Serves(stream)) => return Ok(stream),
        Ok(Ready::Locked(lock)) => lock,
        Err(error) => {
            let lock = directories.socket.join(socket::START_LOCK);
            let why = if error.kind() == io::ErrorKind::TimedOut { Why::Locked } else { Why::Directory };
            return Err(failed(why, format!("{}: {error}", lock.display())));
        }
    };
    if without::failed_lately(directories) {
        return Err(unsaid());
    }
    let said = start(directories).map_err(|error| failed(Why::NotStarted, format!("starting the daemon: {error}")))?;
    if !said.is_empty() {
        return Err(failed(Why::NotStarted, format!("the daemon did not start: {said}")));
    }
    match socket::connect(&directories.socket) {
        Ok(stream) => {
            without::forget_failure(directories);
            Ok(stream)
        }
        Err(error) => {
            let socket = directories.socket.join(socket::SOCKET);
            Err(failed(Why::NotStarted, format!("{}: the daemon does not listen: {error}", socket.display())))
        }
    }
}

/// What follows for a launcher that the daemon has not answered in time: it is the last one to wait for it, until the daemon
/// goes on.
pub(super) fn silent(directories: &Directories) -> Without {
    let message = format!("the daemon has been silent for {} s", SILENCE_LIMIT.as_secs());
    // First the reason, for those who find no socket and might start a daemon.
    without::remember_failure(directories, &message);
    // Where it can't be, each launcher waits.
    let _ = socket::set_aside(&directories.socket);
    Without::new(Why::NoAnswer, message)
}

/// What a launcher that found no daemon has waited for.
enum Ready {
    /// Another one has started it.
    Serves(UnixStream),
    /// It is this one's to start, as long as the lock is held.
    Locked(std::fs::File),
}

fn lock_or_connection(directories: &Directories) -> io::Result<Ready> {
    let end = Instant::now() + LOCK_LIMIT;
    loop {
        let lock = socket::try_lock(&directories.socket, socket::START_LOCK)?;
        if let Ok(stream) = socket::connect(&directories.socket) {
            return Ok(Ready::Serves(stream));
        }
        if let Some(lock) = lock {
            return Ok(Ready::Locked(lock));
        }
        if Instant::now() >= end {
            let seconds = LOCK_LIMIT.as_secs();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("held by another process for {seconds} s")));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Starts the daemon and waits until it serves. Gives what it says where it does not.
fn start(directories: &Directories) -> io::Result<String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pumphouse").args(["daemon", detach::FLAG]).current_dir("/").env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)));
    if std::env::var_os("PUMPHOUSE_DIR").is_some_and(|directory| !directory.is_empty()) {
        command.env("PUMPHOUSE_DIR", &directories.state);
    }
    inherited::await_children();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let said = last_words(&mut child)?;
    if child.wait()?.success() {
        return Ok(String::new());
    }
    Ok(if said.is_empty() { log_says_why(&directories.state) } else { said })
}

/// Awaits the end of what starts the daemon, and gives what it said.
fn last_words(child: &mut Child) -> io::Result<String> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(String::new()) };
    let limit = Timespec { tv_sec: START_LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    // Its few bytes come at once, or none do until its end.
    let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit)))?;
    if ready == 0 {
        let seconds = START_LIMIT.as_secs();
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it does not serve within {seconds} s")));
    }
    let mut said = Vec::new();
    (&mut stdout).take(WORD_SIZE_BYTES).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

fn log_says_why(state: &Path) -> String {
    format!("{} says why", state.join(LOG).display())
}

fn is_inherited(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let is_setting = bytes.starts_with(b"PUMPHOUSE_") && !LAUNCHERS_VARIABLES.iter().any(|variable| name == *variable);
    is_setting || bytes.starts_with(b"XDG_") || INHERITED_VARIABLES.iter().any(|variable| name == *variable)
}
