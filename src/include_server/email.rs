//! Mail to those who look after a build farm: `--email`.
//!
//! The local `sendmail` takes the mail, as it does for cron; without one, that is said once.
//!
//! **Source:** `include_server(1)`; sendmail(8) for `-t`.

use crate::include_server::log::Log;
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The variable that names whom to write to.
pub(super) const VARIABLE: &str = "DISTCC_EMAILLOG_WHOM_TO_BLAME";
/// Whom to write to otherwise.
const DEFAULT_ADDRESS: &str = "distcc-pump-errors";
const SUBJECT: &str = "distcc-pump include server email";
/// Where `sendmail` is, if it is not found through `PATH`.
const USUAL_PLACES: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// Sends mails, up to a bound.
#[derive(Debug)]
pub(super) struct Mailer {
    address: String,
    bound: u32,
    sent: Mutex<u32>,
    log: Log,
}

/// Whether a mail is sent past the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Up to the bound.
    Usual,
    /// Mailed in any case: the include server itself is in trouble.
    Urgent,
}

impl Mailer {
    /// A mailer to `address` (that of [`VARIABLE`], or else the usual one), of at most `bound` mails.
    ///
    /// # Errors
    /// When the address would not stay in its line of the mail.
    pub(super) fn new(address: Option<&OsStr>, bound: u32, log: Log) -> anyhow::Result<Self> {
        let address = address.unwrap_or(OsStr::new(DEFAULT_ADDRESS));
        if address.is_empty() || address.as_bytes().iter().any(u8::is_ascii_control) || address.to_str().is_none() {
            anyhow::bail!("{VARIABLE}={} is not an address", address.display());
        }
        Ok(Self { address: address.to_string_lossy().into_owned(), bound, sent: Mutex::new(0), log })
    }

    /// Sends `text`, where the bound allows it. Blocks until `sendmail` has taken it.
    pub(super) fn send(&self, text: &str, urgency: Urgency) {
        let number = {
            let mut sent = self.sent.lock();
            if *sent >= self.bound && urgency == Urgency::Usual {
                return;
            }
            *sent += 1;
            *sent
        };
        let mail = format!(
            "To: {}\nSubject: {SUBJECT}\nAuto-Submitted: auto-generated\n\nAutomated email number {number} of this include \
             server.\n\n{text}\n",
            self.address
        );
        match deliver(&mail) {
            Ok(()) => self.log.warning(format_args!("include server sent email to {}", self.address)),
            Err(error) => {
                self.log
                    .warning(format_args!("couldn't send email to {}, who should know of this: {error}", self.address));
            }
        }
    }
}

fn deliver(mail: &str) -> Result<(), String> {
    let program = sendmail().ok_or("there is no sendmail")?;
    let explain = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut child = Command::new(&program)
        .args(["-i", "-t"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(explain)?;
    let written = child.stdin.take().expect("it is piped").write_all(mail.as_bytes());
    let status = child.wait().map_err(explain)?;
    if !status.success() {
        return Err(format!("{}: {status}", program.display()));
    }
    written.map_err(explain)
}

fn sendmail() -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&search).map(|directory| directory.join("sendmail"));
    found.chain(USUAL_PLACES.map(PathBuf::from)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
