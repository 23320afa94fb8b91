//! No wait without an end: whatever a server does or leaves undone, the first compile that waits for it is done in seconds,
//! the next ones don't wait, and a server that serves again is used again.

use anyhow::{Context as _, Result, ensure};
use pumphouse_proto::reapi::execution_stage::Value as ExecutionStage;
use pumphouse_tests::client::Client;
use pumphouse_tests::proxy::{Fault, Proxy};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use rustix::process::Signal;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// What the first compile may take that meets a server that is in trouble, and each further one.
const LIMITS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

/// Within what time a server that serves again is used again.
const RETURN_LIMIT: Duration = Duration::from_secs(20);

/// Compiles, each of another action.
struct Compiles<'a> {
    workspace: &'a Workspace,
    client: &'a Client,
    number: u32,
}

impl Compiles<'_> {
    /// Compiles once, as the compiler itself does, and gives the time.
    fn one(&mut self) -> Result<Duration> {
        self.number += 1;
        let line = format!("gcc -DA={} -c a.c -o a.o", self.number);
        let expected = self.workspace.plainly(&line)?;
        let start = Instant::now();
        let actual = self.workspace.through(self.client, &line)?;
        let time = start.elapsed();
        ensure!(actual.leaves_the_same(&expected), "{line}: {actual:?}");
        Ok(time)
    }

    /// Compiles some times within [`LIMITS`], on a server of which nothing bad was known.
    fn in_time(&mut self, what: &str) -> Result<()> {
        for (index, limit) in [LIMITS[0], LIMITS[1], LIMITS[1], LIMITS[1]].into_iter().enumerate() {
            let time = self.one()?;
            ensure!(time <= limit, "{what}: compile {index} took {time:?}, where {limit:?} is the limit");
        }
        Ok(())
    }

    /// Compiles until the server is used again.
    fn until_remote(&mut self, what: &str) -> Result<()> {
        let start = Instant::now();
        let before = self.client.stats()?.remote_runs;
        while self.client.stats()?.remote_runs == before {
            ensure!(start.elapsed() < RETURN_LIMIT, "{what}: not used again: {:?}", self.client.stats()?);
            self.one()?;
        }
        Ok(())
    }
}

fn workspace() -> Result<Workspace> {
    // Its object is too large for a result's answer and for a batch, so that it is read as a stream.
    let big = "__asm__(\".data\\n.fill 5000000, 1, 7\");\n";
    Workspace::new(&[("a.c", "int x = A;\n"), ("big.c", big)])
}

/// Has the server do what `fault` says with a client that has used it, and checks what that costs.
fn meet(faults: &[Fault]) -> Result<()> {
    let site = Pumphouse::up()?;
    for fault in faults {
        let what = format!("{fault:?}");
        let proxy = Proxy::before(site.address())?;
        let client = Client::new(&site.root().join(&what), Some(&proxy.remote()))?.impatient();
        let workspace = workspace()?;
        let mut compiles = Compiles { workspace: &workspace, client: &client, number: 0 };
        compiles.until_remote(&what)?;
        proxy.set(*fault);
        compiles.in_time(&what)?;
        ensure!(proxy.faults() > 0, "{what}: no call met it");
        proxy.set(Fault::None);
        compiles.until_remote(&what)?;
    }
    Ok(())
}

#[test]
fn calls_that_are_never_answered_cost_seconds_once() -> Result<()> {
    meet(&[
        Fault::Silent("/GetActionResult"),
        Fault::Silent("/FindMissingBlobs"),
        Fault::Silent("/BatchUpdateBlobs"),
        Fault::Silent("/Execute"),
    ])
}

#[test]
fn operations_that_get_nowhere_cost_seconds_once() -> Result<()> {
    meet(&[
        Fault::Mute("/Execute"),
        Fault::Stays(ExecutionStage::Executing),
        Fault::Stays(ExecutionStage::Queued),
        Fault::Refused(Duration::from_secs(10)),
    ])
}

#[test]
fn streams_of_outputs_that_stand_still_cost_seconds_once() -> Result<()> {
    let site = Pumphouse::up()?;
    for fault in [Fault::Mute("/Read"), Fault::Silent("/Read")] {
        let what = format!("{fault:?}");
        let proxy = Proxy::before(site.address())?;
        let client = Client::new(&site.root().join(&what), Some(&proxy.remote()))?.impatient();
        let workspace = workspace()?;
        Compiles { workspace: &workspace, client: &client, number: 0 }.until_remote(&what)?;
        proxy.set(fault);
        for (number, limit) in [LIMITS[0], LIMITS[1], LIMITS[1]].into_iter().enumerate() {
            let line = format!("gcc -DA={number} -c big.c -o big.o");
            let expected = workspace.plainly(&line)?;
            let start = Instant::now();
            ensure!(workspace.through(&client, &line)?.leaves_the_same(&expected), "{what}: {line}");
            ensure!(start.elapsed() <= limit, "{what}: compile {number} took {:?}", start.elapsed());
        }
        ensure!(proxy.faults() > 0, "{what}: no call met it");
    }
    Ok(())
}

/// Sources that are too large for a batch, so that each is written as a stream.
fn write_large(workspace: &Workspace, number: usize) -> Result<String> {
    let padding = "large ".repeat(1_000_000);
    workspace.write(&format!("large{number}.c"), &format!("/* {padding} */ int large = {number};\n"))?;
    Ok(format!("gcc -c large{number}.c -o large{number}.o"))
}

#[test]
fn streams_of_inputs_that_stand_still_cost_seconds_once() -> Result<()> {
    let site = Pumphouse::up()?;
    for fault in [Fault::Mute("/Write"), Fault::Silent("/Write")] {
        let what = format!("{fault:?}");
        let proxy = Proxy::before(site.address())?;
        let client = Client::new(&site.root().join(&what), Some(&proxy.remote()))?.impatient();
        let workspace = workspace()?;
        let mut compiles = Compiles { workspace: &workspace, client: &client, number: 0 };
        compiles.until_remote(&what)?;
        let large = |number: usize| -> Result<Duration> {
            let line = write_large(&workspace, number)?;
            let expected = workspace.plainly(&line)?;
            let start = Instant::now();
            ensure!(workspace.through(&client, &line)?.leaves_the_same(&expected), "{what}: {line}");
            Ok(start.elapsed())
        };
        // So much takes longer to read and send than other sources.
        let healthy = large(0)?;
        proxy.set(fault);
        for (number, limit) in [LIMITS[0], LIMITS[1], LIMITS[1]].into_iter().enumerate() {
            let time = large(number + 1)?;
            ensure!(time <= healthy + limit, "{what}: compile {number} took {time:?}, where {healthy:?} is usual");
        }
        ensure!(proxy.faults() > 0, "{what}: no call met it");
        proxy.set(Fault::None);
        compiles.until_remote(&what)?;
    }
    Ok(())
}

#[test]
fn streams_of_inputs_that_stand_still_leave_other_compiles_alone() -> Result<()> {
    let site = Pumphouse::up()?;
    let proxy = Proxy::before(site.address())?;
    // One that waits for servers much longer than this test does.
    let client = Client::new(&site.root().join("patient"), Some(&proxy.remote()))?;
    let workspace = workspace()?;
    let hit = "gcc -DA=0 -c a.c -o a.o";
    for _ in 0..2 {
        workspace.through(&client, hit)?;
    }
    let hits = client.stats()?.local_hits;
    proxy.set(Fault::Mute("/Write"));
    let count = 2 * std::thread::available_parallelism()?.get();
    let mut launchers = Vec::new();
    for number in 0..count {
        let line = write_large(&workspace, number)?;
        let mut command = client.pumphouse(line.split(' '));
        launchers.push(command.current_dir(workspace.path()).spawn()?);
    }
    let start = Instant::now();
    while proxy.faults() < count {
        ensure!(start.elapsed() < Duration::from_secs(60), "{} of {count} write", proxy.faults());
        std::thread::yield_now();
    }
    let start = Instant::now();
    ensure!(workspace.through(&client, hit)?.code == Some(0));
    let time = start.elapsed();
    for launcher in &mut launchers {
        launcher.kill()?;
        launcher.wait()?;
    }
    ensure!(time <= LIMITS[0], "a hit took {time:?}");
    ensure!(client.stats()?.local_hits == hits + 1, "{:?}", client.stats()?);
    Ok(())
}

#[test]
fn a_frozen_server_costs_seconds_once_and_is_used_again() -> Result<()> {
    let site = Pumphouse::up()?;
    let client = Client::new(&site.root().join("impatient"), Some(&site.remote()))?.impatient();
    let workspace = workspace()?;
    let mut compiles = Compiles { workspace: &workspace, client: &client, number: 0 };
    compiles.until_remote("before")?;
    site.server.signal(Signal::STOP)?;
    let outcome = compiles.in_time("frozen");
    site.server.signal(Signal::CONT)?;
    outcome?;
    compiles.until_remote("thawed")
}

#[test]
fn a_listener_that_never_answers_costs_seconds_once() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = Client::new(directory.path(), Some(&format!("grpc://{}", listener.local_addr()?)))?.impatient();
    let workspace = workspace()?;
    Compiles { workspace: &workspace, client: &client, number: 0 }.in_time("a listener")
}

#[test]
fn a_server_without_workers_costs_seconds_once_and_is_used_once_it_has_one() -> Result<()> {
    let mut site = Pumphouse::server()?;
    let client = Client::new(&site.root().join("impatient"), Some(&site.remote()))?.impatient();
    let workspace = workspace()?;
    let mut compiles = Compiles { workspace: &workspace, client: &client, number: 0 };
    // The daemon's start and the first contact are not what is measured.
    compiles.one()?;
    compiles.in_time("no worker")?;
    site.add_worker()?;
    compiles.until_remote("a worker")
}

#[test]
fn a_queue_is_waited_in_as_long_as_there_is_no_room_here() -> Result<()> {
    let site = Pumphouse::up()?;
    let proxy = Proxy::before(site.address())?;
    let client = Client::new(&site.root().join("impatient"), Some(&proxy.remote()))?.impatient();
    let workspace = workspace()?;
    let script = "#!/bin/sh\n[ -e go ] || read -r _ <fifo\nexec \"$@\"\n";
    workspace.write("slow", script)?;
    std::fs::set_permissions(workspace.path().join("slow"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        workspace.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )?;
    // The one place here is taken by a compile that goes on for as long as the test wants.
    let mut holder = client.pumphouse(["gcc", "-wrapper", "./slow", "-c", "a.c", "-DA=0", "-o", "held.o"]);
    let mut holder = holder.env("PUMPHOUSE_LOCAL_JOBS", "1").current_dir(workspace.path()).spawn()?;
    let mut fifo = std::fs::File::options().write(true).open(workspace.path().join("fifo"))?;
    proxy.set(Fault::Stays(ExecutionStage::Queued));
    let mut queued = client.pumphouse(["gcc", "-c", "a.c", "-DA=1", "-o", "queued.o"]);
    let mut queued = queued.current_dir(workspace.path()).spawn()?;
    let long = Duration::from_secs(6);
    ensure!(pumphouse_tests::process::wait(&mut queued, long)?.is_none(), "it did not wait in the queue");
    workspace.write("go", "")?;
    std::io::Write::write_all(&mut fifo, b"go\n")?;
    drop(fifo);
    for child in [&mut holder, &mut queued] {
        let status = pumphouse_tests::process::wait(child, Duration::from_secs(30))?;
        ensure!(status.context("still running")?.success());
    }
    let stats = client.stats()?;
    ensure!(stats.local_runs.get("overdue") == Some(&1), "{stats:?}");
    Ok(())
}
