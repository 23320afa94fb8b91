//! `pumphouse up`, `pumphouse server` and `pumphouse worker`: the other side, in one process or in several.

use super::log;
use crate::inherited;
use crate::ipc::socket::Directories;
use anyhow::Context as _;
use clap::Args;
use pumphouse_proto::connection::Credentials;
use pumphouse_proto::size::parse_size;
use pumphouse_server::Server;
use pumphouse_server::access::{Role, Roles};
use pumphouse_server::config::{Tls, parse_listen};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the worker of `pumphouse up` keeps of small blobs: the server's store, which has them too, is at hand.
const SMALL_BLOBS_SIZE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// How `pumphouse up` is told what to do.
#[derive(Debug, Args)]
pub(super) struct UpArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Actions that run at a time [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = parse_slots)]
    slots: Option<usize>,
    /// The bound of the blobs that the worker keeps besides those above 64 KiB, which it shares with the server [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    worker_cache_size: Option<u64>,
    /// Where the input root of an action stands that doesn't say it; as /, it is the whole root directory
    /// [default: /execroot]
    #[arg(long, value_name = "PATH", value_parser = parse_input_root)]
    input_root: Option<PathBuf>,
}

/// How `pumphouse server` is told what to do.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// The file that says everything that no flag says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration, as such a file, and end
    #[arg(long)]
    print_config: bool,
    /// The address to serve, such as localhost:8980, or :8980 for every one; port 0 has the kernel choose
    /// [default: localhost:8980]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// An address for workers alone; they aren't served at the other one then
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    worker_listen: Option<SocketAddr>,
    /// Where blobs and results are kept [default: server in the directory of the state]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The bound of the stored blobs, such as 500M or 50G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cas_size: Option<u64>,
    /// The bound of the stored action results, such as 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    action_cache_size: Option<u64>,
    /// Seconds that a blob stays after a client was told of it; where there is no room without it, what comes is refused
    #[arg(long, value_name = "SECONDS")]
    promised_lifetime: Option<u64>,
    /// How much of what is stored is read in a second, in search of rot, such as 4M; 0 for none
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    scrub_rate: Option<u64>,
    /// Seconds that running actions may go on after SIGTERM
    #[arg(long, value_name = "SECONDS")]
    drain_timeout: Option<u64>,
    /// The file that names callers by tokens, passwords and certificates, with their roles
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
    /// What whoever shows no credentials may do, such as read,write-cas [default: all, or nothing where callers are known]
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = Role::parse)]
    anonymous: Option<Vec<Role>>,
    /// Serve everyone, even where connections come from other machines and nobody becomes known
    #[arg(long)]
    insecure: bool,
    /// The certificate with which connections are encrypted, and those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The authorities whose certificates clients may show
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// What whoever has such a certificate may do, unless the file of identities names it [default: read,write-cas,execute]
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = Role::parse)]
    certified: Option<Vec<Role>>,
    /// Turn away clients without a certificate
    #[arg(long)]
    demand_client_certificate: bool,
}

/// What makes a worker known to its server, and the server to it.
#[derive(Debug, Args)]
struct CredentialArguments {
    /// The file that holds a bearer token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that may vouch for the server [default: those that this machine trusts]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The certificate to show
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// How `pumphouse worker` is told what to do.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// The server, as grpc://HOST:PORT, or grpcs:// where connections are encrypted
    #[arg(long, value_name = "ADDRESS")]
    server: String,
    #[command(flatten)]
    credentials: CredentialArguments,
    /// Where blobs and input roots are kept [default: worker in the directory of the state]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Actions that run at a time [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = parse_slots)]
    slots: Option<usize>,
    /// The bound of the kept blobs, such as 5G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cache_size: Option<u64>,
    /// What actions can ask for, besides what the worker finds out itself
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
    /// Where the input root of an action stands that doesn't say it; as /, it is the whole root directory
    /// [default: /execroot]
    #[arg(long, value_name = "PATH", value_parser = parse_input_root)]
    input_root: Option<PathBuf>,
    /// Where to say over HTTP that the worker is well
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// Seconds that running actions may go on after SIGTERM
    #[arg(long, value_name = "SECONDS")]
    drain_timeout: Option<u64>,
}

/// Runs a server and a worker in this process.
pub(super) fn up(arguments: &UpArguments) -> anyhow::Result<()> {
    let Some(config) = server_config(&arguments.server)? else { return Ok(()) };
    run(async move |shutdown| {
        let worker_dir = config.dir.join("worker");
        let drain_timeout = config.drain_timeout;
        let dir = config.dir.join("server");
        let server = Server::bind(pumphouse_server::Config { dir, has_private_worker: true, ..config }).await?;
        let address = server.worker_addr()?.context("there is no address for the worker")?;
        let mut worker = pumphouse_worker::Config::new(format!("grpc://{address}"), worker_dir);
        worker.local_cas = Some(server.local_cas());
        worker.credentials.token = server.private_token().map(str::to_owned);
        worker.drain_timeout = drain_timeout;
        if let Some(slots) = arguments.slots {
            worker.slots = slots;
        }
        worker.cache_size_bytes = arguments.worker_cache_size.unwrap_or(SMALL_BLOBS_SIZE_BYTES);
        if let Some(path) = &arguments.input_root {
            worker.exec_root.clone_from(path);
        }
        announce(server.local_addr()?);
        // The worker leaves first, so that what it runs can still be told to the server; if it fails, both end.
        let server_shutdown = CancellationToken::new();
        let serving = server.serve(server_shutdown.clone().cancelled_owned());
        let working = async {
            let result = pumphouse_worker::run(worker, shutdown.clone().cancelled_owned()).await;
            server_shutdown.cancel();
            result
        };
        let (server_end, worker_end) = tokio::join!(serving, working);
        worker_end.and(server_end)
    })
}

/// Runs a server.
pub(super) fn server(arguments: &ServerArguments) -> anyhow::Result<()> {
    let Some(config) = server_config(arguments)? else { return Ok(()) };
    run(async move |shutdown| {
        let server = Server::bind(config).await?;
        announce(server.local_addr()?);
        server.serve(shutdown.cancelled_owned()).await
    })
}

/// Runs a worker.
pub(super) fn worker(arguments: WorkerArguments) -> anyhow::Result<()> {
    run(async move |shutdown| {
        let dir = directory(arguments.dir.as_deref(), "worker")?;
        let mut config = pumphouse_worker::Config::new(arguments.server, dir);
        config.properties = arguments.properties;
        if let Some(path) = arguments.input_root {
            config.exec_root = path;
        }
        let CredentialArguments { token_file, tls_ca, tls_certificate, tls_key } = arguments.credentials;
        config.credentials = Credentials {
            token_file,
            token: None,
            ca_file: tls_ca,
            certificate_file: tls_certificate,
            key_file: tls_key,
        };
        config.health_listen = arguments.health_listen;
        if let Some(slots) = arguments.slots {
            config.slots = slots;
        }
        if let Some(size) = arguments.cache_size {
            config.cache_size_bytes = size;
        }
        if let Some(seconds) = arguments.drain_timeout {
            config.drain_timeout = Duration::from_secs(seconds);
        }
        pumphouse_worker::run(config, shutdown.cancelled_owned()).await
    })
}

/// The configuration of the server, unless it was only to be printed.
fn server_config(arguments: &ServerArguments) -> anyhow::Result<Option<pumphouse_server::Config>> {
    let unsaid = PathBuf::new();
    let mut config = pumphouse_server::Config { dir: unsaid.clone(), ..pumphouse_server::Config::default() };
    if let Some(file) = &arguments.config {
        config.apply_file(file)?;
    }
    if arguments.dir.is_some() || config.dir == unsaid {
        config.dir = directory(arguments.dir.as_deref(), "server")?;
    }
    config.listen = arguments.listen.unwrap_or(config.listen);
    config.worker_listen = arguments.worker_listen.or(config.worker_listen);
    config.cas_size_bytes = arguments.cas_size.unwrap_or(config.cas_size_bytes);
    config.action_cache_size_bytes = arguments.action_cache_size.unwrap_or(config.action_cache_size_bytes);
    config.promised_lifetime = arguments.promised_lifetime.map_or(config.promised_lifetime, Duration::from_secs);
    config.scrub_bytes_per_second = arguments.scrub_rate.unwrap_or(config.scrub_bytes_per_second);
    config.drain_timeout = arguments.drain_timeout.map_or(config.drain_timeout, Duration::from_secs);
    config.insecure |= arguments.insecure;
    access_config(arguments, &mut config)?;
    if arguments.print_config {
        write!(std::io::stdout(), "{}", config.to_text()?).context("writing the configuration")?;
        return Ok(None);
    }
    Ok(Some(config))
}

/// What flags say on who may do what, and on encryption.
fn access_config(arguments: &ServerArguments, config: &mut pumphouse_server::Config) -> anyhow::Result<()> {
    if let Some(file) = &arguments.identities {
        config.access.identities_file = Some(file.clone());
    }
    if let Some(roles) = &arguments.anonymous {
        config.access.anonymous = Some(Roles::of(roles));
    }
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        let file = config.tls.take();
        config.tls = Some(Tls {
            certificate_file: certificate.clone(),
            key_file: key.clone(),
            client_ca_file: file.as_ref().and_then(|file| file.client_ca_file.clone()),
            demands_client_certificate: file.is_some_and(|file| file.demands_client_certificate),
        });
    }
    let Some(tls) = &mut config.tls else {
        let is_vain = arguments.tls_client_ca.is_some() || arguments.demand_client_certificate;
        anyhow::ensure!(!is_vain, "--tls-client-ca: needs --tls-certificate and --tls-key");
        return Ok(());
    };
    tls.client_ca_file = arguments.tls_client_ca.clone().or(tls.client_ca_file.take());
    tls.demands_client_certificate |= arguments.demand_client_certificate;
    match &arguments.certified {
        Some(roles) => config.access.certified = Roles::of(roles),
        // Where the file says it, it is said.
        None if tls.client_ca_file.is_some() && config.access.certified == Roles::NONE => {
            config.access.certified = Roles::of(&[Role::Read, Role::WriteCas, Role::Execute]);
        }
        None => {}
    }
    Ok(())
}

/// The directory that a flag names, made absolute, or else `name` in the directory of the state.
fn directory(flag: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    match flag {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("--dir {}", dir.display())),
        None => Ok(Directories::from_environment()?.state.join(name)),
    }
}

/// Says where the server listens, at once, since somebody may be waiting for it. One who is gone by then is no reason not
/// to serve.
fn announce(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    let said = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    if let Err(error) = said {
        tracing::warn!(%address, %error, "saying on standard output where it listens");
    }
}

/// Runs `service` until it ends. The first SIGTERM or SIGINT asks it to, the second ends the process.
fn run<F>(service: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let variable = std::env::var("PUMPHOUSE_LOG").ok().filter(|log| !log.is_empty());
    drop(log::to_stderr(variable.as_deref().unwrap_or(log::DEFAULT))?);
    inherited::raise_limits();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        inherited::survive_large_files();
        let shutdown = CancellationToken::new();
        tokio::spawn(watch_signals(shutdown.clone()));
        service(shutdown).await
    })?;
    Ok(())
}

async fn watch_signals(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            std::process::exit(1);
        }
        tracing::info!("leaving; a second signal ends it at once");
        shutdown.cancel();
    }
}

fn parse_input_root(text: &str) -> Result<PathBuf, String> {
    pumphouse_worker::action::absolute_path(text).ok_or_else(|| "not an absolute path without `..`".to_owned())
}

fn parse_slots(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(slots) if slots > 0 => Ok(slots),
        _ => Err("not a number from 1".to_owned()),
    }
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_a_name() {
        assert_eq!(parse_property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_property("=b").is_err());
        assert!(parse_property("a").is_err());
    }
}
