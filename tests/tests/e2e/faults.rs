//! Processes die at the worst moment: the build still ends well, with the right objects.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::objects::{compare, objects};
use pumphouse_tests::process::Service;
use pumphouse_tests::program::program;
use pumphouse_tests::project::LUA;
use pumphouse_tests::pumphouse::Pumphouse;

/// Builds Lua through `site`; after each eighth compile that starts, the next of `faults` strikes.
fn build_under(site: &mut Pumphouse, faults: &[fn(&mut Pumphouse) -> Result<()>]) -> Result<()> {
    let directory = site.root().join("lua");
    let expected = LUA.build(&directory, None)?.objects;
    let mut make = LUA.prepare(&directory, Some(&site.client))?;
    let mut build = Service::start(&mut make, &site.root().join("build.log"))?;
    let launcher = program()?.display().to_string();
    for fault in faults {
        for _ in 0..8 {
            build.says(&launcher)?;
        }
        fault(site)?;
    }
    let status = build.wait()?;
    ensure!(status.success(), "{status}\n{}\n{}", build.log(), site.server.log());
    let comparison = compare(&expected, &objects(&directory)?);
    ensure!(comparison.is_identical(), "{comparison:?}");
    Ok(())
}

#[test]
fn a_build_survives_its_worker_and_then_its_server() -> Result<()> {
    let mut site = Pumphouse::split()?;
    build_under(&mut site, &[|site| site.workers[0].kill(), |site| site.server.kill()])?;
    let stats = site.client.stats()?;
    ensure!(stats.failed == 0 && stats.compiles >= 33, "{stats:?}");
    Ok(())
}

#[test]
fn a_lost_workers_actions_run_on_another() -> Result<()> {
    let mut site = Pumphouse::split()?;
    site.add_worker()?;
    build_under(&mut site, &[|site| site.workers[0].kill()])?;
    let stats = site.client.stats()?;
    ensure!(stats.local() <= stats.compiles / 20, "{stats:?}\n{}", site.server.log());
    Ok(())
}

#[test]
fn a_restarted_server_finds_its_workers_again() -> Result<()> {
    let mut site = Pumphouse::split()?;
    build_under(
        &mut site,
        &[|site| {
            site.server.kill()?;
            site.restart("server")
        }],
    )?;
    // The worker is the old process, and serves the new server.
    let workspace = pumphouse_tests::workspace::Workspace::new(&[("a.c", "int after_the_restart;\n")])?;
    let other = site.another_client("other")?;
    workspace.check(&other, "gcc -c a.c")?;
    let stats = other.stats()?;
    ensure!(stats.remote_runs == 1, "{stats:?}\n{}", site.workers[0].log());
    Ok(())
}

#[test]
fn a_build_survives_its_daemon() -> Result<()> {
    let mut site = Pumphouse::up()?;
    build_under(
        &mut site,
        &[|site| {
            let daemon = site.client.daemon()?.context("no daemon runs in mid-build")?;
            Ok(rustix::process::kill_process(daemon, rustix::process::Signal::KILL)?)
        }],
    )
}
