//! A whole site in a temporary directory: server and worker, in one process or two, and a client of them.

use crate::client::Client;
use crate::process::Service;
use crate::processes::{Process, descends, until};
use crate::program::program;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A running site. Its processes are killed and its directory is removed when it is dropped.
#[derive(Debug)]
pub struct Pumphouse {
    /// The developer's side.
    pub client: Client,
    /// `pumphouse up`, or `pumphouse server`; killed or restarted by tests at will.
    pub server: Service,
    /// `pumphouse worker`s, where they are processes of their own.
    pub workers: Vec<Service>,
    address: String,
    root: TempDir,
}

impl Pumphouse {
    /// `pumphouse up` and a client.
    ///
    /// # Errors
    /// When the service does not start.
    pub fn up() -> Result<Self> {
        Self::start("up", &["--slots", "2"])
    }

    /// `pumphouse server` without any worker, and a client.
    ///
    /// # Errors
    /// When the service does not start.
    pub fn server() -> Result<Self> {
        Self::start("server", &[])
    }

    /// `pumphouse server`, one `pumphouse worker` and a client.
    ///
    /// # Errors
    /// When a service does not start.
    pub fn split() -> Result<Self> {
        let mut site = Self::server()?;
        site.add_worker()?;
        Ok(site)
    }

    /// `pumphouse COMMAND ARGUMENTS…` and a client.
    ///
    /// # Errors
    /// When the service does not start.
    pub fn start(command: &str, arguments: &[&str]) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("pumphouse-").tempdir()?;
        let (server, address) = serve(root.path(), command, arguments, "127.0.0.1:0")?;
        let client = Client::new(&root.path().join("client"), Some(&format!("grpc://{address}")))?;
        Ok(Self { client, server, workers: Vec::new(), address, root })
    }

    /// Starts one more worker; actions wait for it until the server has accepted it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add_worker(&mut self) -> Result<()> {
        let name = format!("worker-{}", self.workers.len());
        let mut command = Command::new(program()?);
        command.args(["worker", "--server", &self.remote(), "--slots", "2", "--dir"]).arg(self.root.path().join(&name));
        self.workers.push(Service::start(&mut command, &self.root.path().join(name + ".log"))?);
        Ok(())
    }

    /// Starts the server again at the address and on the storage that it had: it must have ended before.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, command: &str) -> Result<()> {
        (self.server, self.address) = serve(self.root.path(), command, &[], &self.address)?;
        Ok(())
    }

    /// Waits until a compiler proper runs below one of the site's services.
    ///
    /// # Errors
    /// When none does in time.
    pub fn until_an_action_runs(&self) -> Result<()> {
        let services: Vec<_> = self.workers.iter().chain([&self.server]).map(Service::id).collect();
        let is_action = |process: &Process, all: &[Process]| {
            process.command_line.split(' ').next().is_some_and(|name| name.contains("/cc1"))
                && services.iter().any(|service| descends(process, *service, all))
        };
        until(is_action).map(drop)
    }

    /// `HOST:PORT` where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `grpc://HOST:PORT`.
    pub fn remote(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// The server's storage.
    pub fn storage(&self) -> PathBuf {
        self.root.path().join("server")
    }

    /// The directory of the whole site: tests may make files of their own in it.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// One more developer of the same server, with nothing cached.
    ///
    /// # Errors
    /// When its directory can't be made.
    pub fn another_client(&self, name: &str) -> Result<Client> {
        Client::new(&self.root.path().join(name), Some(&self.remote()))
    }
}

fn serve(root: &Path, command: &str, arguments: &[&str], listen: &str) -> Result<(Service, String)> {
    let mut line = Command::new(program()?);
    line.args([command, "--listen", listen, "--dir"]).arg(root.join("server")).args(arguments);
    let service = Service::start(&mut line, &root.join("server.log"))?;
    let address = service.says("listening on ")?;
    Ok((service, address))
}
