//! `pumphouse up`, `pumphouse server` and `pumphouse worker`: the other side, in one process or in several.

use super::log;
use crate::config::parse_size;
use crate::ipc::socket::Directories;
use anyhow::Context as _;
use clap::Args;
use pumphouse_server::Server;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How `pumphouse up` is told what to do.
#[derive(Debug, Args)]
pub(super) struct UpArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Actions that run at a time [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = parse_slots)]
    slots: Option<usize>,
}

/// How `pumphouse server` is told what to do.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// The address to serve; port 0 has the kernel choose
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, pumphouse_server::config::DEFAULT_PORT)))]
    listen: SocketAddr,
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
}

/// How `pumphouse worker` is told what to do.
#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// The server, as grpc://HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    server: String,
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
    /// Where to say over HTTP that the worker is well
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// Seconds that running actions may go on after SIGTERM
    #[arg(long, value_name = "SECONDS")]
    drain_timeout: Option<u64>,
}

/// Runs a server and a worker in this process.
pub(super) fn up(arguments: UpArguments) -> anyhow::Result<()> {
    let slots = arguments.slots;
    run(async move |shutdown| {
        let config = server_config(&arguments.server)?;
        let worker_dir = config.dir.join("worker");
        let drain_timeout = config.drain_timeout;
        let server = Server::bind(pumphouse_server::Config { dir: config.dir.join("server"), ..config }).await?;
        let address = server.local_addr()?;
        let mut worker = pumphouse_worker::Config::new(format!("grpc://{}", reachable(address)), worker_dir);
        worker.drain_timeout = drain_timeout;
        if let Some(slots) = slots {
            worker.slots = slots;
        }
        announce(address);
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
pub(super) fn server(arguments: ServerArguments) -> anyhow::Result<()> {
    run(async move |shutdown| {
        let server = Server::bind(server_config(&arguments)?).await?;
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

fn server_config(arguments: &ServerArguments) -> anyhow::Result<pumphouse_server::Config> {
    let dir = directory(arguments.dir.as_deref(), "server")?;
    let mut config = pumphouse_server::Config { listen: arguments.listen, dir, ..pumphouse_server::Config::default() };
    if let Some(size) = arguments.cas_size {
        config.cas_size_bytes = size;
    }
    if let Some(size) = arguments.action_cache_size {
        config.action_cache_size_bytes = size;
    }
    if let Some(seconds) = arguments.promised_lifetime {
        config.promised_lifetime = Duration::from_secs(seconds);
    }
    if let Some(rate) = arguments.scrub_rate {
        config.scrub_bytes_per_second = rate;
    }
    if let Some(seconds) = arguments.drain_timeout {
        config.drain_timeout = Duration::from_secs(seconds);
    }
    Ok(config)
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

/// Where this process reaches a server that listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Runs `service` until it ends. The first SIGTERM or SIGINT asks it to, the second ends the process.
fn run<F>(service: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let variable = std::env::var("PUMPHOUSE_LOG").ok().filter(|log| !log.is_empty());
    drop(log::to_stderr(variable.as_deref().unwrap_or(log::DEFAULT))?);
    crate::daemon::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
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
    fn a_server_on_every_address_is_reached_by_loopback() {
        let check = |address: &str, expect: &str| {
            assert_eq!(reachable(address.parse().expect("an address")).to_string(), expect);
        };
        check("0.0.0.0:8980", "127.0.0.1:8980");
        check("[::]:1", "[::1]:1");
        check("192.0.2.7:5", "192.0.2.7:5");
    }

    #[test]
    fn properties_have_a_name() {
        assert_eq!(parse_property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_property("=b").is_err());
        assert!(parse_property("a").is_err());
    }
}
