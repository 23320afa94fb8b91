//! What a server is told: where it listens, where it stores, and every limit by name.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port that clients and workers expect.
pub const DEFAULT_PORT: u16 = 8980;

/// A server's configuration. [`Config::default`] is a server for one machine, except for `dir`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of all services; port 0 has the kernel choose.
    pub listen: SocketAddr,
    /// Where blobs and action results are kept. Created if absent; one server at a time.
    pub dir: PathBuf,
    /// The bytes that blobs may take. May be exceeded by a quarter while all of them are promised to somebody.
    pub cas_size_bytes: u64,
    /// The bytes that action results may take.
    pub action_cache_size_bytes: u64,
    /// The memory that small blobs and action results take.
    pub memory_size_bytes: u64,
    /// What stays free on the file system.
    pub free_disk_bytes: u64,
    /// The largest blob.
    pub blob_size_bytes: u64,
    /// How much of what is stored is read in a second, in search of rot; none at 0.
    pub scrub_bytes_per_second: u64,
    /// How long a blob stays after a client was told that it is there. Where there is no room without it, what comes is refused.
    pub promised_lifetime: Duration,
    /// How long an action may run that names no timeout.
    pub default_action_timeout: Duration,
    /// The longest timeout that an action may name.
    pub max_action_timeout: Duration,
    /// What the scheduler waits for, and how long.
    pub scheduler: crate::scheduler::Limits,
    /// How long running actions may go on after shutdown was asked for.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const GIB: u64 = 1024 * 1024 * 1024;
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            dir: PathBuf::from("pumphouse"),
            cas_size_bytes: 50 * GIB,
            action_cache_size_bytes: 2 * GIB,
            memory_size_bytes: 128 * 1024 * 1024,
            free_disk_bytes: GIB,
            blob_size_bytes: 16 * GIB,
            scrub_bytes_per_second: 4 * 1024 * 1024,
            promised_lifetime: Duration::from_secs(3600),
            default_action_timeout: Duration::from_secs(3600),
            max_action_timeout: Duration::from_secs(24 * 3600),
            scheduler: crate::scheduler::Limits::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
