//! What a worker is told at its start, with defaults for all but the server and the directory.

use crate::sandbox::{Level, Limits, NEUTRAL_EXEC_ROOT};
use pumphouse_proto::cas::LocalCas;
use pumphouse_proto::connection::Credentials;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the blob cache may take of the disk.
pub const DEFAULT_CACHE_SIZE_BYTES: u64 = 20 * 1024 * 1024 * 1024;

/// How long a worker that leaves waits for its runs.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// How many files an action may create.
const DEFAULT_SCRATCH_FILES: u64 = 1_000_000;

/// How many processes an action may have at a time.
const DEFAULT_PROCESSES: u64 = 4096;

/// How much of each of standard output and standard error is taken.
const DEFAULT_OUTPUT_SIZE_BYTES: u64 = 32 * 1024 * 1024;

/// The directories below `/` that actions without an absolute input root see where the host has them.
const DEFAULT_HOST_ENTRIES: [&str; 9] =
    ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin", "/usr"];

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server: `grpc[s]://HOST:PORT`.
    pub server: String,
    /// What makes the worker known to it, and it to the worker.
    pub credentials: Credentials,
    /// The server's CAS, where it is in this process: then no blob is sent, and large ones are not stored a second time.
    pub local_cas: Option<Arc<dyn LocalCas>>,
    /// The worker's own directory, for blobs and replicas, which must be one file system with hard links.
    pub dir: PathBuf,
    /// How many actions run at a time.
    pub slots: usize,
    /// What the blob cache may take of the disk, in bytes.
    pub cache_size_bytes: u64,
    /// Unique among the server's workers.
    pub worker_id: String,
    /// For people.
    pub display_name: String,
    /// What actions can ask for, besides what the worker finds out itself.
    pub properties: Vec<(String, String)>,
    /// The best isolation to use; what this machine can't do is not used in any case.
    pub isolation: Level,
    /// Where to say over HTTP that the worker is well.
    pub health_listen: Option<SocketAddr>,
    /// How long a worker that leaves waits for its runs.
    pub drain_timeout: Duration,
    /// Where the input root of an action stands that says nothing of it: as `/`, it is the whole root directory.
    pub exec_root: PathBuf,
    /// Directories directly below `/` that actions without an absolute input root see, read-only.
    pub host_entries: Vec<PathBuf>,
    /// How much an action may write in all, in bytes; it is memory. Half of the machine's by default.
    pub scratch_size_bytes: u64,
    /// How much memory an action may take, in bytes. Where there are no control groups each of its processes may.
    pub memory_size_bytes: Option<u64>,
    /// How many processes an action may have at a time.
    pub processes: u64,
}

impl Config {
    /// The defaults for a worker of `server` that keeps its files in `dir`: a slot for each core.
    pub fn new(server: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            server: server.into(),
            credentials: Credentials::default(),
            local_cas: None,
            dir: dir.into(),
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            cache_size_bytes: DEFAULT_CACHE_SIZE_BYTES,
            worker_id: unique_id(&host),
            display_name: host,
            properties: Vec::new(),
            isolation: Level::UserNamespaces,
            health_listen: None,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            exec_root: PathBuf::from(NEUTRAL_EXEC_ROOT),
            host_entries: DEFAULT_HOST_ENTRIES.iter().map(PathBuf::from).collect(),
            scratch_size_bytes: rustix::system::sysinfo().totalram as u64 / 2,
            memory_size_bytes: None,
            processes: DEFAULT_PROCESSES,
        }
    }

    /// What confines every action.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            host_entries: self.host_entries.clone(),
            scratch_size_bytes: self.scratch_size_bytes,
            scratch_files: DEFAULT_SCRATCH_FILES,
            processes: self.processes,
            memory_size_bytes: self.memory_size_bytes,
            output_size_bytes: DEFAULT_OUTPUT_SIZE_BYTES,
        }
    }
}

/// A name that no other worker has: the host's, the process's and a random number.
fn unique_id(host: &str) -> String {
    let mut random = [0; 8];
    // Without random numbers the host and the process must do.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    format!("{host}-{}-{}", std::process::id(), const_hex::encode(random))
}
