//! A compile that the launcher runs: a place for it, word of its end, and its outputs for the cache.

use super::Daemon;
use super::connection::Connection;
use super::processes::ProcessTree;
use crate::compile::LocalPlan;
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
    let handler = &daemon.handler;
    let directory = &request.working_directory;
    let stored = match plan.store.take() {
        Some(store) => {
            let Some(watched) = connection.alive(handler.witness(directory, store)).await? else { return Ok(()) };
            watched
        }
        None => None,
    };
    let running_since = Instant::now();
    let run = LocalRun {
        compiler: plan.compiler.clone(),
        arguments: plan.arguments.take().filter(|_| stored.is_some()),
        output: if stored.is_some() { LocalOutput::Captured } else { LocalOutput::Inherited },
        notice: std::mem::take(&mut plan.notice),
    };
    connection.send(&Answer::RunLocally(run)).await?;
    let Some(completed) = outcome(connection).await? else { return Ok(()) };
    times.add(Stage::LocalRun, start.elapsed());
    let success = if completed.wait_status == 0 { Success::Yes } else { Success::No };
    let outcome = Outcome::LocalRun(plan.fallback.reason);
    handler.local_run_ended(&plan, success, running_since.elapsed());
    match (stored, success) {
        (Some((store, witness)), Success::Yes) => {
            let storing = handler.store_local_run(directory, store, completed, witness, &mut times);
            if connection.alive(storing).await?.is_none() {
                return Ok(());
            }
        }
        (Some((store, _)), Success::No) => store.give_up(),
        (None, _) => {}
    }
    daemon.statistics.record(outcome, success, &times);
    connection.send(&Answer::Acknowledged).await
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
