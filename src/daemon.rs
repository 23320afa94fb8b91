//! The daemon: one for each user and directory, started by the first launcher, gone when idle.
//!
//! It owns everything that outlives a compile: the scanner's memory, the toolchains, the local cache, the connection to
//! the server, the statistics. It runs no compiler for a build: what must run locally is run by the launcher, in the
//! build's own environment. This file knows the daemon's life; what happens to one request is in `session`.

mod audits;
mod company;
mod connection;
pub(crate) mod detach;
mod local_run;
mod processes;
mod session;
mod upkeep;

use crate::compile::Handler;
use crate::config::{Config, Settings};
use crate::heap;
use crate::inherited;
use crate::ipc::socket::{self, Directories, SocketFile, Whereabouts};
use crate::ipc::without;
use crate::stats::Statistics;
use anyhow::{Context as _, bail};
use audits::Audits;
use company::Company;
use std::fs::File;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upkeep::{Upkeep, flush, remember};

/// How many requests are served at a time; more wait in the socket's queue.
const SESSION_LIMIT: usize = 2048;

/// How often what was counted is added to the statistics on disk.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);

/// How often a daemon without work looks whether anybody else is left in its namespace.
const COMPANY_INTERVAL: Duration = Duration::from_secs(5);

/// How long a leaving daemon looks for launchers that connected just before it removed its socket.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How long a daemon that has left its socket may hold its lock.
const LEAVING_LIMIT: Duration = Duration::from_secs(3);

/// How many threads may block at a time. Those that work stand in turns (`compile/turns.rs`); the others wait for file systems.
const BLOCKING_THREADS: usize = 512;

/// How long a daemon that leaves waits for files that don't answer.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(5);

/// How long the runtime's threads wait for the next request before they end.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Has the log hold what these directives say.
pub(crate) type Relog = Box<dyn Fn(&str) + Send + Sync>;

/// What all sessions share.
pub(crate) struct Daemon {
    /// What handles compiles.
    pub handler: Arc<Handler>,
    /// What happened so far.
    pub statistics: Arc<Statistics>,
    settings: Arc<Settings>,
    relog: Relog,
    /// Cancelled when the daemon is to leave.
    leave: CancellationToken,
    /// Cancelled when a leaving daemon's socket and lock are free for another.
    socket_gone: CancellationToken,
    /// Cancelled when nothing runs any more and everything is written.
    finished: CancellationToken,
    started: Instant,
    last_use_ms: AtomicU64,
    /// Told whenever a compile begins or ends.
    used: Notify,
    /// Whether the statistics could not be written the last time.
    flush_failed: AtomicBool,
}

/// How the daemon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Started by a launcher, which waits for a word on standard output.
    ByLauncher,
    /// Started by a user, in the foreground.
    InForeground,
}

/// Runs the daemon until it is idle for long enough, told to stop, or signalled.
///
/// # Errors
/// The directories, the cache or the socket can't be set up, or (in the foreground) another daemon serves already.
pub(crate) fn run(
    settings: Arc<Settings>,
    directories: &Directories,
    statistics: Arc<Statistics>,
    start: Start,
    relog: Relog,
) -> anyhow::Result<()> {
    heap::prepare();
    // Under the user's own mask still: what is missing above the directories is made as well.
    directories.create()?;
    // Outputs get the permissions that the launcher's mask allows, not this process's.
    rustix::process::umask(rustix::fs::Mode::empty());
    inherited::raise_limits();
    let Some(lock) = lock_or_daemon(directories)? else {
        if start == Start::InForeground {
            bail!("{}: another daemon serves this directory", directories.socket.display());
        }
        return Ok(detach::tell_ready()?);
    };
    let listener = socket::bind(&directories.socket)
        .with_context(|| format!("{}: listening", directories.socket.join(socket::SOCKET).display()))?;
    directories.remove_deserted();
    let processors = crate::config::processors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(4))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .enable_all()
        .build()?;
    let daemon = Arc::new(Daemon {
        handler: Arc::new(Handler::new(Arc::clone(&settings), directories, Arc::clone(&statistics))?),
        statistics,
        settings,
        relog,
        leave: CancellationToken::new(),
        socket_gone: CancellationToken::new(),
        finished: CancellationToken::new(),
        started: Instant::now(),
        last_use_ms: AtomicU64::new(0),
        used: Notify::new(),
        flush_failed: AtomicBool::new(false),
    });
    runtime.block_on(async {
        inherited::survive_large_files();
        let file = SocketFile::in_place(&directories.socket)?;
        let socket = Socket { listener: listen(listener)?, file, _lock: lock, directories };
        if start == Start::ByLauncher {
            detach::tell_ready()?;
        }
        tracing::info!(directory = %directories.socket.display(), "serving");
        serve(&daemon, socket).await;
        tracing::info!("leaving");
        anyhow::Ok(())
    })?;
    // Not for ever: what hangs in a dead file system ends with the process.
    runtime.shutdown_timeout(LAST_WRITE_LIMIT);
    Ok(())
}

/// The lock of this directory's daemon; none where another one serves. One that leaves still holds it for a moment.
fn lock_or_daemon(directories: &Directories) -> anyhow::Result<Option<File>> {
    let path = directories.socket.join(socket::DAEMON_LOCK);
    let end = Instant::now() + LEAVING_LIMIT;
    loop {
        let lock = socket::try_lock(&directories.socket, socket::DAEMON_LOCK);
        if let Some(lock) = lock.with_context(|| path.display().to_string())? {
            return Ok(Some(lock));
        }
        if socket::connect(&directories.socket).is_ok() {
            return Ok(None);
        }
        if Instant::now() >= end {
            bail!("{}: held by a process that does not serve", path.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The socket as long as it is this daemon's.
struct Socket<'a> {
    listener: UnixListener,
    file: SocketFile,
    _lock: File,
    directories: &'a Directories,
}

fn listen(listener: StdListener) -> anyhow::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

async fn serve(daemon: &Arc<Daemon>, socket: Socket<'_>) {
    let compiles = TaskTracker::new();
    let controls = TaskTracker::new();
    let sessions = Arc::new(Semaphore::new(SESSION_LIMIT));
    accept_until_leaving(daemon, &socket, &compiles, &controls, &sessions).await;
    // Whoever finds no socket starts another daemon; whoever connected before is still served.
    socket.file.remove(&socket.directories.socket);
    while let Ok(Ok((stream, _))) = tokio::time::timeout(LAST_LOOK, socket.listener.accept()).await {
        session::spawn(daemon, stream, &compiles, &controls, None);
    }
    if matches!(Company::now(), Company::Alone) {
        // Nobody will look for a socket here again.
        socket.directories.remove_socket_directory();
    }
    drop(socket);
    daemon.socket_gone.cancel();
    compiles.close();
    let second_signal = signalled();
    tokio::select! {
        () = compiles.wait() => {}
        () = second_signal => tracing::warn!("signalled while leaving; compiles are abandoned to their launchers"),
    }
    let writes = async {
        remember(daemon).await;
        flush(daemon).await;
    };
    if tokio::time::timeout(LAST_WRITE_LIMIT, writes).await.is_err() {
        tracing::warn!("leaving without having written everything: the state directory does not answer");
    }
    daemon.finished.cancel();
    controls.close();
    controls.wait().await;
}

async fn accept_until_leaving(
    daemon: &Arc<Daemon>,
    socket: &Socket<'_>,
    compiles: &TaskTracker,
    controls: &TaskTracker,
    sessions: &Arc<Semaphore>,
) {
    let mut flushes = tokio::time::interval(FLUSH_INTERVAL);
    flushes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let signalled = signalled();
    tokio::pin!(signalled);
    let mut upkeep = Upkeep::default();
    let mut looked = Instant::now();
    let mut audits = Audits::new();
    let mut changes = daemon.settings.subscribe();
    let mut config = daemon.settings.current();
    loop {
        let accept = async {
            let permit = Arc::clone(sessions).acquire_owned().await.ok();
            (socket.listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = accept => match accepted {
                Ok((stream, _)) => session::spawn(daemon, stream, compiles, controls, permit),
                Err(error) => {
                    // Out of descriptors, for instance: launchers wait or compile by themselves.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(LAST_LOOK).await;
                }
            },
            _ = flushes.tick() => {
                upkeep.tick(daemon, compiles);
                match socket.file.put_back(&socket.directories.socket) {
                    Whereabouts::InPlace => {}
                    Whereabouts::PutBack => {
                        without::forget_failure(socket.directories);
                        tracing::warn!("this daemon was not heard for a while, and launchers did without it");
                    }
                    Whereabouts::Gone => {
                        tracing::warn!("leaving, since nobody finds the socket any more");
                        return;
                    }
                }
                if compiles.is_empty() && daemon.idle_time() >= config.idle_timeout {
                    return;
                }
                if compiles.is_empty() {
                    audits.tick(daemon).await;
                }
                if compiles.is_empty() && looked.elapsed() >= COMPANY_INTERVAL && daemon.idle_time() >= COMPANY_INTERVAL {
                    looked = Instant::now();
                    match Company::now() {
                        Company::AtHome | Company::Others => {}
                        Company::Unknown if daemon.idle_time() < company::BLIND_IDLE_TIMEOUT => {}
                        company => {
                            tracing::info!(?company, "leaving a namespace to itself");
                            return;
                        }
                    }
                }
            }
            // The daemon has the other end, so there is always a next value to wait for.
            Ok(()) = changes.changed() => {
                let new = Arc::clone(&changes.borrow_and_update());
                daemon.configure(&config, &new);
                config = new;
            }
            () = daemon.leave.cancelled() => return,
            () = &mut signalled => return,
        }
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Daemon {
    /// Takes a configuration that has changed from `old` to `new`. Running compiles go on as they began.
    fn configure(&self, old: &Config, new: &Config) {
        self.handler.configure(old, new);
        if old.log != new.log {
            (self.relog)(&new.log);
        }
    }

    /// Notes that the daemon is in use.
    fn touch(&self) {
        self.last_use_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.used.notify_waiters();
    }

    fn idle_time(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_use_ms.load(Ordering::Relaxed)))
    }
}
