//! What a server is told: where it listens, where it stores, and every limit by name.

mod file;

use crate::access::Policy;
use pumphouse_proto::reapi::Platform;
use pumphouse_proto::reapi::platform::Property;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

/// The port that clients and workers expect.
pub const DEFAULT_PORT: u16 = 8980;

/// Less holds no result worth the name.
const SMALLEST_SIZE_BYTES: u64 = 64 * 1024;

/// Less holds no message of the greatest size for two peers.
const SMALLEST_MESSAGES_SIZE_BYTES: u64 = 16 * 1024 * 1024;

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
    /// How many connections are open at a time; further ones wait to be accepted.
    pub connections: usize,
    /// How many of them one peer may have.
    pub connections_per_peer: usize,
    /// What all messages that come and go may take of the memory together; one peer may have half of it.
    pub messages_size_bytes: u64,
    /// An address for workers alone, who then aren't served at the other one.
    pub worker_listen: Option<SocketAddr>,
    /// Whether there is to be an address for a worker of this very process; see [`crate::Server::private_token`].
    pub has_private_worker: bool,
    /// How connections are encrypted; `None` for not at all.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub access: Policy,
    /// The beginnings of addresses from which blobs are brought that clients ask for by address.
    pub fetch_origins: Vec<String>,
    /// What is special about instances, by their names.
    pub instances: BTreeMap<String, Instance>,
    /// Whether everyone is served even where connections come from elsewhere and nobody can become known.
    pub insecure: bool,
}

/// How connections are encrypted. All files are PEM, and read again when they change.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// The server's certificate, and those between it and the authority.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The authorities whose certificates clients may show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients without a certificate are turned away.
    #[serde(default, rename = "demand-client-certificate")]
    pub demands_client_certificate: bool,
}

/// What is special about an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Instance {
    /// The platform properties of its actions, where they don't give the property themselves.
    pub platform: BTreeMap<String, String>,
}

impl Config {
    /// The properties that hold for actions of an instance that don't give them.
    pub(crate) fn default_platform(&self, instance_name: &str) -> Option<Platform> {
        let properties = &self.instances.get(instance_name)?.platform;
        let property = |(name, value): (&String, &String)| Property { name: name.clone(), value: value.clone() };
        Some(Platform { properties: properties.iter().map(property).collect() })
    }

    /// Whether the server may be started so.
    ///
    /// # Errors
    /// It would serve strangers, or has a bound that makes no sense; says what can be done.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, size, least) in [
            ("cas-size", self.cas_size_bytes, SMALLEST_SIZE_BYTES),
            ("action-cache-size", self.action_cache_size_bytes, SMALLEST_SIZE_BYTES),
            ("blob-size", self.blob_size_bytes, SMALLEST_SIZE_BYTES),
            ("messages-size", self.messages_size_bytes, SMALLEST_MESSAGES_SIZE_BYTES),
            ("connections", self.connections as u64, 1),
            ("connections-per-peer", self.connections_per_peer as u64, 1),
            ("attempts", u64::from(self.scheduler.attempts), 1),
            ("queued-tasks", self.scheduler.queued_tasks as u64, 1),
        ] {
            anyhow::ensure!(size >= least, "{name}: {size} is less than {least}, the least with which anything works");
        }
        anyhow::ensure!(
            self.default_action_timeout <= self.max_action_timeout,
            "default-action-timeout: {:?} is more than max-action-timeout, {:?}",
            self.default_action_timeout,
            self.max_action_timeout
        );
        anyhow::ensure!(
            self.worker_listen.is_none() || !self.has_private_worker,
            "worker-listen: this process has a worker of its own; run `pumphouse server` and `pumphouse worker` apart"
        );
        let demands =
            self.tls.as_ref().is_some_and(|tls| tls.demands_client_certificate && tls.client_ca_file.is_none());
        anyhow::ensure!(
            !demands,
            "demand-client-certificate: needs client-ca-file, whose certificates clients may show"
        );
        let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let is_local = is_loopback(&self.listen) && self.worker_listen.as_ref().is_none_or(is_loopback);
        anyhow::ensure!(
            is_local || self.insecure || self.access.knows_anyone() || self.access.anonymous.is_some(),
            "{}: whoever reaches this address would be served. Say who is known (--identities, --tls-client-ca, or \
             [access.jwt] in the configuration), or --insecure",
            self.listen
        );
        let is_plain = self.tls.is_none() && self.access.knows_anyone();
        if is_plain && !is_local {
            tracing::warn!(listen = %self.listen, "credentials come unencrypted: give --tls-certificate and --tls-key");
        }
        Ok(())
    }
}

/// Reads an address to listen at: `HOST:PORT` with a name or an address, or `:PORT` for every address of this machine.
///
/// # Errors
/// It is none, or the name is not known; quotes it.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let refused = |why: &str| format!("{text:?} is no address to listen at, such as localhost:{DEFAULT_PORT}: {why}");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| refused("there is no port"))?;
    let port: u16 = port.parse().map_err(|_| refused("the port is no number up to 65535"))?;
    if host.is_empty() {
        // One socket serves both families where the machine has both.
        let has_ipv6 = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
        let every = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::UNSPECIFIED) };
        return Ok(SocketAddr::new(every, port));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let addresses = (host, port).to_socket_addrs().map_err(|error| refused(&error.to_string()))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or(addresses.first()).copied().ok_or_else(|| refused("the name has no address"))
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
            connections: 16_384,
            connections_per_peer: 2048,
            messages_size_bytes: 512 * 1024 * 1024,
            worker_listen: None,
            has_private_worker: false,
            tls: None,
            access: Policy::default(),
            fetch_origins: Vec::new(),
            instances: BTreeMap::new(),
            insecure: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_at_are_read_as_people_write_them() {
        for (text, expect) in [
            ("127.0.0.1:8980", Some("127.0.0.1:8980")),
            ("[::]:1", Some("[::]:1")),
            ("[::1]:0", Some("[::1]:0")),
            ("localhost:8980", Some("127.0.0.1:8980")),
            ("localhost", None),
            ("8980", None),
            ("127.0.0.1:99999", None),
            ("no such host:1", None),
            ("", None),
        ] {
            let read = parse_listen(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expect, "{text:?}");
        }
        let every = parse_listen(":8980").expect("is an address");
        assert!(every.ip().is_unspecified() && every.port() == 8980);
    }

    #[test]
    fn strangers_are_served_only_where_that_is_said() {
        let elsewhere = || Config { listen: "192.0.2.1:8980".parse().expect("an address"), ..Config::default() };
        let known = Policy { identities_file: Some("identities.toml".into()), ..Policy::default() };
        let anonymous = Policy { anonymous: Some(crate::access::Roles::NONE), ..Policy::default() };
        Config::default().check().expect("is local");
        Config { insecure: true, ..elsewhere() }.check().expect("is meant so");
        Config { access: known, ..elsewhere() }.check().expect("has identities");
        Config { access: anonymous, ..elsewhere() }.check().expect("says what strangers may");
        let workers = Config { worker_listen: Some(elsewhere().listen), ..Config::default() };
        for config in [elsewhere(), workers] {
            let error = config.check().expect_err("is open").to_string();
            assert!(error.contains("--identities") && error.contains("--insecure"), "{error}");
        }
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused_by_name() {
        let default = Config::default;
        let error = |config: Config| config.check().expect_err("makes no sense").to_string();
        assert!(error(Config { cas_size_bytes: 0, ..default() }).contains("cas-size"));
        assert!(error(Config { connections: 0, ..default() }).contains("connections"));
        let workers = Config { worker_listen: Some(default().listen), has_private_worker: true, ..default() };
        assert!(error(workers).contains("worker-listen"));
        let tls = Tls {
            certificate_file: "c".into(),
            key_file: "k".into(),
            client_ca_file: None,
            demands_client_certificate: true,
        };
        assert!(error(Config { tls: Some(tls), ..default() }).contains("client-ca-file"));
        assert!(error(Config { max_action_timeout: Duration::ZERO, ..default() }).contains("action-timeout"));
    }
}
