//! `pumphouse doctor`: whether what Pumphouse needs of this machine is there, and what it has to say.

use super::control;
use crate::audit::apart::Apart;
use crate::audit::report;
use crate::compiler::trace;
use crate::config::{Config, Flags};
use crate::ipc::socket::Directories;
use crate::stats;
use clap::Args;
use pumphouse_proto::address::Address;
use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the server's port may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// The arguments of the helper that compiles apart.
#[derive(Debug, Args)]
pub(super) struct ApartArguments {
    #[arg(long)]
    scratch: PathBuf,
    #[arg(long)]
    directory: PathBuf,
    #[arg(long = "output")]
    outputs: Vec<PathBuf>,
    #[arg(last = true)]
    command: Vec<std::ffi::OsString>,
}

/// Compiles apart, as the daemon's helper.
pub(super) fn compile_apart(arguments: ApartArguments) -> anyhow::Result<()> {
    let ApartArguments { scratch, directory, outputs, command } = arguments;
    Apart { scratch, directory, outputs, command }.run()
}

/// Prints a line for each thing that is looked at; the exit code is 1 where one is not as it should be.
pub(super) fn run() -> anyhow::Result<u8> {
    let mut findings = Findings::default();
    let directories = Directories::from_environment()?;
    findings.line("state", &usable(&directories.state));
    findings.line("daemon", &Ok(daemon(&directories)));
    match Config::load(&Flags::default()) {
        Err(error) => findings.line("configuration", &Err(error.to_string())),
        Ok(config) => {
            let server = config.remote.as_deref().map_or(Ok("none is configured".to_owned()), server);
            findings.line("server", &server);
            let audit = match config.audit {
                0 => Ok("off".to_owned()),
                share => can_audit().map(|()| format!("one in {share} hits is compiled again when there is time")),
            };
            findings.line("audit", &audit);
        }
    }
    findings.line("tracing", &trace::availability().map(|()| "compilers can be watched".to_owned()));
    for report in report::reports(&directories.state) {
        findings.line("wrong result", &Err(format!("{}: {}", report.display(), headline(&report))));
    }
    let counters = stats::read(&directories.state)?;
    let verdicts = format!("{} compiled again, {} of them wrong", counters.audits, counters.audit_differences);
    let hits = if counters.audit_differences == 0 { Ok(verdicts) } else { Err(verdicts) };
    findings.line("hits", &hits);
    io::stdout().write_all(findings.text.as_bytes())?;
    Ok(u8::from(findings.is_bad))
}

#[derive(Default)]
struct Findings {
    text: String,
    is_bad: bool,
}

impl Findings {
    fn line(&mut self, what: &str, found: &Result<String, String>) {
        let (mark, words) = match found {
            Ok(words) => ("ok", words),
            Err(words) => ("bad", words),
        };
        self.is_bad |= found.is_err();
        self.text += &format!("{mark:<4} {what}: {words}\n");
    }
}

/// Whether files can be made in `directory`.
fn usable(directory: &Path) -> Result<String, String> {
    let made = std::fs::create_dir_all(directory).and_then(|()| tempfile::tempfile_in(directory));
    made.map(|_| directory.display().to_string()).map_err(|error| format!("{}: {error}", directory.display()))
}

fn daemon(directories: &Directories) -> String {
    match control::flush(directories) {
        Ok(true) => format!("serves {}", directories.socket.display()),
        Ok(false) => "none runs; the next compile starts one".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

fn server(text: &str) -> Result<String, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    let found = address.authority.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?.next();
    let socket = found.ok_or_else(|| format!("{text}: has no address"))?;
    TcpStream::connect_timeout(&socket, CONNECT_LIMIT).map_err(|error| format!("{text}: {error}"))?;
    Ok(format!("{text} takes connections"))
}

/// Whether compiles can be run apart here.
fn can_audit() -> Result<(), String> {
    let trial = || -> anyhow::Result<std::process::Output> {
        let [scratch, covered] = [tempfile::tempdir()?, tempfile::tempdir()?];
        let apart = Apart {
            scratch: scratch.path().to_owned(),
            directory: "/".into(),
            outputs: vec![covered.path().join("output")],
            command: Vec::new(),
        };
        Ok(apart.helper().output()?)
    };
    match trial() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn headline(report: &Path) -> String {
    let text = std::fs::read_to_string(report.join("report.txt")).unwrap_or_default();
    text.lines().next().unwrap_or("its report was not written").to_owned()
}
