//! What is set where: a launcher's settings are its own, the daemon's file counts as it stands, and what is wrong is said once,
//! with its path. Services go on when nobody reads what they say.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{run, wait};
use pumphouse_tests::program::program;
use pumphouse_tests::workspace::Workspace;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server's address at which nobody is.
const NOBODY: &str = "grpc://127.0.0.1:1";

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// Compiles something new, and gives the reason for which it ran here.
fn reason(client: &Client, workspace: &Workspace, variables: &[(&str, &str)], number: u32) -> Result<String> {
    client.zero()?;
    let mut command = client.pumphouse(["gcc", &format!("-DNUMBER={number}"), "-c", "a.c"]);
    let output = run(command.envs(variables.iter().copied()).current_dir(workspace.path()))?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let stats = client.stats()?;
    Ok(stats.local_runs.keys().next().with_context(|| format!("no local run: {stats:?}"))?.clone())
}

#[test]
fn a_launchers_server_is_no_server_of_the_next_one() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a = NUMBER;\n")])?;
    ensure!(reason(&client, &workspace, &[("PUMPHOUSE_REMOTE", NOBODY)], 1)? == "server-error");
    ensure!(reason(&client, &workspace, &[], 2)? == "no-server");
    ensure!(reason(&client, &workspace, &[("PUMPHOUSE_REMOTE", NOBODY)], 3)? == "server-error");
    ensure!(reason(&client, &workspace, &[("PUMPHOUSE_REMOTE", "")], 4)? == "no-server");
    Ok(())
}

#[test]
fn a_configuration_that_changes_is_taken_at_once() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a = NUMBER;\n")])?;
    let file = directory.path().join("pumphouse.toml");
    ensure!(reason(&client, &workspace, &[], 1)? == "no-server");
    let daemon = client.daemon()?;
    std::fs::write(&file, format!("remote = \"{NOBODY}\"\nlog = \"debug\"\n"))?;
    ensure!(reason(&client, &workspace, &[], 2)? == "server-error");
    // What can't be understood changes nothing, and is told of.
    std::fs::write(&file, "remotte = \"\"\n")?;
    let said = run(&mut client.pumphouse(["stats"]))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.contains("pumphouse.toml") && said.contains("remotte"), "{said}");
    ensure!(reason(&client, &workspace, &[], 3)? == "server-error");
    std::fs::remove_file(&file)?;
    ensure!(reason(&client, &workspace, &[], 4)? == "no-server");
    ensure!(client.daemon()? == daemon, "another daemon");
    let log = std::fs::read_to_string(directory.path().join("daemon.log"))?;
    ensure!(log.contains("DEBUG") && log.contains("has changed"), "{log}");
    // And the time after which it leaves, though nothing is compiled any more.
    std::fs::write(&file, "idle_timeout_seconds = 1\n")?;
    let daemon = daemon.context("no daemon")?;
    let end = Instant::now() + DEADLINE;
    while client.daemon()? == Some(daemon) {
        ensure!(Instant::now() < end, "it stays");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_daemon_serves_with_a_broken_configuration_and_takes_the_mended_one() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a = NUMBER;\n")])?;
    let file = directory.path().join("pumphouse.toml");
    std::fs::write(&file, format!("remote = {NOBODY}\n"))?;
    ensure!(reason(&client, &workspace, &[], 1)? == "no-server");
    std::fs::write(&file, format!("remote = \"{NOBODY}\"\n"))?;
    ensure!(reason(&client, &workspace, &[], 2)? == "server-error");
    Ok(())
}

/// What `pumphouse up` and the like are started with, each in a directory of its own, at a port of its own.
const SERVICES: &[&[&str]] = &[
    &["server", "--listen", "127.0.0.1:0"],
    &["up", "--listen", "127.0.0.1:0", "--slots", "1"],
    &["worker", "--server", NOBODY, "--slots", "1"],
    &["daemon", "--foreground"],
];

/// What becomes of the reader of a service's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It reads a line and leaves, as `head -1` does.
    Leaves,
    /// It reads a line and then nothing more.
    Stalls,
}

fn obeys_with(reader: Reader, arguments: &[&str]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (output, input) = rustix::pipe::pipe()?;
    let mut command = Command::new(program()?);
    command.args(arguments).env("PUMPHOUSE_DIR", directory.path()).env("XDG_CONFIG_HOME", directory.path());
    // Enough to fill a pipe.
    command.env("PUMPHOUSE_LOG", "trace").env_remove("PUMPHOUSE_REMOTE");
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input).process_group(0);
    let mut child = command.spawn()?;
    drop(command);
    let mut lines = BufReader::with_capacity(64, std::fs::File::from(output));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let stalled = match reader {
        Reader::Leaves => None,
        Reader::Stalls => Some(lines),
    };
    // It is not to end of itself, whatever it says now, to nobody.
    let status = wait(&mut child, Duration::from_millis(500))?;
    ensure!(status.is_none(), "{arguments:?} ended though its reader {reader:?}: {status:?}: {line}");
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status = wait(&mut child, DEADLINE)?;
    if status.is_none() {
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait()?;
    }
    drop(stalled);
    ensure!(
        status.is_some_and(|status| status.success()),
        "{arguments:?}, whose reader {reader:?}: {status:?}: {line}"
    );
    Ok(())
}

#[test]
fn services_obey_when_nobody_reads_what_they_say() -> Result<()> {
    for arguments in SERVICES {
        obeys_with(Reader::Leaves, arguments)?;
        obeys_with(Reader::Stalls, arguments)?;
    }
    Ok(())
}

/// Requires that `pumphouse WORDS…` fails and says `expect` as its last line.
fn says(directory: &Path, words: &[&str], variables: &[(&str, &str)], expect: &str) -> Result<()> {
    let mut command = Command::new(program()?);
    command.args(words).env("PUMPHOUSE_DIR", directory.join("state")).env("XDG_CONFIG_HOME", directory.join("config"));
    command.env_remove("PUMPHOUSE_REMOTE").env("PUMPHOUSE_LOG", "off").envs(variables.iter().copied());
    let output = run(command.current_dir(directory))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{words:?}: {}: {said}", output.status);
    ensure!(said.trim_end() == expect, "{words:?} says\n{said}and not\n{expect}");
    Ok(())
}

#[test]
fn what_is_wrong_is_said_once_with_its_path() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    for directory in ["config", "bad-state"] {
        std::fs::create_dir(base.join(directory))?;
    }
    for file in ["file", "bad-state/cache"] {
        std::fs::write(base.join(file), "")?;
    }
    let config = base.join("config/pumphouse.toml");
    let path = |name: &str| base.join(name).display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?;
    let server = |directory: &str, expect: String| {
        says(base, &["server", "--listen", "127.0.0.1:0", "--dir", directory], &[], &expect)?;
        says(
            base,
            &["up", "--listen", "127.0.0.1:0", "--dir", directory],
            &[],
            &expect.replace("/cas:", "/server/cas:"),
        )
    };
    server("file", format!("pumphouse: cannot create {}: Not a directory (os error 20)", path("file/cas")))?;
    server("/proc/x", "pumphouse: cannot create /proc/x/cas: No such file or directory (os error 2)".to_owned())?;
    let listening = ["--listen", &port.to_string(), "--dir", "d"];
    for command in ["server", "up"] {
        let words = [&[command], &listening[..]].concat();
        says(base, &words, &[], &format!("pumphouse: cannot listen on {port}: Address already in use (os error 98)"))?;
    }
    let worker = |directory: &str, expect: &str| {
        says(base, &["worker", "--server", NOBODY, "--dir", directory], &[], &format!("pumphouse: creating {expect}"))
    };
    worker("file", &format!("{}: File exists (os error 17)", path("file")))?;
    worker("/proc/x", "/proc/x: No such file or directory (os error 2)")?;
    let daemon =
        |variables: &[(&str, &str)], expect: String| says(base, &["daemon", "--foreground"], variables, &expect);
    daemon(&[("PUMPHOUSE_DIR", &path("file"))], format!("pumphouse: {}: not a directory", path("file")))?;
    let in_cache = format!("pumphouse: {}: Not a directory (os error 20)", path("bad-state/cache/tmp"));
    daemon(&[("PUMPHOUSE_DIR", &path("bad-state"))], in_cache)?;
    std::fs::create_dir(&config)?;
    daemon(&[], format!("pumphouse: {}: Is a directory (os error 21)", config.display()))?;
    std::fs::remove_dir(&config)?;
    std::fs::write(&config, "cache_size = \"big\"\n")?;
    let size = "cache_size: \"big\" is not a size, such as 500M or 10G";
    daemon(&[], format!("pumphouse: {}: {size}", config.display()))?;
    std::fs::remove_file(&config)?;
    daemon(
        &[("PUMPHOUSE_LOCAL_JOBS", "none")],
        "pumphouse: PUMPHOUSE_LOCAL_JOBS: \"none\" is not a number of jobs from 1".to_owned(),
    )
}
