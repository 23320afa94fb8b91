//! What a launcher inherits from whoever starts it changes nothing: closed standard streams, ignored and blocked signals,
//! limits.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::{Client, Stats};
use pumphouse_tests::process::run;
use pumphouse_tests::processes::until_ended;
use pumphouse_tests::program::program;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::random::Random;
use pumphouse_tests::workspace::Workspace;
use rustix::process::{Signal, kill_process};
use std::process::Command;

#[test]
fn closed_standard_streams_change_nothing() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(&[("a.c", "#warning said\nint a;\n")])?;
    let launcher = program()?.display().to_string();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let shell = |client: Option<&Client>, before: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{before} gcc -c a.c {closed}")]).current_dir(workspace.path());
            if let Some(client) = client {
                client.equip(&mut command);
            }
            workspace.effect(|| run(&mut command))
        };
        let expected = shell(None, "")?;
        site.client.stop()?;
        // One that starts the daemon, and one that finds it.
        for _ in 0..2 {
            let actual = shell(Some(&site.client), &launcher)?;
            ensure!((actual.code, &actual.stderr) == (expected.code, &expected.stderr), "{closed}: {:?}", actual.code);
            ensure!(actual.leaves_the_same(&expected), "{closed}: {:?}", actual.files());
        }
    }
    Ok(())
}

#[test]
fn ends_of_children_that_a_parent_ignores_are_heard_of() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a = A;\n")])?;
    let launcher = program()?;
    // The first one starts the daemon, whose children are compilers that it asks.
    for number in 0..3 {
        let words = ["gcc", &format!("-DA={number}"), "-c", "a.c"].map(str::to_owned);
        let expected = workspace.plainly(&words.join(" "))?;
        let mut command = Command::new("env");
        client.equip(command.arg("--ignore-signal=CHLD").arg(&launcher).args(words).current_dir(workspace.path()));
        let actual = workspace.effect(|| run(&mut command))?;
        ensure!(actual == expected, "{number}: {:?} {}", actual.code, actual.stderr);
    }
    let stats = client.stats()?;
    ensure!(stats.local_runs.get("no-server") == Some(&3), "{stats:?}");
    Ok(())
}

#[test]
fn a_daemon_obeys_signals_that_were_blocked_for_its_launcher() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    let mut command = Command::new("env");
    command.arg("--block-signal=TERM").arg(program()?).args(["gcc", "-c", "a.c"]).current_dir(workspace.path());
    let output = run(client.equip(&mut command))?;
    ensure!(output.status.success());
    let daemon = client.daemon()?.context("no daemon")?;
    kill_process(daemon, Signal::TERM)?;
    until_ended(daemon)
}

#[test]
fn a_limit_that_the_starter_may_raise_binds_no_daemon() -> Result<()> {
    let stats = large_object_after("ulimit -S -f 64")?;
    ensure!(stats.local_hits == 2, "{stats:?}");
    Ok(())
}

#[test]
fn a_daemon_outlives_files_that_are_larger_than_it_may_write() -> Result<()> {
    large_object_after("ulimit -f 128").map(drop)
}

/// Has a launcher under `limit` start a daemon, which has to stay and to serve compiles of an object that is too large.
fn large_object_after(limit: &str) -> Result<Stats> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    // Numbers at random, which no packing makes small.
    let mut random = Random::of_case(1, 1);
    let numbers: Vec<_> = (0..50_000).map(|_| random.below(1 << 30).to_string()).collect();
    let large = format!("int large[] = {{ {} }};\n", numbers.join(","));
    let workspace = Workspace::new(&[("a.c", "int a;\n"), ("large.c", &large)])?;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" gcc -c a.c")]).arg(program()?).current_dir(workspace.path());
    let output = run(client.equip(&mut command))?;
    ensure!(output.status.success(), "{output:?}");
    let daemon = client.daemon()?.context("no daemon")?;
    for _ in 0..3 {
        workspace.check(&client, "gcc -c large.c")?;
    }
    ensure!(client.daemon()? == Some(daemon), "the daemon ended");
    client.stats()
}
