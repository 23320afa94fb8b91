//! A compile that waits in two queues: the server's, and once it has waited there for long, that of this machine.
//!
//! Nothing is given up for being slow while there is no room here: a long queue on a healthy server is what a wide build
//! wants. Where there is room, a compile waits for a server no longer than follows from what it takes here, and what was
//! learned from waiting spares the next ones (see [`Health`](crate::remote::Health)).

use super::patience::{Stage, Unit};
use super::prepare::Prepared;
use super::remote_run::{Failure, Finished, Report, Work};
use super::slots::LocalSlot;
use super::{Handler, Refusal};
use crate::fallback::{Fallback, Reason};
use crate::ipc::CompileRequest;
use crate::remote::{InUse, Remote, RemoteError, Service, Trial};
use crate::stats::{self, StageTimes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

/// How long an upload or a download may stand still.
const STANDSTILL_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Which came first.
pub(super) enum Winner {
    /// The server, with what the user is told, and a result or none.
    Server(Vec<u8>, Box<Result<Finished, Failure>>),
    /// A place on this machine.
    Local(Refusal),
}

/// Work in a task, which is ended when this is dropped.
struct Running(JoinHandle<(Report, Result<Finished, Failure>)>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handler {
    /// Has the server work on `prepared`, until it is done or runs here.
    pub(super) async fn race(
        self: &Arc<Self>,
        request: &CompileRequest,
        prepared: &Arc<Prepared>,
        (remote, session): (&Arc<Remote>, InUse),
        times: &mut StageTimes,
    ) -> Winner {
        let unit = self.expectations.unit(prepared);
        let (sender, mut progress) = watch::channel((Stage::LookUp, Instant::now()));
        let is_trial = Arc::new(AtomicBool::new(false));
        let work = Work {
            handler: Arc::clone(self),
            remote: Arc::clone(remote),
            session: session.again(),
            prepared: Arc::clone(prepared),
            progress: sender,
            is_trial: Arc::clone(&is_trial),
            report: Report::default(),
        };
        let mut running = Running(tokio::spawn(work.run()));
        let slot = tokio::select! {
            biased;
            done = &mut running.0 => {
                let (notice, result) = result_of(done, times);
                return Winner::Server(notice, Box::new(result));
            }
            slot = self.overtaken(request, unit, remote, &session, &mut progress) => slot,
        };
        let (stage, since) = *progress.borrow();
        let (now, service) = (Instant::now(), stage.service());
        times.add(counted(service), now.saturating_duration_since(since));
        let trial = remote.health.overdue(service, since, now);
        let detail = format!("{} for {:.1} s", service.name(), now.saturating_duration_since(since).as_secs_f64());
        tracing::debug!(address = %remote.address(), %detail, ?trial, "running here what the server has not done");
        // What already fetches to the outputs' own places is no trial.
        if trial == Trial::Now && !matches!(stage, Stage::Download(_)) {
            is_trial.store(true, Ordering::Relaxed);
            remote.try_out(async move {
                let _ = (&mut running.0).await;
            });
        }
        let notice = if remote.health.is_on_hold(service) {
            let address = remote.address().to_string();
            let message = format!("the server {address} is too slow at {}; compiling locally", service.name());
            self.notices.once(&address, &message)
        } else {
            Vec::new()
        };
        Winner::Local(Refusal { fallback: Fallback::new(Reason::Overdue, detail), notice, slot: Some(slot) })
    }

    /// Awaits a place for `unit` on this machine once it has waited for the server for long enough. Each later stage gives
    /// it new patience, and takes it out of this machine's queue again.
    async fn overtaken(
        &self,
        request: &CompileRequest,
        unit: Unit,
        remote: &Remote,
        session: &InUse,
        progress: &mut watch::Receiver<(Stage, Instant)>,
    ) -> LocalSlot {
        loop {
            let (stage, since) = *progress.borrow_and_update();
            let expected = self.expectations.of(unit);
            let patience = async {
                let limit = stage.limit(expected, self.settings.current().patience);
                if remote.health.is_on_hold(stage.service()) {
                    return;
                }
                tokio::select! {
                    () = session.silent() => {}
                    () = stands_still(session), if stage.moves() => {}
                    () = tokio::time::sleep_until((since + limit).into()) => {}
                }
            };
            let place = async {
                patience.await;
                self.slots.place(request).await
            };
            tokio::select! {
                slot = place => return slot,
                changed = progress.changed() => if changed.is_err() {
                    // The work has ended, and says so itself.
                    return std::future::pending().await;
                },
            }
        }
    }
}

/// What a task came to; its times are added to `times`.
fn result_of(
    done: Result<(Report, Result<Finished, Failure>), JoinError>,
    times: &mut StageTimes,
) -> (Vec<u8>, Result<Finished, Failure>) {
    match done {
        Ok((report, result)) => {
            times.add_all(&report.times);
            (report.notice, result)
        }
        Err(error) => {
            tracing::error!(%error, "the work on a server ended early");
            let error = RemoteError::Unusable("an internal error, which the daemon's log names".to_owned());
            (Vec::new(), Err(error.into()))
        }
    }
}

/// Where the time is counted that was spent in vain.
const fn counted(service: Service) -> stats::Stage {
    match service {
        Service::LookUp => stats::Stage::ActionCache,
        Service::Upload => stats::Stage::Upload,
        Service::Execute => stats::Stage::Execute,
        Service::Download => stats::Stage::Download,
    }
}

/// Ends when nothing has come or gone for [`STANDSTILL_LIMIT`].
async fn stands_still(session: &InUse) {
    let mut last = (session.meter().load(Ordering::Relaxed), Instant::now());
    while last.1.elapsed() < STANDSTILL_LIMIT {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let moved = session.meter().load(Ordering::Relaxed);
        if moved != last.0 {
            last = (moved, Instant::now());
        }
    }
}
