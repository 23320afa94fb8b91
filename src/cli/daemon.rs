//! `pumphouse daemon`.

use super::{failure, log};
use crate::config::{Config, Flags, Settings};
use crate::daemon::{self, Relog, Start, detach};
use crate::ipc::socket::{Directories, LOG};
use crate::stats::Statistics;
use anyhow::Context as _;
use clap::Args;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The log of the daemon before.
const PREVIOUS_LOG: &str = "daemon.log.1";

/// The arguments of `pumphouse daemon`.
#[derive(Debug, Args)]
pub(super) struct DaemonArguments {
    /// Stay in the foreground and log to standard error
    #[arg(long)]
    foreground: bool,
    /// Leave the process that started it (launchers do so)
    #[arg(long, hide = true, conflicts_with = "foreground")]
    detach: bool,
    /// The server, as grpc://HOST:PORT[/INSTANCE], for compiles whose environment names none
    #[arg(long, value_name = "ADDRESS")]
    remote: Option<String>,
    /// The bound of the local cache, such as 500M or 10G
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<String>,
    /// Seconds without work after which the daemon leaves
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u64>,
    /// Compiles that run on this machine at a time
    #[arg(long, value_name = "N")]
    local_jobs: Option<usize>,
    /// Log more: once for decisions, twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Runs the daemon, or starts it in the background.
pub(super) fn run(arguments: &DaemonArguments) -> anyhow::Result<()> {
    if arguments.detach {
        return in_background();
    }
    let flags = Flags {
        remote: arguments.remote.clone(),
        cache_size: arguments.cache_size.clone(),
        idle_timeout_seconds: arguments.idle_timeout,
        local_jobs: arguments.local_jobs,
        log: match arguments.verbose {
            0 => None,
            1 => Some("debug".to_owned()),
            _ => Some("trace,h2=debug".to_owned()),
        },
    };
    let directories = Directories::from_environment()?;
    if arguments.foreground {
        // Whoever looks on is told of a configuration that is refused, and mends it.
        Config::load(&flags)?;
        let settings = Settings::load(flags)?;
        let relog = log::to_stderr(&settings.current().log)?;
        let statistics = Arc::new(Statistics::new(&directories));
        return daemon::run(Arc::new(settings), &directories, statistics, Start::InForeground, relog);
    }
    directories.create()?;
    let result = serve(flags, &directories);
    if let Err(error) = &result {
        // The one who started it waits for a word.
        let _ = writeln!(io::stdout(), "{}", failure::words(error));
    }
    result
}

/// Starts the daemon, and says on standard output why it does not serve: launchers read it there.
fn in_background() -> anyhow::Result<()> {
    let result = detach::detach();
    if let Err(error) = &result {
        let _ = writeln!(io::stdout(), "{error}");
    }
    result.context("starting the daemon")
}

fn serve(flags: Flags, directories: &Directories) -> anyhow::Result<()> {
    let statistics = Arc::new(Statistics::new(directories));
    let settings = Settings::load(flags);
    let directives = settings.as_ref().map_or(log::DEFAULT.to_owned(), |settings| settings.current().log.clone());
    let relog = log_to_file(&directives, directories, &statistics)?;
    if let Some(error) = settings.as_ref().ok().and_then(Settings::refused) {
        tracing::warn!("{error}; the defaults hold until it is mended");
    }
    let result = settings.map_err(Into::into).and_then(|settings| {
        daemon::run(Arc::new(settings), directories, Arc::clone(&statistics), Start::ByLauncher, relog)
    });
    if let Err(error) = &result {
        tracing::error!("{}", failure::words(error));
    }
    result
}

/// Logs to the state directory's log. Where that is another daemon's, which serves another view of the file system, to one
/// beside the socket.
fn log_to_file(directives: &str, directories: &Directories, statistics: &Arc<Statistics>) -> anyhow::Result<Relog> {
    let shared = directories.state.join(LOG);
    let opening = |path: &Path| format!("{}: opening the log", path.display());
    let lock = |file: &File| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let is_taken = File::open(&shared).is_ok_and(|file| !lock(&file));
    let path = if is_taken { directories.socket.join(LOG) } else { shared };
    // Keeping the last log, too, tells what happened before a restart.
    let _ = std::fs::rename(&path, path.with_file_name(PREVIOUS_LOG));
    // It names commands and files, and the directory may be open to others.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let file = file.with_context(|| opening(&path))?;
    // Held as long as the daemon runs. Two that start at the same moment may have one log, which only harms readers.
    let _ = lock(&file);
    log::to_file(directives, file, statistics)
}
