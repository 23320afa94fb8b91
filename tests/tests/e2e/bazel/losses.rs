//! What Bazel needs gets lost between two builds or in the middle of one: each ends well, with Bazel's and the server's defaults.

use super::CHAIN;
use anyhow::{Context as _, Result, ensure};
use pumphouse_proto::longrunning::ListOperationsRequest;
use pumphouse_proto::longrunning::operations_client::OperationsClient;
use pumphouse_tests::bazel::{Bazel, Version};
use pumphouse_tests::processes::{Process, descends, until};
use pumphouse_tests::pumphouse::Pumphouse;
use rustix::process::{Signal, kill_process};

/// What [`CHAIN`] makes.
const MADE: &[u8] = b"WHAT IS MADE OF IT\nfirst\n";

#[test]
fn inputs_that_were_evicted_are_brought_again() -> Result<()> {
    for version in Version::ALL {
        let mut site = Pumphouse::split()?;
        let bazel = Bazel::remote(version, CHAIN, &site.remote())?;
        bazel.succeed(&["build", "//:two"])?;
        site.server.terminate()?;
        std::fs::remove_dir_all(site.storage())?;
        site.restart("server")?;
        bazel.workspace.write("main/x", "second\n")?;
        let built = bazel.succeed(&["build", "//:two"])?;
        ensure!(built.ran_remotely(), "{version:?}: {built}\n{}", site.server.log());
        ensure!(bazel.output("c").as_deref() == Some(b"WHAT IS MADE OF IT\nsecond\n"), "{version:?}: {built}");
    }
    Ok(())
}

#[test]
fn a_build_survives_its_server_killed_while_an_action_runs() -> Result<()> {
    // The action goes on once its sleep is ended: begun a second time, it would never end.
    const SLEEP: &str = "sleep 654321";
    let build = format!("genrule(name = \"long\", srcs = [\"a\"], outs = [\"b\"], cmd = \"{SLEEP} || cat $< > $@\")\n");
    let mut site = Pumphouse::split()?;
    let bazel = Bazel::remote(Version::Debian, &[("BUILD", &build), ("a", "it ran\n")], &site.remote())?;
    let mut running = bazel.start(&["build", "//:long"])?;
    let worker = site.workers[0].id();
    let is_action =
        |process: &Process, all: &[Process]| process.command_line.trim() == SLEEP && descends(process, worker, all);
    let action = until(is_action).with_context(|| running.log())?;
    site.server.kill()?;
    site.restart("server")?;
    kill_process(action.id, Signal::TERM)?;
    let status = running.wait()?;
    ensure!(status.success(), "{status}\n{}\n{}", running.log(), site.server.log());
    ensure!(bazel.output("b").as_deref() == Some(b"it ran\n"), "{}", running.log());
    Ok(())
}

/// Asks the server until an operation is there.
fn until_an_operation_is_there(site: &Pumphouse) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut operations = OperationsClient::connect(format!("http://{}", site.address())).await?;
        let all = ListOperationsRequest { name: "operations".to_owned(), ..Default::default() };
        while operations.list_operations(all.clone()).await?.into_inner().operations.is_empty() {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}

#[test]
fn a_build_survives_its_server_and_all_that_was_stored() -> Result<()> {
    // Without a worker: what was uploaded is lost while the action waits for one.
    let mut site = Pumphouse::server()?;
    let bazel = Bazel::remote(Version::Debian, CHAIN, &site.remote())?;
    let mut build = bazel.start(&["build", "//:two"])?;
    until_an_operation_is_there(&site)?;
    site.server.kill()?;
    std::fs::remove_dir_all(site.storage())?;
    site.restart("server")?;
    site.add_worker()?;
    let status = build.wait()?;
    ensure!(status.success(), "{status}\n{}\n{}", build.log(), site.server.log());
    ensure!(bazel.output("c").as_deref() == Some(MADE), "{}", build.log());
    Ok(())
}
