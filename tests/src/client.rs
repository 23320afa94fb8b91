//! A developer's side of a site: the launcher, its daemon and its statistics, in a directory of their own.

use crate::process::{run, succeed, variables_and_words};
use crate::processes::{Process, processes};
use crate::program::program;
use anyhow::{Context, Result};
use rustix::process::Pid;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A developer with a `PUMPHOUSE_DIR` of their own. The daemon is stopped when this is dropped.
#[derive(Debug)]
pub struct Client {
    directory: PathBuf,
    remote: Option<String>,
    program: PathBuf,
    network: Option<PathBuf>,
    patience_percent: u32,
}

/// The patience of clients that nothing else is said for.
const PATIENT_PERCENT: u32 = 20_000;

/// What `pumphouse stats --json` says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Stats {
    /// Compiles that were asked for.
    pub compiles: u64,
    /// Answered from the daemon's own cache.
    pub local_hits: u64,
    /// Answered from the server's action cache.
    pub remote_hits: u64,
    /// Run by a worker from the closure.
    pub remote_runs: u64,
    /// Preprocessed here and run by a worker.
    pub plain_runs: u64,
    /// Run here, by reason.
    pub local_runs: BTreeMap<String, u64>,
    /// Compiles whose compiler gave another exit code than 0.
    pub failed: u64,
    /// Bytes sent to the server.
    pub bytes_uploaded: u64,
    /// Bytes received from the server.
    pub bytes_downloaded: u64,
    /// Hits that were compiled again, with a verdict.
    #[serde(default)]
    pub audits: u64,
    /// Second compiles that showed nothing.
    #[serde(default)]
    pub audits_open: u64,
    /// Hits that a second compile showed to be wrong.
    #[serde(default)]
    pub audit_differences: u64,
    /// Milliseconds spent in each stage, summed over compiles.
    pub stage_ms: BTreeMap<String, f64>,
}

impl Stats {
    /// Compiles run here, for whatever reason.
    pub fn local(&self) -> u64 {
        self.local_runs.values().sum()
    }

    /// Compiles answered from either cache.
    pub fn hits(&self) -> u64 {
        self.local_hits + self.remote_hits
    }
}

impl Client {
    /// A client with its files below `directory` (made if absent), of the server at `remote` (`grpc://HOST:PORT`) if any.
    ///
    /// # Errors
    /// When the directory can't be made or the program is absent.
    pub fn new(directory: &Path, remote: Option<&str>) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            remote: remote.map(str::to_owned),
            program: program()?,
            network: None,
            patience_percent: PATIENT_PERCENT,
        })
    }

    /// This client, made to wait for servers as users' clients do.
    #[must_use]
    pub const fn impatient(mut self) -> Self {
        self.patience_percent = 100;
        self
    }

    /// This client in another network namespace: that of the file `network`.
    #[must_use]
    pub fn inside(mut self, network: &Path) -> Self {
        self.network = Some(network.to_owned());
        self
    }

    /// Its `PUMPHOUSE_DIR`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives `command` this client's environment: what a developer's shell would export.
    pub fn equip<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PUMPHOUSE_") {
                command.env_remove(name);
            }
        }
        // No configuration of whoever runs the tests may count.
        command.env("PUMPHOUSE_DIR", &self.directory).env("XDG_CONFIG_HOME", &self.directory);
        // How long compiles wait for a server that is slow is the business of one suite; in others the machine may be busy.
        command.env("PUMPHOUSE_PATIENCE", self.patience_percent.to_string());
        if let Some(remote) = &self.remote {
            command.env("PUMPHOUSE_REMOTE", remote);
        }
        command
    }

    /// `pumphouse ARGUMENTS…`, ready to run.
    pub fn pumphouse<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(network) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", network.display())).arg(&self.program);
                enter
            }
        };
        self.equip(command.args(arguments));
        command
    }

    /// Runs `pumphouse COMMAND LINE…` in `directory` and gives what it printed and its exit code. The words of the
    /// command line are separated by spaces.
    ///
    /// # Errors
    /// When it hangs or can't be started; not when the compiler fails.
    pub fn compile(&self, directory: &Path, command_line: &str) -> Result<Output> {
        let (variables, words) = variables_and_words(command_line);
        run(self.pumphouse(words).envs(variables).current_dir(directory))
    }

    /// The counts so far.
    ///
    /// # Errors
    /// When there is no daemon, or it answers with something else.
    pub fn stats(&self) -> Result<Stats> {
        let json = succeed(&mut self.pumphouse(["stats", "--json"]))?;
        serde_json::from_str(&json).with_context(|| format!("reading the statistics {json}"))
    }

    /// Sets the counts to zero.
    ///
    /// # Errors
    /// When the program fails.
    pub fn zero(&self) -> Result<()> {
        succeed(&mut self.pumphouse(["stats", "--zero"])).map(drop)
    }

    /// The daemon's process, if one runs.
    ///
    /// # Errors
    /// When the machine's processes can't be read.
    pub fn daemon(&self) -> Result<Option<Pid>> {
        let own = format!("PUMPHOUSE_DIR={}", self.directory.display());
        let is_daemon = |process: &&Process| {
            process.command_line.split(' ').nth(1) == Some("daemon")
                && process.environment.lines().any(|line| line == own)
        };
        Ok(processes()?.iter().find(is_daemon).map(|process| process.id))
    }

    /// Stops the daemon, if it runs: the next compile starts another one.
    ///
    /// # Errors
    /// When the program fails.
    pub fn stop(&self) -> Result<()> {
        succeed(&mut self.pumphouse(["stop"])).map(drop)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
