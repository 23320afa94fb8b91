//! The machine that runs actions: it holds their inputs, confines their commands, and stores what they make.
//!
//! The modules in the order that an action travels:
//! [`session`] hears of it, [`executor`] leads it, [`action`] reads it, [`slots`] gives it a place, [`directories`] and
//! [`blob_cache`] bring its inputs from a [`blob_source`], [`replica`] lays them out, [`sandbox`] runs its command, [`outputs`] finds what that
//! has made; [`error`] says why there is no result.

/// Reading actions.
pub mod action;
/// Blobs on the worker's disk.
pub mod blob_cache;
/// Where blobs come from and go to.
pub mod blob_source;
/// What a worker is told at its start.
pub mod config;
/// Directories in the worker's memory.
pub mod directories;
/// Why an action has no result.
pub mod error;
/// An action from its digest to its result.
pub mod executor;
/// Whether the worker is up, for those who look after it.
pub mod health;
mod in_root;
/// Kills for want of memory.
pub mod memory_pressure;
/// What commands make.
pub mod outputs;
/// Input roots on disk.
pub mod replica;
/// Running commands confined.
pub mod sandbox;
/// The talk with the scheduler.
pub mod session;
/// Where actions run.
pub mod slots;

pub use config::Config;

use anyhow::Context as _;
use blob_cache::BlobCache;
use blob_source::Storage;
use directories::DirectoryCache;
use executor::Executor;
use memory_pressure::MemoryPressure;
use pumphouse_proto::address::Address;
use pumphouse_proto::connection::{Connection, Dialer};
use pumphouse_proto::reapi::Platform;
use pumphouse_proto::reapi::platform::Property;
use sandbox::{ControlGroups, Isolation, NEUTRAL_EXEC_ROOT};
use session::{Identity, Session};
use slots::Slots;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent connection is tried, and how long the answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How large the directories are that a worker keeps in memory, as messages.
const DIRECTORIES_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// Works for the server until `shutdown`, then finishes what runs, for at most [`Config::drain_timeout`].
///
/// # Errors
/// The configuration can't be used: the directory can't be written to, nothing can be run, the address is malformed.
/// A server that is away is waited for.
pub async fn run(mut config: Config, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let _lock = claim_directory(&config)?;
    // Supervisors have another working directory.
    config.dir = fs::canonicalize(&config.dir).with_context(|| format!("looking for {}", config.dir.display()))?;
    let limits = config.limits();
    let isolation = Isolation::probe(config.isolation, &limits, &config.dir).await?;
    anyhow::ensure!(
        isolation.reproduces_absolute_paths() || config.exec_root == Path::new(NEUTRAL_EXEC_ROOT),
        "input roots can't stand at {}: isolation: {isolation}",
        config.exec_root.display()
    );
    // Nobody needs to read it.
    let _ = writeln!(std::io::stderr(), "isolation: {isolation}");
    tracing::info!(%isolation, slots = config.slots, "worker starts");
    let blobs = BlobCache::open(&config.dir.join("blobs"), config.cache_size_bytes, config.local_cas.as_deref())?;
    std::thread::spawn({
        let blobs = Arc::clone(&blobs);
        move || blobs.recover()
    });
    let groups = control_groups(&config);
    let slots = Slots::create(&config.dir.join("slots"), config.slots, &isolation, &limits, &blobs, groups)?;
    let channel = connect(&config)?;
    let executor = Arc::new(Executor {
        storage: config.local_cas.take().map_or_else(|| Storage::Remote(channel.clone()), Storage::InProcess),
        slots,
        blobs,
        directories: DirectoryCache::new(DIRECTORIES_SIZE_BYTES),
        exec_root: config.exec_root.clone(),
        display_name: config.display_name.clone(),
        memory_pressure: MemoryPressure::new(),
    });
    let draining = CancellationToken::new();
    let identity = Identity {
        worker_id: config.worker_id.clone(),
        display_name: config.display_name.clone(),
        platform: platform(&config, &isolation),
        slots: u32::try_from(config.slots).context("too many slots")?,
    };
    let _health = match config.health_listen {
        Some(address) => Some(health::serve(address, draining.clone()).await?),
        None => None,
    };
    let session = Session::new(channel, identity, executor, draining.clone());
    let drain = async {
        shutdown.await;
        tracing::info!("worker drains");
        draining.cancel();
        tokio::time::sleep(config.drain_timeout).await;
    };
    tokio::select! {
        () = session.run() => {}
        () = drain => tracing::warn!("worker leaves runs behind: the drain took too long"),
    }
    Ok(())
}

/// The file in a worker's directory by which it keeps others out.
const LOCK: &str = "lock";

/// Groups that hold a limit on memory, where one is asked for. The number of processes has limits without them.
fn control_groups(config: &Config) -> ControlGroups {
    if config.memory_size_bytes.is_none() {
        return ControlGroups::default();
    }
    ControlGroups::create(config.slots, config.memory_size_bytes, config.processes).unwrap_or_else(|why| {
        tracing::warn!("no control groups, the limit on memory holds for single processes: {why:#}");
        ControlGroups::default()
    })
}

/// Whether `dir` is neither empty nor a worker's: its mode is then none of a worker's business.
fn holds_other_things(dir: &Path) -> std::io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(dir)? {
        // A volume of its own has that.
        is_empty &= entry?.file_name() == "lost+found";
    }
    Ok(!is_empty && !dir.join(LOCK).exists())
}

/// Makes the worker's directory, for its own eyes only, and keeps other workers out of it.
fn claim_directory(config: &Config) -> anyhow::Result<fs::File> {
    let dir = &config.dir;
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    if holds_other_things(dir).with_context(|| format!("reading {}", dir.display()))? {
        anyhow::bail!("{} holds other things: name an empty directory, or one of a worker", dir.display());
    }
    // Actions at the chroot level reach their root directory below it.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
        .with_context(|| format!("setting the mode of {}", dir.display()))?;
    let path = dir.join(LOCK);
    let lock = fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => anyhow::bail!("another worker uses {}", dir.display()),
        Err(error) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// A connection that is made when it is first used, and again whenever it must.
fn connect(config: &Config) -> anyhow::Result<Connection> {
    let address = Address::parse(&config.server).context("--server")?;
    let tune = |endpoint: tonic::transport::Endpoint| {
        endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
    };
    let dialer = Dialer::new(&address, &config.credentials, tune);
    Ok(dialer.with_context(|| format!("connecting to {address}"))?.connect_lazy())
}

/// What actions can ask for: a property that takes any absolute path is offered with the value `*`.
fn platform(config: &Config, isolation: &Isolation) -> Platform {
    let mut properties = config.properties.clone();
    let mut add = |name: &str, value: &str| {
        if !properties.iter().any(|(own, _)| own == name) {
            properties.push((name.to_owned(), value.to_owned()));
        }
    };
    add("OSFamily", "linux");
    add("ISA", if cfg!(target_arch = "x86_64") { "x86-64" } else { std::env::consts::ARCH });
    add("isolation", isolation.name());
    if isolation.reproduces_absolute_paths() {
        add(action::ABSOLUTE_PATH_PROPERTY, "*");
    }
    let mut properties: Vec<Property> = properties.into_iter().map(|(name, value)| Property { name, value }).collect();
    properties.sort_by(|one, other| (&one.name, &one.value).cmp(&(&other.name, &other.value)));
    Platform { properties }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_others_is_no_worker_s() {
        let scratch = tempfile::tempdir().expect("scratch");
        let holds = || holds_other_things(scratch.path()).expect("read");
        fs::create_dir(scratch.path().join("lost+found")).expect("made");
        assert!(!holds(), "a volume");
        fs::write(scratch.path().join("letter"), "").expect("written");
        assert!(holds());
        fs::write(scratch.path().join(LOCK), "").expect("written");
        assert!(!holds(), "a worker was here before");
    }
}
