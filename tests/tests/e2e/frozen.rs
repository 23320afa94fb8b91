//! What stands still, or is gone, keeps nobody else waiting and leaves nothing behind: launchers, the daemon, file systems
//! whose servers don't answer, the state directory.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::mount::Served;
use pumphouse_tests::process::{SERVICE_DEADLINE, succeed, wait};
use pumphouse_tests::processes::until_ended;
use pumphouse_tests::proxy::{Fault, Proxy};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a compile may take that nothing stands in the way of, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// What a compile may take that finds out that the daemon is frozen.
const DISCOVERY: Duration = Duration::from_secs(20);

/// A stopped process, which goes on when this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: Pid) -> Result<Self> {
        kill_process(process, Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn launch(client: &Client, directory: &Path, command_line: &str) -> Result<Child> {
    let mut command: Command = client.pumphouse(command_line.split(' '));
    Ok(command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// A workspace whose `served` is what another program serves of its `real`.
fn served() -> Result<(Workspace, Served)> {
    let workspace = Workspace::new(&[("real/a.c", "int a = A;\n"), ("alive/b.c", "int b;\n"), ("dead/empty", "")])?;
    let served = Served::new(&workspace.path().join("real"), &workspace.path().join("served"))?;
    Ok((workspace, served))
}

/// Compiles `b.c` in `directory`, which must be a prompt hit.
fn hit_in(client: &Client, directory: &Path, what: &str) -> Result<()> {
    let before = client.stats()?.local_hits;
    let start = Instant::now();
    ensure!(client.compile(directory, "gcc -c b.c -o b.o")?.status.success());
    ensure!(start.elapsed() < PROMPT, "{what}: {:?}", start.elapsed());
    let stats = client.stats()?;
    ensure!(stats.local_hits == before + 1, "{what}: {stats:?}");
    Ok(())
}

#[test]
fn a_launcher_that_is_gone_gets_no_outputs() -> Result<()> {
    let site = Pumphouse::up()?;
    let (workspace, served) = served()?;
    let line = "gcc -DA=1 -c ../served/a.c -o a.o";
    let directory = workspace.path().join("dead");
    for _ in 0..2 {
        ensure!(site.client.compile(&directory, line)?.status.success());
    }
    let stats = site.client.stats()?;
    ensure!(stats.local_hits == 1, "{stats:?}");
    std::fs::remove_file(directory.join("a.o"))?;
    let daemon = site.client.daemon()?.context("no daemon")?;
    served.freeze()?;
    let mut launcher = launch(&site.client, &directory, line)?;
    served.until_asked()?;
    launcher.kill()?;
    launcher.wait()?;
    served.thaw()?;
    // Its end is that of all that it still does.
    site.client.stop()?;
    until_ended(daemon)?;
    ensure!(!directory.join("a.o").exists(), "an object appeared after its launcher's end");
    Ok(())
}

#[test]
fn a_dead_file_system_under_one_project_leaves_others_alone() -> Result<()> {
    let site = Pumphouse::up()?;
    let (workspace, served) = served()?;
    let [alive, dead] = ["alive", "dead"].map(|name| workspace.path().join(name));
    let hit = |what: &str| hit_in(&site.client, &alive, what);
    for line in ["gcc -c b.c -o b.o", "gcc -DA=0 -c ../served/a.c -o a.o"] {
        ensure!(site.client.compile(&alive, line)?.status.success());
    }
    hit("before")?;
    served.freeze()?;
    // More than there are threads for the work of processors.
    let count = 4 * std::thread::available_parallelism()?.get();
    let lines: Vec<_> = (0..count).map(|number| format!("gcc -DA={number} -c ../served/a.c -o {number}.o")).collect();
    let mut launchers = Vec::new();
    for line in &lines {
        launchers.push(launch(&site.client, &dead, line)?);
        served.until_asked()?;
    }
    hit("while it is frozen")?;
    hit("and again")?;
    served.thaw()?;
    for launcher in &mut launchers {
        let status = wait(launcher, Duration::from_secs(120))?.context("still running")?;
        ensure!(status.success(), "{status}");
    }
    for number in 0..count {
        let plain = format!("gcc -DA={number} -c ../served/a.c -o plain.o");
        succeed(Command::new("sh").args(["-c", &plain]).current_dir(&dead))?;
        let object = std::fs::read(dead.join(format!("{number}.o")))?;
        ensure!(object == std::fs::read(dead.join("plain.o"))?, "{number}");
    }
    Ok(())
}

#[test]
fn a_file_system_that_dies_while_workers_compile_for_it_leaves_others_alone() -> Result<()> {
    let site = Pumphouse::up()?;
    let proxy = Proxy::before(site.address())?;
    let client = Client::new(&site.root().join("proxied"), Some(&proxy.remote()))?;
    let (workspace, served) = served()?;
    let alive = workspace.path().join("alive");
    ensure!(client.compile(&alive, "gcc -c b.c -o b.o")?.status.success());
    hit_in(&client, &alive, "before")?;
    proxy.set(Fault::Held("/Execute"));
    let count = 4 * std::thread::available_parallelism()?.get();
    let mut launchers = Vec::new();
    for number in 0..count {
        let line = format!("gcc -DB={number} -c b.c -o ../served/{number}.o");
        launchers.push(launch(&client, &alive, &line)?);
    }
    let start = Instant::now();
    while proxy.faults() < count {
        ensure!(start.elapsed() < SERVICE_DEADLINE, "{} of {count} are executed", proxy.faults());
        std::thread::yield_now();
    }
    served.freeze()?;
    proxy.set(Fault::None);
    served.until_asked()?;
    for what in ["while it is frozen", "and again"] {
        hit_in(&client, &alive, what)?;
    }
    served.thaw()?;
    for launcher in &mut launchers {
        let status = wait(launcher, Duration::from_secs(120))?.context("still running")?;
        ensure!(status.success(), "{status}");
    }
    for number in 0..count {
        ensure!(std::fs::metadata(workspace.path().join(format!("real/{number}.o")))?.len() > 0, "{number}");
    }
    Ok(())
}

/// Waits until the daemon of `client` has logged `text` for `count` times.
fn until_logged(client: &Client, text: &str, count: usize) -> Result<()> {
    let start = Instant::now();
    while std::fs::read_to_string(client.directory().join("daemon.log")).unwrap_or_default().matches(text).count()
        < count
    {
        ensure!(start.elapsed() < SERVICE_DEADLINE, "not said {count} times: {text}");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_file_system_that_dies_under_a_local_compile_leaves_others_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("real/empty", ""), ("alive/b.c", "int b;\n")])?;
    let served = Served::unremembered(&workspace.path().join("real"), &workspace.path().join("served"))?;
    let alive = workspace.path().join("alive");
    let start = |line: &str| -> Result<Child> {
        let mut command: Command = client.pumphouse(line.split(' '));
        command.env("PUMPHOUSE_LOCAL_JOBS", "2").env("PUMPHOUSE_LOG", "debug");
        Ok(command.current_dir(&alive).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
    };
    // Both places are held by compiles that go on when the test wants.
    let mut holders = Vec::new();
    for name in ["one", "two"] {
        let wait = format!("[ -e {name}.go ] || read -r _ <{name}.fifo");
        let make = format!("mkfifo {name}.fifo; printf '#!/bin/sh\\n{wait}\\nexec \"$@\"\\n' >{name}; chmod +x {name}");
        succeed(Command::new("sh").args(["-c", &make]).current_dir(&alive))?;
        let holder = start(&format!("gcc -wrapper ./{name} -c b.c -o {name}.o"))?;
        let fifo = std::fs::File::options().write(true).open(alive.join(format!("{name}.fifo")))?;
        holders.push((holder, fifo, alive.join(format!("{name}.go"))));
    }
    let mut dying = start("gcc -c b.c -o ../served/b.o")?;
    until_logged(&client, "compiling locally", 3)?;
    served.freeze()?;
    for (mut holder, fifo, go) in holders {
        std::fs::write(go, "")?;
        drop(fifo);
        ensure!(wait(&mut holder, SERVICE_DEADLINE)?.context("still running")?.success());
    }
    served.until_asked()?;
    let begun = Instant::now();
    ensure!(client.compile(&alive, "gcc -c b.c -o b.o")?.status.success());
    ensure!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    served.thaw()?;
    ensure!(wait(&mut dying, SERVICE_DEADLINE)?.context("still running")?.success());
    Ok(())
}

#[test]
fn a_frozen_daemon_is_waited_for_once_and_used_again() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    let compile = |limit: Duration, what: &str| -> Result<()> {
        let start = Instant::now();
        workspace.check(&client, "gcc -c a.c")?;
        ensure!(start.elapsed() < limit, "{what}: {:?}", start.elapsed());
        Ok(())
    };
    compile(DISCOVERY, "at first")?;
    let stopped = Stopped::new(client.daemon()?.context("no daemon")?)?;
    compile(DISCOVERY, "the first that it does not answer")?;
    for number in 0..5 {
        compile(PROMPT, &format!("number {number} while it is frozen"))?;
    }
    drop(stopped);
    let before = client.stats()?.local_hits;
    let start = Instant::now();
    while client.stats()?.local_hits == before {
        ensure!(start.elapsed() < DISCOVERY, "it is not used again");
        compile(DISCOVERY, "after it went on")?;
    }
    Ok(())
}

#[test]
fn a_daemon_whose_directory_is_gone_leaves_and_another_serves() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    workspace.check(&client, "gcc -c a.c")?;
    let daemon = client.daemon()?.context("no daemon")?;
    std::fs::remove_dir_all(directory.path())?;
    until_ended(daemon)?;
    for _ in 0..2 {
        workspace.check(&client, "gcc -c a.c")?;
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits > 0, "{stats:?}");
    Ok(())
}
