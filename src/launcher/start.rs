//! Starting the daemon: exactly one, however many launchers find none at the same time.

use crate::daemon::detach;
use crate::ipc::DEPTH_VARIABLE;
use crate::ipc::socket::{self, Directories, LOG};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The environment variables that a daemon inherits besides `PUMPHOUSE_*` and `XDG_*`: it serves every build of its user,
/// so what one of them happens to have set is none of its business.
const INHERITED_VARIABLES: &[&str] = &["HOME", "LOGNAME", "PATH", "TMPDIR", "USER"];

/// The file in the socket's directory whose time stamp says when the daemon failed to start.
const FAILED: &str = "daemon.failed";

/// How long after a failure the daemon is started again.
const RETRY_INTERVAL: Duration = Duration::from_secs(20);

/// Starts the daemon of `directories` unless another launcher just did, and connects to it.
///
/// # Errors
/// It can't be started.
pub(super) fn start_daemon(directories: &Directories) -> io::Result<UnixStream> {
    directories.create()?;
    let _lock = socket::lock(&directories.socket, socket::START_LOCK)?;
    if let Ok(stream) = socket::connect(&directories.socket) {
        return Ok(stream);
    }
    if failed_lately(directories) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pumphouse").args(["daemon", detach::FLAG]).current_dir("/").env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)));
    if std::env::var_os("PUMPHOUSE_DIR").is_some_and(|directory| !directory.is_empty()) {
        command.env("PUMPHOUSE_DIR", &directories.state);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() {
        return socket::connect(&directories.socket);
    }
    // Its end is remembered only where it can be.
    let _ = std::fs::write(directories.socket.join(FAILED), "");
    Err(io::Error::other(format!("the daemon did not start; {} says why", directories.state.join(LOG).display())))
}

/// Whether the daemon failed to start a moment ago, so that trying again for every compile would only cost time.
fn failed_lately(directories: &Directories) -> bool {
    let failed = std::fs::metadata(directories.socket.join(FAILED)).and_then(|metadata| metadata.modified());
    failed.is_ok_and(|failed| failed.elapsed().is_ok_and(|age| age < RETRY_INTERVAL))
}

fn is_inherited(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let is_own = bytes.starts_with(b"PUMPHOUSE_") && bytes != DEPTH_VARIABLE.as_bytes();
    is_own || bytes.starts_with(b"XDG_") || INHERITED_VARIABLES.iter().any(|variable| name == *variable)
}
