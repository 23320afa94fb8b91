//! A compile that the launcher runs: a place for it, word of its end, and its outputs for the cache.

use super::Daemon;
use super::connection::Connection;
use super::processes::ProcessTree;
use crate::compile::{LocalPlan, Witness};
use crate::ipc::{Answer, CompileRequest, Completed, LocalOutput, LocalRun, Report};
use crate::stats::{Outcome, Stage, StageTimes, Success};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Has the launcher run the compile of `plan`.
///
/// # Errors
/// The launcher broke the protocol, or is gone; then what it started is ended too.
pub(super) async fn serve(
    daemon: &Arc<Daemon>,
    request: &Arc<CompileRequest>,
    mut plan: LocalPlan,
    mut times: StageTimes,
    connection: &mut Connection,
) -> io::Result<()> {
    let start = Instant::now();
    let slot = match plan.slot.take() {
        Some(slot) => Some(slot),
        None => connection.alive(daemon.handler.slots.place(request)).await?,
    };
    let Some(_slot) = slot else { return Ok(()) };
    let (mut plan, witness) = watched(daemon, plan).await?;
    let running_since = Instant::now();
    let run = LocalRun {
        compiler: plan.compiler.clone(),
        arguments: plan.arguments.take(),
        output: if plan.store.is_some() { LocalOutput::Captured } else { LocalOutput::Inherited },
        notice: std::mem::take(&mut plan.notice),
    };
    connection.send(&Answer::RunLocally(run)).await?;
    let Some(completed) = outcome(connection).await? else { return Ok(()) };
    times.add(Stage::LocalRun, start.elapsed());
    let success = if completed.wait_status == 0 { Success::Yes } else { Success::No };
    let outcome = Outcome::LocalRun(plan.fallback.reason);
    daemon.handler.local_run_ended(&plan, success, running_since.elapsed());
    match (plan.store, witness, success) {
        (Some(store), Some(witness), Success::Yes) => {
            let handler = Arc::clone(&daemon.handler);
            let stored = tokio::task::spawn_blocking(move || {
                times.time(Stage::LocalCache, || handler.store_local_run(store, &completed, &witness));
                times
            });
            times = stored.await.map_err(io::Error::other)?;
        }
        (Some(store), ..) => store.give_up(),
        (None, ..) => {}
    }
    daemon.statistics.record(outcome, success, &times);
    connection.send(&Answer::Acknowledged).await
}

/// `plan` with a witness of the compile, where its result may be stored.
async fn watched(daemon: &Arc<Daemon>, plan: LocalPlan) -> io::Result<(LocalPlan, Option<Witness>)> {
    if plan.store.is_none() {
        return Ok((plan, None));
    }
    let handler = Arc::clone(&daemon.handler);
    let watching = tokio::task::spawn_blocking(move || {
        let witness = plan.store.as_ref().map(|store| handler.witness(store));
        (plan, witness)
    });
    watching.await.map_err(io::Error::other)
}

/// Awaits the end of the launcher's compiler: none where it could not be started, and the launcher does what it can.
async fn outcome(connection: &mut Connection) -> io::Result<Option<Completed>> {
    let mut running: Option<ProcessTree> = None;
    loop {
        match connection.read_report().await {
            Ok(Report::Started(process)) => {
                running = connection.peer().and_then(|launcher| ProcessTree::of(launcher, process));
            }
            Ok(Report::Finished(completed)) => return Ok(Some(completed)),
            Ok(Report::NotStarted) => return Ok(None),
            Err(error) => {
                if let Some(tree) = running {
                    tree.terminate();
                }
                return Err(error);
            }
        }
    }
}
